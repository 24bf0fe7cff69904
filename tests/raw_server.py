"""A server that sends what a test names, for what the emulator, which keeps to HTTP, cannot do."""

from __future__ import annotations

import asyncio
import json
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from yotta_async.emulator.clock import EmulatorClock

A_DAY_S = 86_400.0


@dataclass
class RecordedRequest:
    """One request that arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


Reply: TypeAlias = Callable[[RecordedRequest, asyncio.StreamWriter], Awaitable[None]]


def raw(data: bytes, *, then_close: bool = True) -> Reply:
    """Send these bytes."""

    async def reply(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then_close:
            writer.close()

    return reply


def http(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """Send a whole answer and keep the connection."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in ({"Content-Type": "application/json"} | (headers or {})).items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body, then_close=False)


def envelope(
    data: Any = None, *, code: Any = 10000, message: Any = "success", status: int = 200, **headers: str
) -> Reply:
    """Send the documented envelope."""
    return http(
        json.dumps({"message": message, "code": code, "data": data}).encode(),
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


async def reset(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
    """Drop the connection after the request has arrived."""
    writer.transport.abort()


async def silence(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the client goes."""
    with suppress(ConnectionError):
        await writer.wait_closed()


def silence_on(clock: EmulatorClock) -> Reply:
    """Say nothing, while a client's clock moves on to the end of what the call may take.

    With real time a limit so short that a test can wait for it may pass before the request is sent.
    """

    async def reply(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        delay = asyncio.create_task(clock.delay(A_DAY_S))
        await silence(request, writer)
        delay.cancel()

    return reply


@dataclass
class RawServer:
    """Answers the n-th request with the n-th reply, and every further one with the last."""

    replies: list[Reply] = field(default_factory=list)
    received: list[RecordedRequest] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    listener: asyncio.Server = None  # type: ignore[assignment]  # set as soon as it serves
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    def answers(self, *replies: Reply) -> None:
        """Set what comes next."""
        self.replies = list(replies)
        self.received.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
                request = RecordedRequest(
                    method, target, headers, await reader.readexactly(int(headers.get("content-length", 0)))
                )
                self.received.append(request)
                await self.replies[min(len(self.received), len(self.replies)) - 1](request, writer)
        writer.close()


@asynccontextmanager
async def raw_server(*replies: Reply, ssl: tls.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Serve on loopback until the block ends; with `ssl` over TLS, for the host name localhost."""
    server = RawServer(list(replies))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=ssl)
    server.listener = listener
    origin = "http://127.0.0.1" if ssl is None else "https://localhost"
    server.url = f"{origin}:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for task in server.serving:
            task.cancel()
        await asyncio.gather(*server.serving)
