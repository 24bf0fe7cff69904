"""The command line, as it is run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.conftest import KEY
from tests.pod_server import PodServer, pod_server
from yotta_async import __version__
from yotta_async.cli.commands import cli

RUN = [sys.executable, "-c", "from yotta_async.cli import main; main()"]


def run(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        [*RUN, *arguments], capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )


def test_the_demo_takes_forty_pods_through_their_life_and_some_mishaps(tmp_path: Path) -> None:
    done = run("demo", "--timeline", str(tmp_path / "demo.svg"))
    assert done.returncode == 0, done.stderr
    for said in (
        "40 of 40 ran",
        "0 left",
        "41, of which one failed",
        "not made twice",
        "429",
        "replaced by",
        "the waits went on",
    ):
        assert said in done.stdout, said
    names = set(re.findall(r"outcome +\d+ +RUNNING +(demo-\d\d)$", done.stderr, re.MULTILINE))
    assert len(names) == 40
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    picture = (tmp_path / "demo.svg").read_text()
    assert picture.count('class="pod"') == 41
    for colour in ("INITIALIZE", "RUNNING", "PAUSED", "TERMINATED", "FAILED"):
        assert colour in picture


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


def test_help_and_version() -> None:
    assert __version__ in run("--version").stdout
    assert "124  what was waited for did not come in time" in run("pods", "wait", "--help").stdout
    told = run("--help").stdout
    found = list(commands(cli))
    assert {"pods", "reap", "emulator", "demo", "doctor", "mcp"} == {names[0] for names, _ in found}
    assert len(found) == 15
    for names, command in found:
        assert names[0] in told
        assert f": yotta-async {' '.join(names)}" in (command.help or ""), f"an example of {names}"


def test_help_imports_nothing_that_it_does_not_need() -> None:
    script = "import sys; from yotta_async.cli.commands import cli; print([n for n in ('aiohttp', 'cattrs', 'rich', 'yaml', 'mcp', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    environment = os.environ | {
        "_YOTTA_ASYNC_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "yotta-async pods w",
        "COMP_CWORD": "2" if shell != "fish" else "w",
    }
    program = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'yotta-async'; from yotta_async.cli import main; main()",
    ]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert {"wait", "watch"} <= set(re.findall(r"\b(?:wait|watch)\b", done.stdout))


def test_an_emulator_that_cannot_listen_says_why_in_a_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("emulator", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "Try another --port" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("emulator", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "loopback" in done.stderr


def test_without_the_extra_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['click'] = None; from yotta_async.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'yotta-async[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_not_a_traceback() -> None:
    command = [*RUN, "doctor", "--api-key", "key", "--base-url", "http://127.0.0.1:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as doctor:
        assert doctor.stdout is not None
        doctor.stdout.close()
        doctor.stdout = None
        _, said = doctor.communicate(timeout=60)
        assert doctor.returncode == 1
        assert said == ""


async def reap(api: PodServer, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"YOTTA_API_KEY": KEY, "YOTTA_BASE_URL": api.url, "XDG_STATE_HOME": str(folder)}
    command = [*RUN, "reap", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )


async def test_reap_shows_and_deletes_what_a_killed_process_left(tmp_path: Path) -> None:
    journal = tmp_path / "yotta-async" / "journal"
    async with pod_server() as api:
        done = await reap(api, tmp_path)
        assert (done.returncode, done.stdout) == (0, "0 pods left by processes that ended.\n")
        program = f"""
import asyncio, os
from yotta_async import YottaClient
async def main():
    yotta = YottaClient({KEY!r}, base_url={api.url!r}, journal={str(journal)!r})
    async with yotta.pods.ephemeral(image="i", gpu_type="g"):
        os._exit(9)
asyncio.run(main())"""
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False)
        [left] = api.alive
        for arguments, code in ((["--dry-run"], 0), ([], 2)):
            done = await reap(api, tmp_path, *arguments)
            assert done.returncode == code
            assert left in done.stdout
            assert "1 pod left by processes that ended" in done.stdout
            assert api.alive == [left]
        found = json.loads((await reap(api, tmp_path, "--dry-run", "-o", "json")).stdout)
        assert (found["pods"][0]["pod_id"], found["pods"][0]["deleted"], found["pending"]) == (left, False, 0)
        done = await reap(api, tmp_path, "--yes")
        assert done.returncode == 0
        assert f"{left} deleted" in done.stdout
        assert api.alive == []
        assert list(journal.iterdir()) == []


async def test_reap_tells_errors_in_a_line(tmp_path: Path) -> None:
    async with pod_server() as api:
        (tmp_path / "file").write_text("")
        done = await reap(api, tmp_path, "--journal", str(tmp_path / "file"))
    assert done.returncode == 2
    assert done.stderr.startswith("Error: journal cannot be used: it must be a directory")
    assert "Traceback" not in done.stderr
