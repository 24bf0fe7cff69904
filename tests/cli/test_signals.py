"""Signals end a command after its cleanup, and a second one at once."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, POD, Run
from tests.processes import start_process
from yotta_async import PodStatus
from yotta_async.emulator import Emulator

CREATE_FIVE = [*COMMAND, "pods", "create", *POD, "--count", "5", "--wait"]
SECOND_SIGNAL_CHILDREN = 100
MAX_END_S = 20.0


def read_five_creates(child: subprocess.Popen[str]) -> None:
    """Return when the command has said that its five pods are created."""
    assert child.stderr is not None
    created = 0
    while created < 5:
        line = child.stderr.readline()
        assert line, "the command ended"
        created += " created " in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_during_create_deletes_the_pods(
    environment: dict[str, str], emulator: Emulator, run: Run, tmp_path: Path, number: signal.Signals
) -> None:
    emulator.faults.add(kind="stuck")
    command = [*CREATE_FIVE, "--timeline", str(tmp_path / "run.html")]
    with start_process(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        read_five_creates(child)
        child.send_signal(number)
        assert child.stderr is not None
        messages = child.stderr.read()
    assert child.returncode == 128 + number
    assert "Stopping: what was begun is cleaned up." in messages
    assert "5 pods had been started; none is left." in messages
    assert "Traceback" not in messages
    assert json.loads(run("pods", "list", "-o", "json", "--status", "INITIALIZE").stdout) == []
    assert (tmp_path / "run.html").exists()


def test_hangup_of_the_terminal_deletes_the_pods(environment: dict[str, str], emulator: Emulator, run: Run) -> None:
    emulator.faults.add(kind="stuck")
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(CREATE_FIVE[0], CREATE_FIVE, environment)
    while sum(request.method == "POST" for request in emulator.requests) < 5:
        time.sleep(0.01)
    os.read(terminal, 1000)
    os.close(terminal)  # the kernel sends SIGHUP, and every write fails from now on
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert json.loads(run("pods", "list", "-o", "json", "--status", "INITIALIZE").stdout) == []


def test_ignored_hangup_stays_ignored(environment: dict[str, str], emulator: Emulator) -> None:
    command = ["nohup", *COMMAND, "pods", "watch", "-o", "jsonl"]
    with start_process(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as child:
        while not emulator.requests:
            time.sleep(0.01)
        child.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 143


def test_second_signal_ends_a_blocked_cleanup_at_once(environment: dict[str, str], emulator: Emulator) -> None:
    emulator.faults.add(kind="stuck")
    blocked = emulator.faults.add(kind="delay", on="delete", seconds=50)
    with start_process(CREATE_FIVE, env=environment, stderr=subprocess.PIPE, text=True) as child:
        read_five_creates(child)
        child.send_signal(signal.SIGTERM)
        while not blocked.fired:
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        child.wait(20)  # less than the delete takes
        assert child.stderr is not None
        messages = child.stderr.read()
    assert child.returncode == 128 + signal.SIGINT
    assert "`yotta-async reap` finds pods that are left" in messages
    assert "Traceback" not in messages


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_second_signal_at_random_moments_never_hangs(environment: dict[str, str], emulator: Emulator) -> None:
    emulator.faults.add(kind="stuck")
    choose = random.Random(21)
    slots = asyncio.Semaphore(6)

    async def run_child() -> str:
        first, second = (choose.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) for _ in range(2))
        gap_s = choose.choice((0.0, 0.0001, choose.uniform(0, 0.005), choose.uniform(0, 0.1), choose.uniform(0, 0.6)))
        async with slots:
            child = await asyncio.create_subprocess_exec(
                *COMMAND, "pods", "create", *POD, "--count", "2", "--wait",
                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            try:
                assert child.stderr is not None
                await child.stderr.readline()  # a pod is created: handlers are installed
                await asyncio.sleep(choose.uniform(0, 0.3))
                # `child.send_signal` takes the exit code of a child that has just ended, and asyncio loses it.
                with suppress(ProcessLookupError):
                    os.kill(child.pid, first)
                await asyncio.sleep(gap_s)
                if child.returncode is None:
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, second)
                messages = await asyncio.wait_for(child.stderr.read(), MAX_END_S)
                code = await asyncio.wait_for(child.wait(), MAX_END_S)
            finally:
                if child.returncode is None:
                    child.kill()
        assert b"Traceback" not in messages, messages.decode()
        assert code in (128 + first, 128 + second, -first, -second), messages.decode()
        return "at once" if b"at once" in messages else "cleaned up"

    # All of them end before one fails the test: asyncio can hang when the start of a child is cancelled.
    ends = await asyncio.gather(*(run_child() for _ in range(SECOND_SIGNAL_CHILDREN)), return_exceptions=True)
    for failure in (end for end in ends if isinstance(end, BaseException)):
        raise failure
    assert {"at once", "cleaned up"} == set(ends)
    async with emulator.client(journal=environment["YOTTA_JOURNAL"]) as yotta:
        while (await yotta.pods.reap()).pods:
            pass
        left = [pod.id for pod in await yotta.pods.list() if pod.status is PodStatus.INITIALIZE]
    assert left == [], "the journal finds what an end without cleanup left"
