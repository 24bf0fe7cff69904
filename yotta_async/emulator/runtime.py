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
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from yotta_async.emulator.pod import EmulatedPod
from yotta_async.emulator.ports import Ports
from yotta_async.emulator.relays import Relays
from yotta_async.emulator.schema import ExposedPort
from yotta_async.emulator.supervisor import descendants

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
# How often a port is tried until it accepts, and from then on.
_UNTIL_HEALTHY = 0.05
_WHILE_HEALTHY = 1.0
# How long a supervisor that was asked to end may take, and what a pod that ended may have left to say.
_PATIENCE = 5.0
_LAST_WORDS = 2.0
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
    has_ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    relays: Relays = attrs.field(factory=Relays)
    listening: list[int] = attrs.field(factory=list)  # by proxy port


class ProcessRuntime:
    """The processes of all pods; `ended` is told of each that ended by itself, with its exit code."""

    def __init__(self, host: str, ended: Callable[[str, int | None], None]) -> None:
        self._host = host
        self._ports = Ports(host)
        self._ended = ended
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._folder: Path | None = None
        self._folder_is_kept = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._is_closing = False

    def start(self, pod: EmulatedPod) -> None:
        """Let a pod run, as soon as what it was before has ended."""
        if self._is_closing:
            return
        before = self._runs.get(pod.id)
        run = self._runs[pod.id] = Run(pod, asyncio.Event())
        for exposed in pod.wire.expose if pod.wire.initialization_command else ():
            run.inner[exposed.port] = port = self._free_port()
            if not pod.fault("unhealthy_port"):
                proxy_port = self._ports.open(pod, exposed, functools.partial(self._take, run, port))
                if proxy_port is not None:
                    run.listening.append(proxy_port)
        run.task = self._task(self._run(run, before.task if before else None))

    def stop(self, pod: EmulatedPod) -> None:
        """Ask a pod's processes to end."""
        run = self._runs.get(pod.id)
        if run is not None:
            run.is_over.set()
            self._deafen(run)

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
            if self._folder is None:
                raise OSError
            with self._log(pod_id).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
                return log.read().decode(errors="replace")
        except OSError:
            raise ValueError(f"pod {pod_id} has no logs: it has not run, or is gone") from None

    async def aclose(self) -> None:
        """End every process, and remove what they left."""
        self._is_closing = True
        for run in self._runs.values():
            run.is_over.set()
            self._deafen(run)
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._folder is not None:
            await asyncio.to_thread(_remove, self._folder, None)
        if self._keeping is not None:
            self._folder_is_kept.set()
            await self._keeping

    def _task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _take(self, run: Run, port: int, taken: socket.socket) -> None:
        self._task(run.relays.relay(taken, port))

    def _free_port(self) -> int:
        """Return a port that nobody listens on and no pod was given."""
        taken = {port for run in self._runs.values() if not run.has_ended.is_set() for port in run.inner.values()}
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in taken:
                return port

    def _deafen(self, run: Run) -> None:
        """Take no more connections for a pod."""
        for port in run.listening:
            self._ports.close(port)
        run.listening.clear()

    def _home(self, pod_id: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="yotta-emulator-"))
            self._keeping = asyncio.get_running_loop().create_task(self._keep(self._folder))
        return self._folder / pod_id

    async def _keep(self, folder: Path) -> None:
        """Have somebody remove the folder of all should this process be killed."""
        with Path(os.devnull).open("wb") as nothing, suppress(OSError):  # noqa: ASYNC230  # it is quick
            keeper = await _supervised("exec sleep 2000000000", folder, nothing, environment={"PATH": os.defpath})
            await self._folder_is_kept.wait()
            if keeper.stdin is not None:
                keeper.stdin.write(b".")
            await keeper.wait()

    def _log(self, pod_id: str) -> Path:
        return self._home(pod_id).with_suffix(".log")

    async def _run(self, run: Run, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        pod = run.pod
        if run.is_over.is_set() or not pod.wire.initialization_command:
            return  # nothing is to run: its ports stay unhealthy
        home = self._home(pod.id)
        code: int | None = None
        try:
            home.mkdir(parents=True, exist_ok=True)
            with self._log(pod.id).open("ab") as log:
                process = await _supervised(
                    pod.wire.initialization_command, home, log, environment=self._environment(run, home)
                )
        except (OSError, ValueError) as error:
            with suppress(OSError):
                self._log(pod.id).write_text(f"the emulator could not start it: {error}\n")
        else:
            code = await self._attend(run, process)
        if not run.is_over.is_set():
            self._deafen(run)
            pod.heal(is_healthy=False)
            self._ended(pod.id, code)

    async def _attend(self, run: Run, process: asyncio.subprocess.Process) -> int:
        """Watch a pod's ports until it ends or is to end; return its exit code."""
        exposed = [port for port in run.pod.wire.expose if port.proxy_port in run.listening]
        health = self._task(self._watch_health(run, exposed))
        ended = asyncio.ensure_future(process.wait())
        asked = asyncio.ensure_future(run.is_over.wait())
        try:
            await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
            self._deafen(run)
            if not ended.done() and process.stdin is not None:
                process.stdin.write(b".")
                await asyncio.wait({ended}, timeout=_PATIENCE)
                if not ended.done():
                    for pid in (*descendants(process.pid), process.pid):  # a supervisor that was stopped
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
            return await ended
        finally:
            asked.cancel()
            run.has_ended.set()
            if process.stdin is not None:
                process.stdin.close()
            await health
            self._task(run.relays.end(0.0 if run.is_over.is_set() else _LAST_WORDS))

    def _environment(self, run: Run, home: Path) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **{variable.key: variable.value for variable in run.pod.wire.environment_vars},
            **{f"YOTTA_PORT_{port}": str(inner) for port, inner in run.inner.items()},
        }

    async def _watch_health(self, run: Run, exposed: list[ExposedPort]) -> None:
        run.pod.heal(is_healthy=False)
        while exposed and not run.has_ended.is_set():
            found = await asyncio.gather(*(_accepts(run.inner[port.port]) for port in exposed))
            for port, is_healthy in zip(exposed, found, strict=True):
                if is_healthy != port.healthy and not run.is_over.is_set():
                    port.healthy = is_healthy
                    run.pod.touch()
            pause = _WHILE_HEALTHY if all(port.healthy for port in exposed) else _UNTIL_HEALTHY
            with suppress(TimeoutError):  # not cancelled from outside: a connection that is being opened would be lost
                await asyncio.wait_for(run.has_ended.wait(), pause)

    async def _clear(self, run: Run, home: Path, log: Path | None = None) -> None:
        if run.task is not None:
            await run.task
        await asyncio.to_thread(_remove, home, log)


async def _supervised(
    command: str, home: Path, log: BinaryIO, *, environment: dict[str, str]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        # Isolated, so that the pod's variables do not change the supervisor; without site, to start soon.
        *(sys.executable, "-I", "-S", _SUPERVISOR, str(os.getpid()), command, *environment),
        cwd=home,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is the emulator's
    )


def _remove(home: Path, log: Path | None) -> None:
    for folder, _, _ in os.walk(home):
        with suppress(OSError):
            Path(folder).chmod(0o700)  # such as a cache that its program has made read-only
    shutil.rmtree(home, ignore_errors=True)
    if log is not None:
        log.unlink(missing_ok=True)


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), _WHILE_HEALTHY)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
