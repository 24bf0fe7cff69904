"""Ports that accept: what a RUNNING pod exposes can be connected to, and says nothing or is passed on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from yotta_async.emulator.pod import EmulatedPod, ingress
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

    def open(self, exposed: ExposedPort, accept: Accept = socket.socket.close) -> None:
        """Listen for a port that a pod exposes: at the port that it had, or at a free one."""
        if len(self._sockets) >= _LIMIT:
            return
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        try:
            try:
                listener.bind((self.host, exposed.proxy_port))
            except OSError:
                listener.bind((self.host, 0))
            listener.listen()
            listener.setblocking(False)  # noqa: FBT003  # the name of its argument is positional
        except OSError:
            listener.close()
            return
        exposed.proxy_port = listener.getsockname()[1]
        exposed.ingress_url = ingress(exposed.protocol, exposed.host, exposed.proxy_port)
        self._sockets[exposed.proxy_port] = listener
        asyncio.get_running_loop().add_reader(listener, _accept, listener, accept)

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


class SimulatedRuntime:
    """Pods of which there is nothing but their ports, which accept and close."""

    def __init__(self, host: str) -> None:
        self._ports = Ports(host)

    def start(self, pod: EmulatedPod) -> None:
        """Let a pod run."""
        for exposed in () if pod.fault("unhealthy_port") else pod.wire.expose:
            self._ports.open(exposed)

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
