"""Running the command line: in this process where that is enough, else as a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from yotta_async.cli.commands import cli
from yotta_async.emulator import Emulator, Timings

COMMAND = [sys.executable, "-c", "from yotta_async.cli import main; main()"]
POD = ("--image", "ubuntu:24.04", "--gpu-type", "NVIDIA_L4_24G")
FAST = Timings(initialize=0.1, pausing=0.0, terminating=0.0)
Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run_process(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process, with changes to the environment."""
    environment = os.environ | {"COLUMNS": "80", "NO_COLOR": "1"} | changes
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


def run_on_terminal(
    *arguments: str, environment: dict[str, str], answer: str = "", columns: int = 80, **changes: str
) -> tuple[int, str]:
    """Run a command on a terminal of its own, type an answer, and return its exit code and all that it showed."""
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (40, columns))
    environment = environment | {"COLUMNS": str(columns), "TERM": "xterm"} | changes
    with subprocess.Popen([*COMMAND, *arguments], stdin=end, stdout=end, stderr=end, env=environment) as child:
        os.close(end)
        os.write(terminal, answer.encode())
        shown = b""
        with suppress(OSError):  # Linux says so at the end
            while part := os.read(terminal, 65536):
                shown += part
        code = child.wait(60)
    os.close(terminal)
    return code, shown.decode()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(timings=FAST) as emulator:
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
    """Return a function that runs a command in this process, in `tmp_path`, and checks its exit code."""

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
