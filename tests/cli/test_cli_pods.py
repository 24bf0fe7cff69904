"""`yotta-async pods …` as it is run: what it prints where, how it ends, and that it tells no secret."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree

import pytest

from tests.cli.test_cli import RUN
from yotta_async.cli.commands import cli
from yotta_async.emulator import Emulator, Timings

Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
WHAT = ("--image", "ubuntu:24.04", "--gpu-type", "NVIDIA_L4_24G")
QUICK = Timings(initialize=0.1, pausing=0.0, terminating=0.0)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(timings=QUICK) as emulator:
        yield emulator


@pytest.fixture
def environment(emulator: Emulator, tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "YOTTA_BASE_URL": emulator.url,
        "YOTTA_API_KEY": emulator.api_key,
        "YOTTA_JOURNAL": str(tmp_path / "journal"),
        "NO_COLOR": "1",
    }


@pytest.fixture
def run(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Return a function that runs a command in this process, which is quicker, and checks how it ended."""

    def run(*arguments: str, code: int = 0, **changes: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name, value in (environment | changes).items():
                patch.setenv(name, value)
            patch.chdir(tmp_path)
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.main([*arguments], prog_name="yotta-async")
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == code, out + err
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run


def test_one_pod_from_its_create_to_its_end(run: Run) -> None:
    done = run(
        "pods", "create", *WHAT, "--name", "one", "--env", "TOKEN=hush", "--expose", "22:SSH", "--wait", "-o", "json"
    )
    pod = json.loads(done.stdout)
    assert (pod["pod_name"], pod["status"], pod["expose"][0]["port"]) == ("one", "RUNNING", 22)
    assert isinstance(pod["id"], str)
    assert pod["hourly_price"] == pytest.approx(0.6126)
    assert {"key": "TOKEN", "value": "***"} in pod["environment_vars"]
    for shown in (done.stdout + done.stderr, run("pods", "get", pod["id"]).stdout, run("pods", "list").stdout):
        assert "hush" not in shown
    assert "hush" in run("pods", "get", pod["id"], "--show-secrets").stdout
    assert json.loads(run("-o", "json", "pods", "list", "--status", "1", "--match", "o*").stdout)[0]["id"] == pod["id"]
    assert json.loads(run("pods", "list", "--status", "paused", "-o", "json").stdout) == []
    for command, status in (("pause", "PAUSED"), ("resume", "RUNNING")):
        report = json.loads(run("pods", command, pod["id"], "--wait", "-o", "json").stdout)
        assert (report["succeeded"], report["items"][0]["pod"]["status"]) == (1, status)
    ready = run("pods", "wait", pod["id"], "--ready", "-o", "jsonl").stdout.splitlines()
    assert json.loads(ready[-1]) == {"event": "summary", "succeeded": 1, "failed": 0, "unknown": 0}
    assert "Nothing was deleted. Add --yes" in run("pods", "delete", pod["id"], code=2).stderr
    run("pods", "delete", pod["id"], "--yes", "--wait")
    assert run("pods", "list", "--status", "TERMINATED", "-o", "jsonl").stdout.count("\n") == 1


def test_a_fan_out_with_its_timeline(run: Run, tmp_path: Path) -> None:
    done = run(
        "pods", "create", *WHAT, "--count", "12", "--name", "train", "--wait", "--timeline", "run.svg", "-o", "jsonl"
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events].count("created") == 12
    assert [event["event"] for event in events].count("outcome") == 12
    assert events[-1] == {"event": "summary", "succeeded": 12, "failed": 0, "unknown": 0}
    picture = ElementTree.parse(tmp_path / "run.svg").getroot()  # our own
    assert sum(each.get("class") == "pod" for each in picture.iter()) == 12
    table = run("pods", "list", "--match", "train-0*").stdout.splitlines()
    assert table[0].split() == ["id", "name", "status", "gpu", "region", "$/h", "changed"]
    assert len(table) == 10
    report = json.loads(run("pods", "pause", "--all", "--match", "train-0*", "--wait", "-o", "json").stdout)
    assert report["succeeded"] == 9
    assert "12 pods, 3 of them running" in run("pods", "list").stderr
    swept = run("pods", "sweep", "--match", "train-*", "--action", "delete", "--dry-run", "-o", "json")
    assert len(json.loads(swept.stdout)) == 12
    assert json.loads(run("pods", "delete", "--all", "--yes", "-o", "json").stdout)["succeeded"] == 12


def test_a_fleet_from_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(
        "pods:\n"
        "  - {image: ubuntu:24.04, gpu_type: NVIDIA_L4_24G, pod_name: small, count: 2}\n"
        "  - image: ubuntu:24.04\n    gpuType: NVIDIA_H100_80GB_HBM3_80G\n    podName: big\n    expose: [22, [8080, HTTP]]\n"
        "    environmentVars: {A: b}\n"
    )
    (tmp_path / "vars.env").write_text("# mine\nexport FROM_FILE='x y'\n")
    report = json.loads(
        run("pods", "create", "--from", "fleet.yaml", "--env-file", "vars.env", "--wait", "-o", "json").stdout
    )
    assert [item["pod"]["pod_name"] for item in report["items"]] == ["small-1", "small-2", "big"]
    pod = json.loads(run("pods", "get", report["items"][2]["pod_id"], "-o", "json", "--show-secrets").stdout)
    assert {variable["key"]: variable["value"] for variable in pod["environment_vars"]}["FROM_FILE"] == "x y"
    (tmp_path / "bad.json").write_text('{"image": "secret-thing", ]')
    assert "secret-thing" not in run("pods", "create", "--from", "bad.json", code=2).stderr
    for text in ("self: 1", "image: 2026-99-99\nd: 2026-99-99", "[" * 3000, "{}\x00", "- 7"):
        run("pods", "create", *WHAT, "--from", _file(tmp_path, text), code=2)
    (tmp_path / "latin.env").write_bytes(b"A=\xff")
    assert "UTF-8" in run("pods", "create", *WHAT, "--env-file", "latin.env", code=2).stderr
    assert "colour" in run("pods", "create", *WHAT, "--from", _file(tmp_path, "colour: red"), code=2).stderr


def _file(folder: Path, text: str) -> str:
    path = folder / "spec.yaml"
    path.write_text(text)
    return str(path)


def test_every_way_to_end(run: Run, emulator: Emulator) -> None:
    pod_id = json.loads(run("pods", "create", *WHAT, "-o", "json").stdout)["id"]
    for code, arguments, said in (
        (124, ("pods", "wait", pod_id, "--status", "PAUSED", "--status", "FAILED", "--timeout", "0.3"), ""),
        (1, ("pods", "list", "--base-url", "http://127.0.0.1:1"), "Error: "),
        (1, ("pods", "get", "letters"), "podId"),
        (2, ("pods", "list", "--nonsense"), "No such option"),
        (2, ("pods", "create", *WHAT, "--gpu-count", "3"), "power of two"),
        (2, ("pods", "create", "--image", "x"), "--gpu-type"),
        (2, ("pods", "create", *WHAT, "--timeline", "run.png"), ".svg or .html"),
        (2, ("pods", "create", *WHAT, "--policy", "most"), "best_effort"),
        (2, ("pods", "create", *WHAT, "--fallback", "cpu=1"), "cpu=1"),
        (2, ("pods", "create", *WHAT, "--env", "only-a-secret"), "KEY=VALUE"),
        (2, ("pods", "create", *WHAT, "--max-hourly", "0.5", "--price", "NVIDIA_L4_24G=0.6"), "max_hourly"),
        (2, ("pods", "create", *WHAT, "--container-volume-gb", "9", "--max-hourly", "1", "--price", "NVIDIA_L4_24G=0.1",
             "--volume-price", "0.1"), "max_hourly"),
        (2, ("pods", "pause"), "--all"),
        (2, ("pods", "pause", pod_id, "--all"), "--all"),
        (2, ("pods", "sweep",), "older_than"),
        (2, ("pods", "sweep", "--older-than", "soon"), "2h"),
        (2, ("pods", "sweep", "--older-than", "9" * 5000), "2h"),
        (2, ("pods", "list", "--status", "foo"), "RUNNING"),
        (2, ("pods", "list", "--status", "1" * 5000), "RUNNING"),
        (2, ("pods", "list", "--timeout", "nan"), "finite"),
        (2, ("pods", "create", *WHAT, "--expose", "2" * 5000), "PORT"),
        (2, ("pods", "create", *WHAT, "--timeline", "no/such/run.svg"), "no such directory"),
        (1, ("pods", "watch", "--base-url", "http://127.0.0.1:1", "--timeout", "4"), "127.0.0.1"),
        (3, ("pods", "watch", "99", "--timeout", "4"), "not found"),
        (4, ("pods", "list", "--api-key", ""), "API key"),
        (3, ("pods", "get", "99"), "not found"),
        (3, ("pods", "delete", "99", "--yes"), "not found"),
        (3, ("pods", "wait", "99", "--timeout", "5"), "not there"),
        (4, ("pods", "list", "--api-key", "wrong"), "API key"),
        (5, ("pods", "delete", pod_id, "99", "--yes"), "1 of 2 pods done"),
    ):  # fmt: skip
        done = run(*arguments, code=code)
        assert said in done.stderr, arguments
        assert "only-a-secret" not in done.stderr
        assert "emulator-key" not in done.stdout + done.stderr
    run("pods", "list", code=4, YOTTA_API_KEY="")
    emulator.faults.add(kind="failed")
    assert "is there, and may bill" in run("pods", "create", *WHAT, "--wait", code=1).stderr
    done = run("pods", "create", *WHAT, "--count", "2", "--wait", "-o", "json", code=5)
    assert [item["error"]["type"] for item in json.loads(done.stdout)["items"]] == ["PodFailedError"] * 2
    done = run("pods", "create", *WHAT, "--count", "2", "--wait", "--policy", "all_or_nothing", code=5)
    assert "The policy was not met." in done.stderr
    assert "2 pods had been started; none is left." in done.stderr


def test_ctrl_c_leaves_nothing_behind(
    environment: dict[str, str], emulator: Emulator, run: Run, tmp_path: Path
) -> None:
    emulator.faults.add(kind="stuck")
    command = [*RUN, "pods", "create", *WHAT, "--count", "5", "--wait", "--timeline", str(tmp_path / "run.html")]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        while sum(request.method == "POST" for request in emulator.requests) < 5:
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "Stopping: what was begun is cleaned up." in said
    assert "5 pods had been started; none is left." in said
    assert "Traceback" not in said
    assert json.loads(run("pods", "list", "-o", "json", "--status", "INITIALIZE").stdout) == []
    assert (tmp_path / "run.html").exists()


def test_what_is_watched_streams(environment: dict[str, str], emulator: Emulator, run: Run) -> None:
    command = [*RUN, "pods", "watch", "-o", "jsonl"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not emulator.requests:
            time.sleep(0.01)
        pod_id = json.loads(run("pods", "create", *WHAT, "-o", "json").stdout)["id"]
        event: dict[str, Any] = json.loads(process.stdout.readline())
        assert (event["event"], event["pod_id"]) == ("added", pod_id)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_verbosity(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*RUN, "-v", "pods", "list"], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert "GET /openapi/v1/pods/list: HTTP 200" in done.stderr
    done = subprocess.run([*RUN, "pods", "get", "99", "-vv"], capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"YOTTA_BASE_URL": "http://127.0.0.1:1", "YOTTA_API_KEY": "key-of-mine"})  # fmt: skip
    assert "Traceback" in done.stderr
    assert "key-of-mine" not in done.stderr


def test_a_timeout_of_all_is_told_of_each(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.add(kind="stuck")
    done = run(
        "pods",
        "create",
        *WHAT,
        "--count",
        "3",
        "--wait",
        "--timeout",
        "1",
        "-o",
        "jsonl",
        "--timeline",
        "run.svg",
        code=5,
    )
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events.count("outcome") == 3
    assert (tmp_path / "run.svg").read_text().count('class="failure"') == 3


def test_hostile_names_and_narrow_encodings(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    names = ["\x1b[31mred\x07", "line\nbreak", "\ufffe\uffff", "日本語" * 30, ":smile: [bold]"]
    (tmp_path / "names.json").write_text(
        json.dumps([{"image": "a", "gpu_type": "b", "pod_name": name} for name in names])
    )
    forms: list[tuple[str, ...]] = [("--wait", "--timeline", "run.svg"), ("-o", "json"), ("-o", "jsonl")]
    for options in forms:
        assert "\x1b" not in run("pods", "create", "--from", "names.json", *options).stdout
    ElementTree.parse(tmp_path / "run.svg")  # our own
    narrow = environment | {"PYTHONIOENCODING": "ascii"}
    for options in [(), *forms[1:]]:
        done = subprocess.run(
            [*RUN, "pods", "list", *options], capture_output=True, text=True, timeout=60, check=False, env=narrow
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_streams(environment: dict[str, str], run: Run, closed: str) -> None:
    pod_id = json.loads(run("pods", "create", *WHAT, "-o", "json").stdout)["id"]
    for command, code in ((f"pods delete {pod_id}", 2), ("pods list", 0), ("pods list -o jsonl", 0)):
        script = f"exec {shlex.join(RUN)} {command} {closed}"
        done = subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False, env=environment
        )
        assert done.returncode == code, done.stderr
        assert "mistake of ours" not in done.stderr


def test_an_answer_that_repeats_the_request_tells_no_secret(run: Run, emulator: Emulator) -> None:
    value = "quote\"'hush-hush\\é"
    for echo in (value, json.dumps({"v": value}), json.dumps({"v": value}, ensure_ascii=False)):
        fault = emulator.faults.add(kind="status", on="create", http_status=400, code=10001, message=f"bad: {echo}")
        done = run("pods", "create", *WHAT, "--env", f"TOKEN={value}", "-o", "jsonl", "--count", "2", code=5)
        assert "hush-hush" not in done.stdout + done.stderr
        emulator.faults.remove(fault)
