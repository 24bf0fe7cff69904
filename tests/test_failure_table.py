"""Was a create received? Each failure over a real socket: what it becomes, and whether the create is sent again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.parts import open_transport
from tests.raw_server import (
    RawServer,
    RecordedRequest,
    Reply,
    envelope,
    http,
    raw,
    raw_server,
    reset,
    silence,
    silence_on,
)
from yotta_async import (
    ConnectError,
    ConnectionLostError,
    CreateOutcomeUnknownError,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    RetryEvent,
    RetryPolicy,
    ServerError,
    SessionPool,
    YottaClient,
    YottaError,
)
from yotta_async.api.requests import build_delete_request, build_pause_request, build_resume_request
from yotta_async.emulator.clock import make_clock
from yotta_async.transport.messages import SendState

pytestmark = pytest.mark.both_versions


def client_of(url: str, **options: Any) -> YottaClient:
    return YottaClient(
        KEY, base_url=url, **{"clock": make_clock("auto"), "timeout": 5, "settle_timeout": 0.01, **options}
    )


MAY_HAVE_BEEN_PROCESSED: dict[str, tuple[Reply, type[YottaError]]] = {
    "closed after sending": (raw(b""), ConnectionLostError),
    "reset after sending": (reset, ConnectionLostError),
    "silent": (silence, RequestTimeoutError),
    "garbage status line": (raw(b"WHAT\r\n\r\n"), ProtocolError),
    "two lengths": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"),
        ProtocolError,
    ),
    "cut body": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), ProtocolError),
    "bad gzip": (http(b"no gzip", headers={"Content-Encoding": "gzip"}), ProtocolError),
    "html": (http(b"<html>", 502), ProtocolError),
    "html with 200": (http(b"<html>"), ProtocolError),
    "bad json": (http(b"{"), ProtocolError),
    "empty": (http(b""), ProtocolError),
    "500": (envelope(code=10002, status=500), ServerError),
    "503 without an envelope": (http(b"{}", 503), ProtocolError),
    "10002": (envelope(code=10002), ServerError),
    "307": (http(b"", 307, {"Location": "/openapi/v1/pods/create"}), ProtocolError),
    "408": (envelope(code=1, status=408), YottaError),
}


@pytest.mark.parametrize("row", MAY_HAVE_BEEN_PROCESSED)
async def test_a_create_that_may_have_been_received_is_settled(server: RawServer, row: str) -> None:
    reply, kind = MAY_HAVE_BEEN_PROCESSED[row]
    clock = make_clock("auto")
    server.answers(silence_on(clock) if row == "silent" else reply, envelope([]))
    async with client_of(server.url, timeout=45, clock=clock) as yotta:
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await yotta.pods.create(**SPEC)
    assert isinstance(caught.value.__cause__, kind)
    assert [request.method for request in server.received] == ["POST", "GET"]


async def test_429_is_sent_again(server: RawServer) -> None:
    server.answers(http(b"", 429, {"Retry-After": "7"}))
    clock = make_clock("auto")
    async with client_of(server.url, clock=clock) as yotta:
        with pytest.raises(RateLimitError):
            await yotta.pods.create(**SPEC)
    assert [request.method for request in server.received] == ["POST"] * 4
    assert clock.time() >= 21


@asynccontextmanager
async def refused() -> AsyncIterator[str]:
    async with raw_server() as server:
        url = server.url
        server.listener.close()
    yield url


@asynccontextmanager
async def no_such_host() -> AsyncIterator[str]:
    yield f"https://{'x' * 60}.invalid"


@asynccontextmanager
async def no_tls() -> AsyncIterator[str]:
    async with raw_server(reset) as server:
        yield server.url.replace("http:", "https:")


@asynccontextmanager
async def backlog_full() -> AsyncIterator[str]:
    """Listen and never accept: what is more than the backlog cannot connect."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, backlog=1, start_serving=False)
    socket = server.sockets[0]
    host, port = socket.getsockname()
    socket._sock.listen(0)  # type: ignore[attr-defined]  # asyncio's wrapper lacks it
    openings = [asyncio.ensure_future(asyncio.open_connection(host, port)) for _ in range(4)]
    await asyncio.wait(openings, timeout=0.1)
    yield f"http://127.0.0.1:{port}"
    for opening in openings:
        opening.cancel()
    for opened in await asyncio.gather(*openings, return_exceptions=True):
        if isinstance(opened, tuple):
            opened[1].close()
    server.close()


