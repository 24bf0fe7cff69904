"""Commands that destroy: they show what they would do, and ask. Without a terminal they need --yes."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import POD, Run, run_on_terminal
from yotta_async.emulator import Emulator


def create(run: Run, name: str) -> str:
    pod_id: str = json.loads(run("pods", "create", *POD, "--name", name, "--wait", "-o", "json").stdout)["id"]
    return pod_id


def count_changes(emulator: Emulator) -> int:
    return sum(request.method == "DELETE" or "/pause/" in request.path for request in emulator.requests)


@pytest.mark.parametrize("action", ["pause", "delete"])
def test_sweep_shows_the_pods_and_asks(action: str, run: Run, environment: dict[str, str], emulator: Emulator) -> None:
    pod_id = create(run, "ci-1")
    arguments = ("pods", "sweep", "--match", "ci-*", "--action", action)
    done = run(*arguments, code=2)
    assert pod_id in done.stderr
    assert "Add --yes" in done.stderr
    done = run(*arguments, "--dry-run")
    assert pod_id in done.stdout
    code, shown = run_on_terminal(*arguments, environment=environment, answer="n\n")
    assert code == 2
    assert pod_id in shown
    assert f"{action.capitalize()} this pod" in shown
    assert count_changes(emulator) == 0
    code, shown = run_on_terminal(*arguments, environment=environment, answer="y\n")
    assert code == 0, shown
    assert count_changes(emulator) == 1


def test_sweep_with_yes_needs_no_terminal(run: Run, emulator: Emulator) -> None:
    create(run, "ci-1")
    done = run("pods", "sweep", "--match", "ci-*", "-y", "-o", "json")
    assert json.loads(done.stdout)["succeeded"] == 1
    assert count_changes(emulator) == 1


def test_job_without_yes_fails_on_the_day_without_pods_too(run: Run) -> None:
    for arguments in (("sweep", "--match", "*"), ("rm", "--all"), ("reap",)):
        assert "Add --yes" in run(*arguments, code=2).stderr


def test_delete_shows_what_all_means_and_asks(run: Run, environment: dict[str, str], emulator: Emulator) -> None:
    ids = {create(run, "a"), create(run, "b")}
    code, shown = run_on_terminal("rm", "--all", environment=environment, answer="n\n")
    assert code == 2
    assert "Delete these 2 pods for good?" in shown
    assert all(pod_id in shown for pod_id in ids)
    assert count_changes(emulator) == 0
    code, shown = run_on_terminal("rm", *ids, environment=environment, answer="y\n")
    assert "Delete 2 pods for good?" in shown
    assert count_changes(emulator) == 2
