"""Completion: of statuses, policies, GPU types and pods. It waits for no server."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import POD, Run

PROGRAM = "import sys; sys.argv[0] = 'yotta-async'; from yotta_async.cli import main; main()"


def complete(words: str, environment: dict[str, str]) -> list[tuple[str, str]]:
    """Return what zsh completes for the last word, which may be empty: values, each with its help."""
    changes = {
        "_YOTTA_ASYNC_COMPLETE": "zsh_complete",
        "COMP_WORDS": f"yotta-async {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment | changes,
        check=True,
    )
    lines = done.stdout.splitlines()
    return list(zip(lines[1::3], lines[2::3], strict=True))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("pods list --status pau", ["PAUSING", "PAUSED"]),
        ("pods sweep --idle-status RUN", ["RUNNING"]),
        ("pods wait --status TERMINATED --status F", ["FAILED"]),
        ("pods create --policy a", ["all_or_nothing"]),
        ("create --gpu-type NVIDIA_L4_", ["NVIDIA_L4_24G"]),
        ("ls --region us-w", ["us-west-1"]),
        ("pods sweep --action d", ["delete"]),
        ("ls -o w", ["wide"]),
        ("cr", ["create"]),
        ("p", ["pods", "pause", "port-forward"]),
    ],
)
def test_values_of_options(words: str, expected: list[str], environment: dict[str, str]) -> None:
    assert [value for value, _ in complete(words, environment)] == expected


def test_ids_of_pods_with_their_names(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    ids = [json.loads(run("pods", "create", *POD, "--name", name, "-o", "json").stdout)["id"] for name in "ab"]
    run("pods", "list")
    [cache] = (tmp_path / "cache").rglob("*.json")
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    assert environment["YOTTA_API_KEY"] not in cache.read_text()
    found = dict(complete("pods get ", environment))
    assert found.keys() == set(ids)
    assert found[ids[0]].startswith("a ")
    assert [value for value, _ in complete(f"rm {ids[0]} ", environment)] == [ids[1]]
    assert complete("pods get ", environment | {"YOTTA_API_KEY": "of another account"}) == []


def test_first_completion_lists_the_pods(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    pod_id = json.loads(run("pods", "create", *POD, "-o", "json").stdout)["id"]
    deadline = time.monotonic() + 30
    while not (found := complete("pods get ", environment)):  # a slow machine takes longer than a person waits
        assert time.monotonic() < deadline
    assert found[0][0] == pod_id


def test_server_that_is_silent_does_not_block_a_shell(run: Run, environment: dict[str, str]) -> None:
    started = time.monotonic()
    assert complete("pods get ", environment | {"YOTTA_BASE_URL": "https://192.0.2.1"}) == []
    assert time.monotonic() - started < 10, "the wait is 0.6 s; the rest is the start on a busy machine"
