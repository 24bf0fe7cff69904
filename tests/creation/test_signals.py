"""`install_signal_handlers` in processes of their own: the first signal cleans up, the second ends at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.processes import start_process

PROGRAM = """
import asyncio, os, time
from yotta_async import install_signal_handlers

async def main():
    # Not print: the second signal may come while the program is in a print of its own.
    install_signal_handlers(on_signal=lambda number, count: os.write(1, b"%s %d\\n" % (number.name.encode(), count)))
    try:
        print("ready", flush=True)
        await asyncio.sleep(60)
    finally:
        print("cleanup", flush=True)
        {cleanup}
        print("cleaned up", flush=True)

asyncio.run(main())
"""


def run_and_send(cleanup: str, *signals: signal.Signals) -> tuple[int, list[str], str]:
    """Return exit status, output and errors of the program; each signal is sent after another line of output."""
    command = [sys.executable, "-c", PROGRAM.format(cleanup=cleanup)]
    with start_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for number in signals:
            while not lines or lines[-1] not in ("ready", "cleanup"):
                lines.append(process.stdout.readline().strip())
            process.send_signal(number)
            lines.append(process.stdout.readline().strip())
        lines += process.stdout.read().split("\n")
        assert process.stderr is not None
        errors = process.stderr.read()
        return process.wait(10), lines, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_runs_the_cleanup(number: signal.Signals) -> None:
    status, lines, errors = run_and_send("await asyncio.sleep(0.1)", number)
    assert status == -signal.SIGINT
    assert {"cleanup", "cleaned up", f"{number.name} 1"} <= set(lines)
    assert errors.strip().endswith("KeyboardInterrupt")


# Python does not see a signal that comes in the moment before a sleep begins, so the one that blocks is many short ones.
@pytest.mark.parametrize("cleanup", ["await asyncio.sleep(60)", "[time.sleep(0.05) for _ in range(1200)]"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_even_a_blocked_cleanup(number: signal.Signals, cleanup: str) -> None:
    status, lines, errors = run_and_send(cleanup, signal.SIGTERM, number)
    assert status == 128 + number
    assert f"{number.name} 2" in lines
    assert "cleaned up" not in lines
    assert errors == ""


def test_ignored_signal_stays_ignored_before_and_in_the_cleanup() -> None:
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + PROGRAM
    command = [sys.executable, "-c", program.format(cleanup="await asyncio.to_thread(input)")]
    with start_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        while lines[-1] not in (b"cleanup\n", b""):
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(b"\n", timeout=10)
        assert lines == [b"ready\n", b"SIGTERM 1\n", b"cleanup\n"]
        assert rest == b"cleaned up\n"
        assert errors.strip().endswith(b"KeyboardInterrupt")


def test_second_signal_before_the_first_took_effect_ends_at_once_though_the_hook_fails() -> None:
    kill = "[os.kill(os.getpid(), number) for number in (15, 2)]"
    program = PROGRAM.replace('print("ready", flush=True)', kill).format(cleanup="await asyncio.sleep(60)")
    program = program.replace("count: os.write", "count: 1 // (count < 2) or os.write")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=False)
    assert done.returncode > 128
    assert done.stdout == b"", "no cleanup"


@pytest.mark.parametrize(("number", "output"), [(signal.SIGHUP, ["SIGHUP 1", "cleanup"]), (signal.SIGTERM, [""])])
def test_only_signals_that_are_named_are_handled(number: signal.Signals, output: list[str]) -> None:
    program = PROGRAM.replace("install_signal_handlers(on", "install_signal_handlers(1, on").format(cleanup="pass")
    with start_process([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        lines = process.communicate(timeout=10)[0].decode().split("\n")
        assert lines[: len(output)] == output
        assert process.returncode == (-signal.SIGTERM if number == signal.SIGTERM else -signal.SIGINT)
