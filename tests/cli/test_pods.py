"""`yotta-async pods …`: what it prints where, its exit codes, and that it shows no secret."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML

from tests.cli.conftest import COMMAND, POD, Run, run_on_terminal, run_process
from tests.processes import start_process
from tests.raw_server import RecordedRequest, Reply, envelope, raw_server
from yotta_async.emulator import Emulator

# One pod


def test_one_pod_from_create_to_delete(run: Run) -> None:
    done = run(
        "pods", "create", *POD, "--name", "one", "--env", "TOKEN=hush", "--expose", "22:SSH", "--wait", "-o", "json"
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
    assert (
        "Nothing was changed. Add --yes, as there is no terminal to ask on."
        in run("pods", "delete", pod["id"], code=2).stderr
    )
    run("pods", "delete", pod["id"], "--yes", "--wait")
    assert run("pods", "list", "--status", "TERMINATED", "-o", "jsonl").stdout.count("\n") == 1


def test_forms_of_a_pod(run: Run) -> None:
    pod_id = json.loads(run("pods", "create", *POD, "--expose", "22:SSH", "--wait", "-o", "json").stdout)["id"]
    lines = run("pods", "get", pod_id).stdout.splitlines()
    assert len(lines) < 15
    fields = dict(line.split(maxsplit=1) for line in lines)
    assert (fields["id"], fields["gpu"]) == (pod_id, "1x L4 (NVIDIA_L4_24G, 24 GB each)")
    assert re.fullmatch(r"22/SSH at 127\.0\.0\.1:\d+, healthy", fields["port"])
    assert "YOTTA_CLIENT_TOKEN" not in fields
    wide = run("pods", "get", pod_id, "-o", "wide").stdout
    assert "single_card_vram_in_gb" in wide
    assert "container_volume_price" in wide
    document = YAML(typ="safe").load(run("pods", "get", pod_id, "-o", "yaml").stdout)
    assert document == json.loads(run("pods", "get", pod_id, "-o", "json").stdout)
    assert document["id"] == pod_id, "text, not a number"


def test_list_hides_terminated_pods(run: Run) -> None:
    kept, deleted = (json.loads(run("pods", "create", *POD, "--wait", "-o", "json").stdout)["id"] for _ in range(2))
    run("pods", "rm", deleted, "-y", "--wait")
    done = run("pods", "ls")
    assert kept in done.stdout
    assert deleted not in done.stdout
    assert "1 TERMINATED not shown: add --all." in done.stderr
    for options in (("-q",), ("-o", "json")):
        assert "1 TERMINATED not shown: add --all.\n" in run("pods", "ls", *options).stderr
    assert run("pods", "ls", "-q").stdout == f"{kept}\n"
    for everything in (("--all",), ("--status", "TERMINATED")):
        done = run("pods", "ls", *everything)
        assert deleted in done.stdout
        assert "not shown" not in done.stderr
    assert [pod["id"] for pod in json.loads(run("pods", "ls", "-o", "json").stdout)] == [kept]


def test_report_of_a_fan_out_has_addresses_times_and_costs(run: Run, emulator: Emulator) -> None:
    done = run("pods", "create", *POD, "--count", "3", "--expose", "22:SSH", "--wait")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["id", "name", "status", "address", "ready", "cost"]
    assert all(re.search(r"RUNNING +127\.0\.0\.1:\d+ +\d+\.\ds +<?0\.\d+$", line) for line in lines[1:])
    assert re.search(r"3 of 3 pods done\. 3 RUNNING, \$1\.84 an hour now, \$<?0\.\d+ so far", done.stderr)


# Many pods


def test_many_pods_with_a_timeline(run: Run, tmp_path: Path) -> None:
    done = run(
        "pods", "create", *POD, "--count", "12", "--name", "train", "--wait", "--timeline", "run.svg", "-o", "jsonl"
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events].count("created") == 12
    assert [event["event"] for event in events].count("outcome") == 12
    assert events[-1] == {"event": "summary", "succeeded": 12, "failed": 0, "unknown": 0}
    picture = ElementTree.parse(tmp_path / "run.svg").getroot()  # our own
    assert sum(each.get("class") == "pod" for each in picture.iter()) == 12
    table = run("pods", "list", "--match", "train-0*").stdout.splitlines()
    assert table[0].split() == ["id", "name", "status", "age", "gpu", "region", "$/h", "address"]
    assert len(table) == 10
    report = json.loads(run("pods", "pause", "--all", "--match", "train-0*", "--wait", "-o", "json").stdout)
    assert report["succeeded"] == 9
    summary = run("pods", "list").stderr
    assert "12 pods: 9 PAUSED, 3 RUNNING. $1.95 an hour now." in summary, "paused pods cost what their volumes do"
    swept = run("pods", "sweep", "--match", "train-*", "--action", "delete", "--dry-run", "-o", "json")
    assert len(json.loads(swept.stdout)) == 12
    assert json.loads(run("pods", "delete", "--all", "--yes", "-o", "json").stdout)["succeeded"] == 12


def test_timeout_of_a_fan_out_is_reported_for_each_pod(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.add(kind="stuck")
    options = ("--wait", "--timeout", "1", "-o", "jsonl", "--timeline", "run.svg")
    done = run("pods", "create", *POD, "--count", "3", *options, code=5)
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events.count("outcome") == 3
    assert (tmp_path / "run.svg").read_text().count('class="failure"') == 3


def test_policy_that_is_not_met_deletes_every_pod(run: Run, emulator: Emulator) -> None:
    emulator.faults.add(kind="failed")
    done = run("pods", "create", *POD, "--count", "2", "--wait", "--policy", "all_or_nothing", code=5)
    assert "The policy was not met." in done.stderr
    assert "2 pods had been started; none is left." in done.stderr


def test_failed_pod_is_named_with_the_command_that_deletes_it(run: Run, emulator: Emulator) -> None:
    emulator.faults.add(kind="failed")
    done = run("pods", "create", *POD, "--wait", code=1)
    assert "exists, and may bill. Delete it with `yotta-async pods delete" in done.stderr
    done = run("pods", "create", *POD, "--count", "2", "--wait", "-o", "json", code=5)
    assert [item["error"]["type"] for item in json.loads(done.stdout)["items"]] == ["PodFailedError"] * 2


def test_watch_streams_events(environment: dict[str, str], emulator: Emulator, run: Run) -> None:
    command = [*COMMAND, "pods", "watch", "-o", "jsonl"]
    with start_process(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not emulator.requests:
            time.sleep(0.01)
        pod_id = json.loads(run("pods", "create", *POD, "-o", "json").stdout)["id"]
        event: dict[str, Any] = json.loads(process.stdout.readline())
        assert (event["event"], event["pod_id"]) == ("added", pod_id)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


@pytest.mark.parametrize("command", [["list", "--watch", "--match", "mine-*"], ["watch"]])
def test_changes_in_a_pipe_are_lines(command: list[str], environment: dict[str, str], run: Run) -> None:
    run("pods", "create", *POD, "--name", "other", "--wait")
    arguments = [*COMMAND, "pods", *command]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for name in ("mine-1", "mine-2"):
            pod_id = json.loads(run("pods", "create", *POD, "--name", name, "-o", "json").stdout)["id"]
            while not any(pod_id in line and "RUNNING" in line for line in lines):
                lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert any("other" in line for line in lines) == (command == ["watch"])


# Deletes, against a server whose pods are in odd states


def serve_pods(
    pods: list[dict[str, Any]], *, refusal: int | None = None, is_gone: bool = False, is_still_listed: bool = False
) -> Reply:
    """Serve lists, gets and deletes; `refusal` is the code of every delete, `is_gone`: no pod outlives the first list."""
    listed: list[dict[str, Any]] = pods

    async def reply(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal listed
        pod = next((pod for pod in pods if pod["id"] == request.path.rpartition("/")[2]), None)
        if pod is None:
            response = envelope(listed)
            listed = [] if is_gone and not is_still_listed else pods
        elif request.method == "DELETE" and refusal is None:
            pod["status"] = "TERMINATED"
            response = envelope(None)
        elif request.method == "DELETE":
            response = envelope(None, code=refusal, message="no")
        else:
            response = envelope(None, code=13000, message="pod not found") if is_gone else envelope(pod)
        await response(request, writer)

    return reply


async def delete_from(reply: Reply, *arguments: str) -> subprocess.CompletedProcess[str]:
    async with raw_server(reply) as server:
        return await asyncio.to_thread(
            run_process, "pods", "delete", "--yes", *arguments, YOTTA_BASE_URL=server.url, YOTTA_API_KEY="k"
        )


async def test_delete_all_includes_pods_of_unknown_status() -> None:
    statuses = ["RUNNING", "REBUILDING", None, "", "TERMINATING", "TERMINATED"]
    pods: list[dict[str, Any]] = [{"id": str(index), "status": status} for index, status in enumerate(statuses)]
    done = await delete_from(serve_pods(pods), "--all", "-o", "json")
    assert [item["pod_id"] for item in json.loads(done.stdout)["items"]] == ["0", "1", "2", "3"]
    assert [pod["status"] for pod in pods] == ["TERMINATED"] * 4 + ["TERMINATING", "TERMINATED"]


async def test_pod_that_a_list_repeats_is_one_pod() -> None:
    done = await delete_from(serve_pods([{"id": "7", "status": "RUNNING"}] * 2), "--all", "-o", "json")
    assert json.loads(done.stdout)["succeeded"] == 1
    done = await delete_from(serve_pods([{"id": "7", "status": "RUNNING"}]), "7", "7", "-o", "json")
    assert json.loads(done.stdout)["succeeded"] == 1


@pytest.mark.parametrize("is_still_listed", [False, True])
async def test_pod_that_is_gone_before_its_delete_is_success_for_all(is_still_listed: bool) -> None:
    serve = serve_pods([{"id": "7", "status": "RUNNING"}], refusal=13000, is_gone=True, is_still_listed=is_still_listed)
    for arguments in (("--all",), ("--all", "--wait")):
        assert (await delete_from(serve, *arguments)).returncode == 0
    assert (await delete_from(serve, "7", "--wait")).returncode == 3, "an id that was typed may be mistyped"


async def test_pod_that_one_response_calls_gone_is_not_deleted() -> None:
    done = await delete_from(serve_pods([{"id": "7", "status": "RUNNING"}], refusal=13000), "--all")
    assert done.returncode == 5
    assert "a get shows the pod" in done.stdout


async def test_deleted_pod_is_success_for_delete_with_wait() -> None:
    serve = serve_pods([{"id": "7", "status": "TERMINATED"}], refusal=12001)
    assert (await delete_from(serve, "7", "--wait")).returncode == 0
    serve = serve_pods([{"id": "7", "status": "RUNNING"}], refusal=12001)
    assert (await delete_from(serve, "7", "--wait")).returncode == 1


@pytest.mark.parametrize("command", ["watch", "list --watch"])
async def test_watch_counts_a_status_from_its_last_change(command: str) -> None:
    changed = datetime.now(UTC) - timedelta(hours=3, seconds=5)
    pod = {"id": "7", "status": "RUNNING", "updatedAt": changed.isoformat()}
    async with raw_server(serve_pods([pod])) as server:
        environment = os.environ | {"YOTTA_BASE_URL": server.url, "YOTTA_API_KEY": "k"}
        arguments = ("pods", *command.split(), "--timeout", "2")
        code, shown = await asyncio.to_thread(run_on_terminal, *arguments, environment=environment)
    assert code == 0
    assert "3h0m" in shown


# Ends


@pytest.mark.parametrize(
    ("code", "arguments", "text"),
    [
        (1, ("pods", "list", "--base-url", "http://127.0.0.1:1"), "Error: "),
        (1, ("pods", "get", "letters"), "podId"),
        (2, ("pods", "list", "--nonsense"), "No such option"),
        (2, ("pods", "create", *POD, "--gpu-count", "3"), "--gpu-count must be a power of two"),
        (2, ("pods", "create", *POD, "--count", "1000000000000"), "--count must be"),
        (2, ("pods", "create", "--image", "x"), "--gpu-type"),
        (2, ("pods", "create", *POD, "--timeline", "run.png"), ".svg or .html"),
        (2, ("pods", "create", *POD, "--policy", "most"), "best_effort"),
        (2, ("pods", "create", *POD, "--fallback", "cpu=1"), "cpu=1"),
        (2, ("pods", "create", *POD, "--env", "only-a-secret"), "KEY=VALUE"),
        (2, ("pods", "create", *POD, "--env", "A=1", "--env", "A=2"), "A is there twice"),
        (2, ("pods", "create", *POD, "--max-hourly", "0.5", "--price", "NVIDIA_L4_24G=0.6"), "--max-hourly"),
        (2, ("pods", "create", *POD, "--container-volume-gb", "9", "--max-hourly", "0.9", "--price", "NVIDIA_L4_24G=0.1",
             "--volume-price", "0.1"), "--max-hourly"),
        (2, ("pods", "create", *POD, "--expose", "2" * 5000), "PORT"),
        (2, ("pods", "create", *POD, "--timeline", "no/such/run.svg"), "no such directory"),
        (2, ("pods", "pause"), "--all"),
        (2, ("pods", "pause", "7", "--all"), "--all"),
        (2, ("pods", "sweep",), "--older-than"),
        (2, ("pods", "sweep", "--older-than", "soon"), "2h"),
        (2, ("pods", "sweep", "--older-than", "9" * 5000), "2h"),
        (2, ("pods", "list", "--status", "foo"), "RUNNING"),
        (2, ("pods", "list", "--status", "1" * 5000), "RUNNING"),
        (2, ("pods", "list", "--timeout", "nan"), "finite"),
        (2, ("pods", "list", "--base-url", "http://example.com"), "--base-url must be https"),
        (1, ("pods", "watch", "--base-url", "http://127.0.0.1:1", "--timeout", "4"), "127.0.0.1"),
        (3, ("pods", "watch", "99", "--timeout", "4"), "not found"),
        (3, ("pods", "get", "99"), "not found"),
        (3, ("pods", "delete", "99", "--yes"), "not found"),
        (3, ("pods", "wait", "99", "--timeout", "5"), "does not exist"),
        (4, ("pods", "list", "--api-key", ""), "--api-key"),
        (4, ("pods", "list", "--api-key", "wrong"), "--api-key"),
    ],
)  # fmt: skip
def test_exit_codes(run: Run, code: int, arguments: tuple[str, ...], text: str) -> None:
    done = run(*arguments, code=code)
    assert text in done.stderr
    assert "only-a-secret" not in done.stderr
    assert "emulator-key" not in done.stdout + done.stderr


def test_exit_codes_of_pods_that_exist(run: Run) -> None:
    pod_id = json.loads(run("pods", "create", *POD, "-o", "json").stdout)["id"]
    run("pods", "wait", pod_id, "--status", "PAUSED", "--status", "FAILED", "--timeout", "0.3", code=124)
    assert "1 of 2 pods done" in run("pods", "delete", pod_id, "99", "--yes", code=5).stderr
    run("pods", "list", code=4, YOTTA_API_KEY="")


# Hostile names, and secrets


def test_hostile_names_and_narrow_encodings(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    names = ["\x1b[31mred\x07", "line\nbreak", "\ufffe\uffff", "日本語" * 30, ":smile: [bold]"]
    (tmp_path / "names.json").write_text(
        json.dumps([{"image": "a", "gpu_type": "b", "pod_name": name} for name in names])
    )
    forms: list[tuple[str, ...]] = [("--wait", "--timeline", "run.svg"), ("-o", "json"), ("-o", "jsonl")]
    for options in forms:
        assert "\x1b" not in run("pods", "create", "--from", "names.json", *options).stdout
    ElementTree.parse(tmp_path / "run.svg")  # our own
    for encoding in ("ascii", "cp1252"):
        for options in [(), *forms[1:]]:
            done = run_process("pods", "list", *options, **environment, PYTHONIOENCODING=encoding)
            assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_response_that_repeats_the_request_shows_no_secret(run: Run, emulator: Emulator) -> None:
    value = "quote\"'hush-hush\\é"
    for echo in (value, json.dumps({"v": value}), json.dumps({"v": value}, ensure_ascii=False)):
        fault = emulator.faults.add(kind="status", on="create", http_status=400, code=10001, message=f"bad: {echo}")
        done = run("pods", "create", *POD, "--env", f"TOKEN={value}", "-o", "jsonl", "--count", "2", code=5)
        assert "hush-hush" not in done.stdout + done.stderr
        emulator.faults.remove(fault)
