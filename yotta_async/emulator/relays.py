"""What is passed on between those who connect to a pod's proxyPort and what the pod listens on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_CHUNK = 2**16


class Relays:
    """The connections to one pod."""

    def __init__(self) -> None:
        self._open: set[asyncio.StreamWriter] = set()
        self._has_ended = False

    async def relay(self, taken: socket.socket, port: int) -> None:
        """Pass on what both sides say, until both have said all."""
        with suppress(OSError):
            taken.setblocking(False)  # noqa: FBT003  # the name of its argument is positional
            reader, writer = await asyncio.open_connection(sock=taken)
            async with self._kept(writer):
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
                async with self._kept(inner_writer):
                    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    async def end(self, seconds: float) -> None:
        """End them, when what is on its way has arrived or after so many seconds."""
        if self._open and seconds:
            await asyncio.sleep(seconds)
        self._has_ended = True
        for writer in tuple(self._open):
            writer.transport.abort()

    @asynccontextmanager
    async def _kept(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._open.add(writer)
        if self._has_ended:
            writer.transport.abort()
        try:
            yield
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()  # until then it can be aborted, should nobody read it
            self._open.discard(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
    await writer.drain()
