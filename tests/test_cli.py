"""The command line, as it is run."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

from yotta_async import __version__

RUN = [sys.executable, "-c", "from yotta_async.cli import main; main()"]


def run(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        [*RUN, *arguments], capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )


def test_the_demo_takes_twelve_pods_through_their_life() -> None:
    done = run("demo")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for status in ("INITIALIZE", "RUNNING", "PAUSED", "TERMINATED"):
        named = set(re.findall(rf"demo-(\d\d) +{status} ", done.stdout))
        assert len(named) == 12, status
    assert "12 started, paused, resumed and deleted; 0 left" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_help_and_version() -> None:
    assert __version__ in run("--version").stdout
    for command in ("demo", "emulator"):
        assert command in run("--help").stdout
        assert f"Example: yotta-async {command}" in run(command, "--help").stdout


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
    with subprocess.Popen([*RUN, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        demo.stdout.readline()
        demo.stdout.close()
        assert demo.wait(30) == 1
        assert demo.stderr.read() == ""
