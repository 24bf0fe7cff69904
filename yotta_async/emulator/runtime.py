"""What runs while a pod is RUNNING: only its ports (simulated), or its initializationCommand on this machine (process).

A process has the rights of the user who started the emulator, a working directory of its own, and only the pod's
environment variables. As all pods share this host, a process finds the port to listen on in YOTTA_PORT_<port>; the port
proxy forwards connections to the pod's proxyPort there.
"""

from __future__ import annotations

import asyncio
import functools
import getpass
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import attrs

from yotta_async.emulator.pod import EmulatedPod
from yotta_async.emulator.ports import PortListeners, PortProxy
from yotta_async.emulator.schema import ExposedPort
from yotta_async.emulator.supervisor import find_descendants

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
# How often a port is probed until it accepts, and from then on.
_UNHEALTHY_PROBE_INTERVAL_S = 0.05
_HEALTHY_PROBE_INTERVAL_S = 1.0
_SUPERVISOR_EXIT_TIMEOUT_S = 5.0
# How long connections may still send after their process has ended by itself.
_CONNECTION_GRACE_S = 2.0
_LOG_TAIL_BYTES = 2**20


class SimulatedRuntime:
    """Pods that consist of their ports, which accept connections and close them."""

    def __init__(self, host: str) -> None:
        self._listeners = PortListeners(host)

    def start(self, pod: EmulatedPod) -> None:
        """Open a pod's ports."""
        is_healthy = not pod.find_fault("unhealthy_port")
        for exposed in pod.wire.expose:
            proxy_port = self._listeners.open(pod, exposed, socket.socket.close if is_healthy else None)
            exposed.healthy = is_healthy and proxy_port is not None
        pod.invalidate_json()

    def stop(self, pod: EmulatedPod) -> None:
        """Close a pod's ports."""
        for exposed in pod.wire.expose:
            self._listeners.close(exposed.proxy_port)

    def remove(self, pod: EmulatedPod, *, keep_log: bool) -> None:
        """Do nothing: a simulated pod leaves nothing."""

    def read_log(self, pod_id: str) -> str:
        """Raise ValueError: a simulated pod writes nothing."""
        raise ValueError(f"pod {pod_id} has no log: only pods of Emulator(runtime='process') write one")

    async def aclose(self) -> None:
        """Close all ports."""
        self._listeners.close_all()


@attrs.frozen
class RecordedExit:
    """A pod's process that ended by itself, as `Emulator.exits` lists them.

    Attributes:
        time: when it ended, in seconds by `emulator.clock.time()`.
        pod_id: the id of its pod, which becomes FAILED.
        exit_code: its exit code; None if it could not start.

    """

    time: float
    pod_id: str
    exit_code: int | None


