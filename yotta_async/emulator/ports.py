"""The proxy ports of pods: the sockets that listen on them, and the port proxy that connects them to a process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from yotta_async.emulator.pod import EmulatedPod
from yotta_async.emulator.schema import ExposedPort

OnAccept = Callable[[socket.socket], object]

# Each listening socket is an open file of this process. Pods beyond the limit have ports that refuse connections.
_MAX_LISTENERS = 400
_CHUNK_BYTES = 2**16


class PortListeners:
    """The listening sockets of all pods on one host, by proxy port."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._sockets: dict[int, socket.socket] = {}

    def open(self, pod: EmulatedPod, exposed: ExposedPort, on_accept: OnAccept | None) -> int | None:
        """Listen for an exposed port and return the proxy port, the previous one if it is free.

        Without `on_accept` the port is reserved, so that connections to it are refused. None if too many are open.
        """
        if len(self._sockets) >= _MAX_LISTENERS:
            return None
        listener = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        try:
            # Reuse a port that was closed a moment ago. On Windows, and for a socket that does not listen, the option
            # would share it with another process.
            if on_accept and os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self._host, exposed.proxy_port))
            except OSError:
                listener.bind((self._host, 0))
            if on_accept:
                listener.listen()
                listener.setblocking(False)  # noqa: FBT003  # its argument is positional
                asyncio.get_running_loop().add_reader(listener, _accept, listener, on_accept)
        except OSError:
            listener.close()
            return None
        proxy_port: int = listener.getsockname()[1]
        pod.set_proxy_port(exposed, proxy_port)
        self._sockets[proxy_port] = listener
        return proxy_port

    def close(self, proxy_port: int) -> None:
        """Stop listening on a proxy port."""
        listener = self._sockets.pop(proxy_port, None)
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def close_all(self) -> None:
        """Stop listening on all."""
        for port in list(self._sockets):
            self.close(port)


def _accept(listener: socket.socket, on_accept: OnAccept) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    on_accept(connection)


class PortProxy:
    """The connections to one pod, each forwarded to a port that the pod's process listens on."""

    def __init__(self) -> None:
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_closed = False

    async def forward(self, connection: socket.socket, port: int) -> None:
        """Copy data in both directions until both sides have sent an EOF."""
        with suppress(OSError):
            connection.setblocking(False)  # noqa: FBT003  # its argument is positional
            reader, writer = await asyncio.open_connection(sock=connection)
            async with self._track(writer):
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
                async with self._track(inner_writer):
                    await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))

    async def close(self, grace_s: float) -> None:
        """Abort the connections that are still open after a grace period."""
        if self._writers and grace_s:
            await asyncio.sleep(grace_s)
        self._is_closed = True
        for writer in tuple(self._writers):
            writer.transport.abort()

    @asynccontextmanager
    async def _track(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._writers.add(writer)
        if self._is_closed:
            writer.transport.abort()
        try:
            yield
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()  # `close` can abort it until then, should the peer not read
            self._writers.discard(writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
    await writer.drain()
