"""Pods that really run: `Emulator(runtime="process")` runs each pod's initializationCommand on this machine.

With the rights of whoever started the emulator, in a directory of its own, with an environment of its own. A port that
a pod exposes is relayed: who connects to its proxyPort reaches the port that the pod finds in YOTTA_PORT_<port> and is
to listen on, as many pods share this one host.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import attrs

from yotta_async.emulator.pod import EmulatedPod
from yotta_async.emulator.ports import Ports
from yotta_async.emulator.schema import ExposedPort

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
# How often a port is tried until it accepts, and from then on.
_UNTIL_HEALTHY = 0.05
_WHILE_HEALTHY = 1.0
_CHUNK = 2**16
# Of a pod's log so many bytes are read, the last ones.
_LOG_TAIL = 2**20


@attrs.frozen
class RecordedExit:
    """A pod's process that ended by itself, at a time of the emulator's clock; None is one that could not start."""

    time: float
    pod_id: str
    exit_code: int | None


@attrs.define(eq=False)
class Run:
    """One stretch that a pod runs."""

    pod: EmulatedPod
    is_over: asyncio.Event
    task: asyncio.Task[None] | None = None
    inner: dict[int, int] = attrs.field(factory=dict)  # the port to listen on, by the port that is exposed
    relays: set[asyncio.Task[None]] = attrs.field(factory=set)


class ProcessRuntime:
    """The processes of all pods; `ended` is told of each that ended by itself, with its exit code."""

    def __init__(self, host: str, ended: Callable[[str, int | None], None]) -> None:
        self._host = host
        self._ports = Ports(host)
        self._ended = ended
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._folder: Path | None = None

    def start(self, pod: EmulatedPod) -> None:
        """Let a pod run, as soon as what it was before has ended."""
        before = self._runs.get(pod.id)
        run = self._runs[pod.id] = Run(pod, asyncio.Event())
        run.task = self._task(self._run(run, before.task if before else None))

    def stop(self, pod: EmulatedPod) -> None:
        """Ask a pod's processes to end."""
        run = self._runs.get(pod.id)
        if run is not None:
            run.is_over.set()

    def remove(self, pod: EmulatedPod) -> None:
        """Remove a pod's directory, when its processes have ended; its log stays."""
        run = self._runs.get(pod.id)
        if run is not None:
            self._task(self._clear(run, self._home(pod.id)))

    def forget(self, pod: EmulatedPod) -> None:
        """Remove a pod's log too."""
        run = self._runs.pop(pod.id, None)
        if run is not None:
            self._task(self._clear(run, self._home(pod.id), self._log(pod.id)))

    def logs(self, pod_id: str) -> str:
        """Return what a pod wrote to its standard output and error; of much, the end."""
        try:
            with self._log(pod_id).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
                return log.read().decode(errors="replace")
        except OSError:
            raise ValueError(f"pod {pod_id} has no logs: it has not run, or is gone") from None

    async def aclose(self) -> None:
        """End every process, and remove what they left."""
        for run in self._runs.values():
            run.is_over.set()
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _home(self, pod_id: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="yotta-emulator-"))
        return self._folder / pod_id

    def _log(self, pod_id: str) -> Path:
        return self._home(pod_id).with_suffix(".log")

    async def _run(self, run: Run, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        pod = run.pod
        if run.is_over.is_set() or not pod.wire.initialization_command:
            return  # nothing is to run: its ports stay unhealthy
        home = self._home(pod.id)
        home.mkdir(exist_ok=True)
        code: int | None = None
        try:
            with self._log(pod.id).open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    # Isolated, so that the pod's variables do not change the supervisor; without site, to start soon.
                    *(sys.executable, "-I", "-S", _SUPERVISOR, pod.wire.initialization_command),
                    cwd=home,
                    env=self._environment(run, home),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is the emulator's
                )
        except (OSError, ValueError) as error:
            self._log(pod.id).write_text(f"the emulator could not start it: {type(error).__name__}\n")
        else:
            code = await self._attend(run, process)
        if not run.is_over.is_set():
            self._ended(pod.id, code)

    async def _attend(self, run: Run, process: asyncio.subprocess.Process) -> int:
        """Relay a pod's ports and watch their health until it ends; return its exit code."""
        exposed = [] if run.pod.fault("unhealthy_port") else run.pod.wire.expose
        for port in exposed:
            self._ports.open(port, functools.partial(_take, run, run.inner[port.port]))
        health = self._task(self._watch_health(run, exposed))
        ended = asyncio.ensure_future(process.wait())
        asked = asyncio.ensure_future(run.is_over.wait())
        try:
            await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
            for port in exposed:
                self._ports.close(port.proxy_port)
            for relay in run.relays:
                relay.cancel()
            if not ended.done() and process.stdin is not None:
                process.stdin.write(b".")
            return await ended
        finally:
            asked.cancel()
            health.cancel()
            if process.stdin is not None:
                process.stdin.close()

    def _environment(self, run: Run, home: Path) -> dict[str, str]:
        run.inner = {exposed.port: _free_port() for exposed in run.pod.wire.expose}
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **{variable.key: variable.value for variable in run.pod.wire.environment_vars},
            **{f"YOTTA_PORT_{port}": str(inner) for port, inner in run.inner.items()},
        }

    async def _watch_health(self, run: Run, exposed: list[ExposedPort]) -> None:
        run.pod.heal(is_healthy=False)
        while exposed and not run.is_over.is_set():
            for port in exposed:
                is_healthy = await _accepts(run.inner[port.port])
                if is_healthy != port.healthy and not run.is_over.is_set():
                    port.healthy = is_healthy
                    run.pod.touch()
            await asyncio.sleep(_WHILE_HEALTHY if all(port.healthy for port in exposed) else _UNTIL_HEALTHY)

    async def _clear(self, run: Run, home: Path, log: Path | None = None) -> None:
        if run.task is not None:
            await run.task
        await asyncio.to_thread(_remove, home, log)


def _remove(home: Path, log: Path | None) -> None:
    shutil.rmtree(home, ignore_errors=True)
    if log is not None:
        log.unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.transport.abort()
    return True


def _take(run: Run, port: int, taken: socket.socket) -> None:
    task = asyncio.get_running_loop().create_task(_relay(taken, port))
    run.relays.add(task)
    task.add_done_callback(run.relays.discard)


async def _relay(taken: socket.socket, port: int) -> None:
    """Pass on what two sides say, until both have said all."""
    with suppress(OSError):
        taken.setblocking(False)  # noqa: FBT003  # the name of its argument is positional
        reader, writer = await asyncio.open_connection(sock=taken)
        with closing(writer):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            with closing(inner_writer):
                await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
    await writer.drain()