@attrs.define(eq=False)
class _PodRun:
    """One period in which a pod runs."""

    pod: EmulatedPod
    inner_ports: dict[int, int] = attrs.field(factory=dict)  # what the process listens on, by exposed port
    proxy_ports: list[int] = attrs.field(factory=list)
    proxy: PortProxy = attrs.field(factory=PortProxy)
    is_stopping: asyncio.Event = attrs.field(factory=asyncio.Event)
    has_ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class ProcessRuntime:
    """The processes of all pods. Calls `on_exit` with pod id and exit code for each that ends by itself."""

    def __init__(self, host: str, on_exit: Callable[[str, int | None], None]) -> None:
        self._listeners = PortListeners(host)
        self._on_exit = on_exit
        self._runs: dict[str, _PodRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._folder: Path | None = None
        self._is_folder_removed = asyncio.Event()
        self._folder_guard: asyncio.Task[None] | None = None
        self._is_closing = False

    def start(self, pod: EmulatedPod) -> None:
        """Start a pod's process as soon as its previous one has ended."""
        if self._is_closing:
            return
        previous = self._runs.get(pod.id)
        run = self._runs[pod.id] = _PodRun(pod)
        with suppress(OSError, KeyError):  # this user has no name; KeyError until Python 3.13
            pod.ssh_user = getpass.getuser()  # no other user can log in to an sshd that this one runs
        is_healthy = not pod.find_fault("unhealthy_port")
        for exposed in pod.wire.expose if pod.wire.initialization_command else ():
            run.inner_ports[exposed.port] = port = self._find_free_port()
            forward = functools.partial(self._forward, run, port)
            proxy_port = self._listeners.open(pod, exposed, forward if is_healthy else None)
            if proxy_port is not None:
                run.proxy_ports.append(proxy_port)
        run.task = self._spawn(self._run(run, previous.task if previous else None))

    def stop(self, pod: EmulatedPod) -> None:
        """Ask a pod's processes to end."""
        run = self._runs.get(pod.id)
        if run is not None:
            run.is_stopping.set()
            self._stop_listening(run)

    def remove(self, pod: EmulatedPod, *, keep_log: bool) -> None:
        """Remove a pod's directory, and its log unless it is kept, once its processes have ended."""
        run = self._runs.get(pod.id) if keep_log else self._runs.pop(pod.id, None)
        if run is not None:
            self._spawn(self._remove_files(run, self._home(pod.id), None if keep_log else self._log(pod.id)))

    def read_log(self, pod_id: str) -> str:
        """Return the end of what a pod has written to its standard output and error."""
        try:
            if self._folder is None:
                raise OSError
            with self._log(pod_id).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            raise ValueError(f"pod {pod_id} has no log: it has not run, or no longer exists") from None

    async def aclose(self) -> None:
        """End all processes and remove their files."""
        self._is_closing = True
        for run in self._runs.values():
            self.stop(run.pod)
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._folder is not None:
            await asyncio.to_thread(_remove_tree, self._folder, None)
        if self._folder_guard is not None:
            self._is_folder_removed.set()
            await self._folder_guard

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forward(self, run: _PodRun, port: int, connection: socket.socket) -> None:
        self._spawn(run.proxy.forward(connection, port))

    def _find_free_port(self) -> int:
        """Return a port that is free and was not given to a pod."""
        given = {port for run in self._runs.values() if not run.has_ended.is_set() for port in run.inner_ports.values()}
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in given:
                return port

    def _stop_listening(self, run: _PodRun) -> None:
        for port in run.proxy_ports:
            self._listeners.close(port)
        run.proxy_ports.clear()

    def _home(self, pod_id: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="yotta-emulator-"))
            self._folder_guard = asyncio.get_running_loop().create_task(self._guard_folder(self._folder))
        return self._folder / pod_id

    def _log(self, pod_id: str) -> Path:
        return self._home(pod_id).with_suffix(".log")

    async def _guard_folder(self, folder: Path) -> None:
        """Run a supervisor that removes the folder of all pods should the emulator be killed."""
        with Path(os.devnull).open("wb") as devnull, suppress(OSError):  # noqa: ASYNC230  # it does not block
            guard = await _start_supervisor("exec sleep 2000000000", folder, devnull, environment={"PATH": os.defpath})
            await self._is_folder_removed.wait()
            if guard.stdin is not None:
                guard.stdin.write(b".")
            await guard.wait()

    async def _run(self, run: _PodRun, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await previous
        pod = run.pod
        if run.is_stopping.is_set() or not pod.wire.initialization_command:
            return  # without a command there is no process, and the ports stay unhealthy
        home = self._home(pod.id)
        exit_code: int | None = None
        try:
            home.mkdir(parents=True, exist_ok=True)
            with self._log(pod.id).open("ab") as log:
                process = await _start_supervisor(
                    pod.wire.initialization_command, home, log, environment=self._build_environment(run, home)
                )
        except (OSError, ValueError) as error:
            with suppress(OSError):
                self._log(pod.id).write_text(f"the emulator could not start it: {error}\n")
        else:
            exit_code = await self._supervise(run, process)
        if not run.is_stopping.is_set():
            self._stop_listening(run)
            pod.set_unhealthy()
            self._on_exit(pod.id, exit_code)

    async def _supervise(self, run: _PodRun, process: asyncio.subprocess.Process) -> int:
        """Probe a pod's ports until its process ends or is stopped; return the exit code."""
        is_healthy = not run.pod.find_fault("unhealthy_port")
        exposed = [port for port in run.pod.wire.expose if is_healthy and port.proxy_port in run.proxy_ports]
        probes = self._spawn(self._probe_ports(run, exposed))
        exited = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(run.is_stopping.wait())
        try:
            await asyncio.wait({exited, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._stop_listening(run)
            if not exited.done() and process.stdin is not None:
                process.stdin.write(b".")
                await asyncio.wait({exited}, timeout=_SUPERVISOR_EXIT_TIMEOUT_S)
                if not exited.done():
                    for pid in (*find_descendants(process.pid), process.pid):  # the supervisor was stopped, say
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
            return await exited
        finally:
            stopping.cancel()
            run.has_ended.set()
            if process.stdin is not None:
                process.stdin.close()
            await probes
            self._spawn(run.proxy.close(0.0 if run.is_stopping.is_set() else _CONNECTION_GRACE_S))

    def _build_environment(self, run: _PodRun, home: Path) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **{variable.key: variable.value for variable in run.pod.wire.environment_vars},
            **{f"YOTTA_PORT_{port}": str(inner) for port, inner in run.inner_ports.items()},
        }

    async def _probe_ports(self, run: _PodRun, exposed: list[ExposedPort]) -> None:
        run.pod.set_unhealthy()
        await asyncio.gather(*(self._probe_port(run, port) for port in exposed))

    async def _probe_port(self, run: _PodRun, exposed: ExposedPort) -> None:
        while not run.has_ended.is_set():
            is_healthy = await _is_accepting(run.inner_ports[exposed.port])
            if is_healthy != exposed.healthy and not run.is_stopping.is_set():
                exposed.healthy = is_healthy
                run.pod.invalidate_json()
            interval = _HEALTHY_PROBE_INTERVAL_S if is_healthy else _UNHEALTHY_PROBE_INTERVAL_S
            with suppress(TimeoutError):  # cancelling this task instead would leak a connection that is being opened
                await asyncio.wait_for(run.has_ended.wait(), interval)

    async def _remove_files(self, run: _PodRun, home: Path, log: Path | None) -> None:
        if run.task is not None:
            await run.task
        await asyncio.to_thread(_remove_tree, home, log)


Runtime: TypeAlias = SimulatedRuntime | ProcessRuntime


async def _start_supervisor(
    command: str, home: Path, log: BinaryIO, *, environment: dict[str, str]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        # -I: the pod's variables do not affect the supervisor. -S: it starts faster.
        *(sys.executable, "-I", "-S", _SUPERVISOR, str(os.getpid()), command, *environment),
        cwd=home,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for the emulator only
    )


def _remove_tree(home: Path, log: Path | None) -> None:
    for folder, _, _ in os.walk(home):
        with suppress(OSError):
            Path(folder).chmod(0o700)  # a program may have made it read-only, such as a cache
    shutil.rmtree(home, ignore_errors=True)
    if log is not None:
        log.unlink(missing_ok=True)


async def _is_accepting(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), _HEALTHY_PROBE_INTERVAL_S)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
