"""Messages: in the words of options and commands, each problem once, with what to type next."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.cli.conftest import POD, Run, run_on_terminal, run_process
from yotta_async.emulator import Emulator

# Classes, calls, arguments and attributes.
PYTHON = re.compile(
    r"\b[A-Z]\w+(?:Error|Client|Pool|Limit|Spec)\b|\w\(\W|=…|\bpods\.\w|\w_many|api_key|base_url|max_hourly"
)


def check_words(text: str) -> None:
    found = PYTHON.search(text)
    assert found is None, found


@pytest.mark.parametrize("command", ["get", "pause", "wait", "watch", "delete"])
def test_missing_pod(command: str, run: Run) -> None:
    yes = ["--yes"] if command == "delete" else []
    done = run("pods", command, "99", *yes, code=3)
    assert done.stderr.count("Error: ") == 1
    assert "\n`yotta-async pods list --all` shows the pods" in done.stderr
    check_words(done.stderr)


@pytest.mark.parametrize("command", [("get",), ("delete", "--yes"), ("pause",), ("wait",), ("ssh",), ("logs",)])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_name_in_place_of_an_id(command: tuple[str, ...], version: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "ssh").touch(0o755)  # not every machine has one, of which the commands would speak first
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run("pods", *command, "worker-1", code=1, YOTTA_API_VERSION=version, PATH=path)
    assert done.stderr.endswith("\nA pod is named by its id, not by its name: `yotta-async pods list` shows both.\n")
    check_words(done.stderr)


@pytest.mark.parametrize(("typed", "meant"), [("lsit", "list or ls"), ("delte", "delete"), ("confg", "config")])
def test_misspelt_command_names_those_like_it(typed: str, meant: str, run: Run) -> None:
    assert f"Did you mean {meant}?" in run(typed, code=2).stderr


@pytest.mark.parametrize("command", [("list",), ("wait", "7")])
def test_unknown_status_is_named_before_anything_is_begun(command: tuple[str, ...], run: Run) -> None:
    done = run("pods", *command, "--status", "RUNING", code=2)
    assert done.stderr.startswith("Usage: ")
    assert "'RUNING' is none of INITIALIZE, RUNNING," in done.stderr


def test_missing_and_wrong_key(run: Run) -> None:
    done = run("pods", "list", code=4, YOTTA_API_KEY="")
    assert "`yotta-async config set-key`, or set $YOTTA_API_KEY" in done.stderr
    assert "`yotta-async emulator`" in done.stderr
    check_words(done.stderr)
    done = run("pods", "list", code=4, YOTTA_API_KEY="wrong")
    assert "Check --api-key or $YOTTA_API_KEY with `yotta-async doctor`." in done.stderr
    check_words(done.stderr)


def test_wrong_key_of_a_profile_names_the_profile(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    config = tmp_path / "yotta-async" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'[profiles.work]\napi_key = "wrong-key"\nbase_url = "{emulator.url}"\n')
    config.chmod(0o600)
    for command in ("list", "pause", "get"):
        ids = [] if command == "list" else ["99"]
        done = run("pods", command, *ids, "--profile", "work", code=4, XDG_CONFIG_HOME=str(tmp_path))
        assert "`yotta-async config set-key --profile work` replaces it." in done.stderr
        assert "wrong-key" not in done.stderr


def test_price_that_is_unknown_or_too_high(run: Run) -> None:
    create = ("pods", "create", "--image", "i", "--gpu-type", "NVIDIA_L4_24G", "--max-hourly")
    done = run(*create, "3", code=2)
    assert "--max-hourly=3 cannot be checked. Give --price GPU=USD, and --volume-price USD" in done.stderr
    check_words(done.stderr)
    done = run(*create, "0.5", "--price", "NVIDIA_L4_24G=0.6", code=2)
    assert "would pass --max-hourly=0.5" in done.stderr
    check_words(done.stderr)


@pytest.mark.parametrize("fault", [{"kind": "status", "http_status": 200, "code": 10001}, {"kind": "failed"}])
def test_lack_of_capacity(fault: dict[str, str], run: Run, emulator: Emulator) -> None:
    if fault["kind"] == "status":
        emulator.faults.add(**fault, on="create", message="insufficient capacity")  # type: ignore[arg-type]  # of a table
    else:
        emulator.faults.add(kind="failed")
    for count in ([], ["--count", "2"]):
        done = run("pods", "create", *POD, "--wait", *count, code=5 if count else 1)
        assert done.stderr.count("--fallback gpu=TYPE,region=NAME` tries another; `yotta-async gpus` lists them.") == 1
        text = done.stdout + done.stderr
        reason = "insufficient capacity" if fault["kind"] == "status" else "no capacity for it"
        assert text.count(reason) == (2 if count else 1), "each pod's error is printed once"
        check_words(text)


@pytest.mark.both_versions
def test_host_without_the_version_of_the_api(run: Run, emulator: Emulator) -> None:
    emulator.faults.add(kind="status", on="list", http_status=404, code=404)
    done = run("pods", "list", code=3)
    assert "\nCheck --base-url and --api-version" in done.stderr
    check_words(done.stderr)


def test_host_that_is_not_reached(run: Run) -> None:
    done = run("pods", "list", "--base-url", "http://127.0.0.1:1", code=1)
    assert "Check --base-url.\n`yotta-async doctor` checks the connection.\n" in done.stderr
    check_words(done.stderr)


def test_https_to_a_server_of_http(run: Run, emulator: Emulator) -> None:
    done = run("pods", "list", "--base-url", emulator.url.replace("http:", "https:"), code=1)
    assert "ended the TLS handshake" in done.stderr
    check_words(done.stderr)


def test_wait_that_takes_too_long(run: Run, emulator: Emulator) -> None:
    emulator.faults.add(kind="stuck")
    pod_id = json.loads(run("pods", "create", *POD, "-o", "json").stdout)["id"]
    done = run("pods", "wait", pod_id, "--timeout", "0.3", code=124)
    assert "--timeout waits longer" in done.stderr
    check_words(done.stderr)


def test_new_pod_says_how_to_wait_for_it(run: Run) -> None:
    done = run("pods", "create", *POD)
    [pod_id] = re.findall(r"^id +(\d+)$", done.stdout, re.MULTILINE)
    assert f"`yotta-async pods wait {pod_id} --ready`" in done.stderr
    done = run("pods", "create", *POD, "--expose", "22:SSH", "--wait")
    assert re.search(r"`yotta-async pods ssh \d+ --wait` opens a shell in it\.", done.stderr)


def test_no_colours_and_no_moves_of_the_cursor_where_they_are_not_wanted(run: Run, environment: dict[str, str]) -> None:
    run("pods", "create", *POD, "--name", "\u65e5\u672c", "--wait")
    code, shown = run_on_terminal("pods", "list", environment=environment)
    assert code == 0
    assert "\x1b[3" not in shown, "NO_COLOR is set"
    coloured = {name: value for name, value in environment.items() if name != "NO_COLOR"}
    assert "\x1b[32mRUNNING" in run_on_terminal("pods", "list", environment=coloured)[1]
    watch = ("pods", "watch", "--timeout", "1")
    code, shown = run_on_terminal(*watch, environment=coloured, TERM="dumb")
    assert (code, "\x1b" in shown, "RUNNING" in shown) == (0, False, True)
    code, shown = run_on_terminal(*watch, environment=coloured, PYTHONIOENCODING="ascii")
    assert (code, "Traceback" in shown, "RUNNING" in shown) == (0, False, True)
    done = run_process("pods", "list", **environment, LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="")
    assert done.returncode == 0