@pytest.mark.parametrize("place", [refused, no_such_host, no_tls, backlog_full], ids=lambda place: str(place.__name__))
async def test_a_create_that_was_not_sent_is_retried(place: Callable[[], Any]) -> None:
    retries: list[RetryEvent] = []
    policy = RetryPolicy(max_attempts=2, on_retry=retries.append)
    async with place() as url, client_of(url, timeout=0.5, retry=policy) as yotta:
        with pytest.raises(ConnectError):
            await yotta.pods.create(**SPEC)
    assert [type(retry.error) for retry in retries] == [ConnectError]


async def test_waiting_for_a_connection_sends_nothing(server: RawServer) -> None:
    has_waited = asyncio.Event()

    async def answer_late(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await has_waited.wait()
        await reset(request, writer)

    server.answers(answer_late)
    async with SessionPool(limit=1) as pool:
        slow = client_of(server.url, session_pool=pool, timeout=30)
        quick = client_of(server.url, session_pool=pool, timeout=0.1, retry=RetryPolicy(max_attempts=1))
        holding = asyncio.create_task(slow.pods.create(**SPEC))
        while not server.received:
            await asyncio.sleep(0)
        with pytest.raises(ConnectError):
            await quick.pods.create(**SPEC)
        assert len(server.received) == 1
        has_waited.set()
        with pytest.raises(CreateOutcomeUnknownError):
            await holding
        await slow.aclose()
        await quick.aclose()


CHANGES = (build_delete_request, build_pause_request, build_resume_request)


async def turn_loop(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.mark.one_version  # takes long
async def test_no_mark_no_byte() -> None:
    """Whatever ends a request and whenever: without the mark the server saw nothing of it."""
    draw = random.Random(7)
    seen: set[str] = set()

    async def serve(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        seen.add(request.path.rpartition("/")[2])
        reply: Reply = draw.choice([reset, raw(b""), http(b""), envelope({"id": "1"}), raw(b"HUH\r\n\r\n")])
        await turn_loop(draw.choice([0, 30]))
        await reply(request, writer)

    marks: dict[str, SendState] = {}
    async with raw_server(serve) as server, SessionPool(limit=4) as pool:
        # Some time limits pass meanwhile, and where depends on the machine. The other requests are cancelled or end.
        limits_s = [0.001, 0.005, 0.02] + [5.0] * 7
        stack = AsyncExitStack()
        transports = [
            await stack.enter_async_context(open_transport(server.url, pool=pool, timeout=limit)) for limit in limits_s
        ]

        async def one(number: int) -> None:
            mark = marks[str(number)] = SendState()
            sending: Awaitable[object] = draw.choice(transports).send(
                draw.choice(CHANGES)(str(number)), send_state=mark
            )
            task = asyncio.ensure_future(sending)
            if draw.random() < 0.5:
                await turn_loop(draw.randrange(100))
                task.cancel()
            await asyncio.wait({task})
            _ = task.cancelled() or task.exception()

        for first in range(0, 1_500, 50):
            await asyncio.gather(*(one(number) for number in range(first, first + 50)))
        await stack.aclose()
        await pool.aclose()
        while server.serving:  # until it has read what was sent
            await turn_loop(100)
    unmarked = {number for number, mark in marks.items() if not mark.request_sent}
    assert len(unmarked) > 50
    assert len(seen) > 50
    assert not unmarked & seen
