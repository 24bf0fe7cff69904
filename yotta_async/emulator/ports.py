"""What a pod is while it runs: at the least its ports, which accept and say nothing or are passed on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Protocol

from yotta_async.emulator.pod import EmulatedPod
from yotta_async.emulator.schema import ExposedPort

Accept = Callable[[socket.socket], object]
"""Takes a connection that was accepted."""

# Of so many ports at a time; every one of them is a file of this process. Pods beyond that have ports that refuse.
_LIMIT = 400


class Ports:
    """The listening sockets of all pods on one host, by proxy port."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._sockets: dict[int, socket.socket] = {}

    def open(self, pod: EmulatedPod, exposed: ExposedPort, accept: Accept = socket.socket.close) -> int | None:
        """Listen for a port that a pod exposes, at the port that it had or at a free one, and return which.

        None when there are too many.
        """
        if len(self._sockets) >= _LIMIT:
            return None
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        try:
            if (
                os.name == "posix"
            ):  # else a port that was in use a moment ago is taken; elsewhere it means something else
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self.host, exposed.proxy_port))
            except OSError:
                listener.bind((self.host, 0))
            listener.listen()
            listener.setblocking(False)  # noqa: FBT003  # the name of its argument is positional
        except OSError:
            listener.close()
            return None
        proxy_port: int = listener.getsockname()[1]
        pod.reached_at(exposed, proxy_port)
        self._sockets[proxy_port] = listener
        asyncio.get_running_loop().add_reader(listener, _accept, listener, accept)
        return proxy_port

    def close(self, proxy_port: int) -> None:
        """Listen no more at a port."""
        listener = self._sockets.pop(proxy_port, None)
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def close_all(self) -> None:
        """Listen for nothing."""
        for port in list(self._sockets):
            self.close(port)


class Runtime(Protocol):
    """What a pod is while it runs."""

    def start(self, pod: EmulatedPod) -> None:
        """Let a pod run."""

    def stop(self, pod: EmulatedPod) -> None:
        """Let a pod run no more."""

    def remove(self, pod: EmulatedPod) -> None:
        """Remove what a pod left, but for what it said."""

    def forget(self, pod: EmulatedPod) -> None:
        """Forget that it was there."""

    def logs(self, pod_id: str) -> str:
        """Return what a pod said. Raises ValueError when there is nothing of it."""

    async def aclose(self) -> None:
        """End everything."""


class SimulatedRuntime:
    """Pods of which there is nothing but their ports, which accept and close."""

    def __init__(self, host: str) -> None:
        self._ports = Ports(host)

    def start(self, pod: EmulatedPod) -> None:
        """Let a pod run."""
        if not pod.fault("unhealthy_port"):
            for exposed in pod.wire.expose:
                exposed.healthy = self._ports.open(pod, exposed) is not None
            pod.touch()

    def stop(self, pod: EmulatedPod) -> None:
        """Let a pod run no more."""
        for exposed in pod.wire.expose:
            self._ports.close(exposed.proxy_port)

    def remove(self, pod: EmulatedPod) -> None:
        """Remove what a pod left."""

    def forget(self, pod: EmulatedPod) -> None:
        """Forget that it was there."""

    def logs(self, pod_id: str) -> str:
        """Return what a pod said: nothing, as it is not there."""
        raise ValueError(f"pod {pod_id} has no logs: only pods of Emulator(runtime='process') say anything")

    async def aclose(self) -> None:
        """End everything."""
        self._ports.close_all()


def _accept(listener: socket.socket, accept: Accept) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    accept(connection)
