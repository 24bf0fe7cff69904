"""One attempt: what each failure means, over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.parts import open_transport
from tests.raw_server import RawServer, RecordedRequest, Reply, envelope, http, raw, reset, silence, silence_on
from yotta_async import (
    BadRequestError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    InvalidStateError,
    PodSpec,
    ProtocolError,
    RequestTimeoutError,
    RetryPolicy,
    SessionPool,
    TransportError,
    YottaClient,
    YottaError,
)
from yotta_async.api.requests import build_create_request, build_get_request
from yotta_async.emulator.clock import make_clock

ONCE = RetryPolicy(max_attempts=1)
Make = Callable[..., YottaClient]

POD = {"id": "7", "status": "RUNNING"}
MISBEHAVIOUR: list[tuple[str, Reply, type[TransportError]]] = [
    ("reset", reset, ConnectionLostError),
    ("closed", raw(b""), ConnectionLostError),
    ("garbage for a status line", raw(b"WHAT IS THIS\r\n\r\n"), ProtocolError),
    (
        "both lengths",
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"),
        ProtocolError,
    ),
    ("cut body", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), ProtocolError),
    ("cut chunk", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"), ProtocolError),
    ("bad gzip", http(b"no gzip", headers={"Content-Encoding": "gzip"}), ProtocolError),
    ("html", http(b"<html>502</html>", 502, {"Content-Type": "text/html"}), ProtocolError),
    ("empty", http(b""), ProtocolError),
    ("no content", raw(b"HTTP/1.1 204 No Content\r\n\r\n"), ProtocolError),
    ("bad json", http(b'{"code": 10000,'), ProtocolError),
    ("bad utf-8", http(b'{"code": 10000, "message": "\xff"}'), ProtocolError),
    ("deep", http(b"[" * 100_000), ProtocolError),
    ("not a number", http(b'{"code": 10000, "data": NaN}'), ProtocolError),
    ("infinite", http(b'{"code": 10000, "data": 1e999}'), ProtocolError),
    ("5,000 digits", http(b'{"code": 10000, "data": ' + b"9" * 5000 + b"}"), ProtocolError),
    ("true for a code", envelope(POD, code=True), ProtocolError),
    ("text for a code", envelope(POD, code="10000"), ProtocolError),
    ("a list for an envelope", http(b"[]"), ProtocolError),
    ("no code", http(b'{"message": "success"}'), ProtocolError),
    ("a number for a message", envelope(POD, message=5), ProtocolError),
    ("no pod", envelope(None), ProtocolError),
    ("a list for a pod", envelope([POD]), ProtocolError),
    ("another pod", envelope({"id": "8"}), ProtocolError),
    ("id of a wrong type", envelope({"id": {"x": 7}}), ProtocolError),
    ("redirect", http(b"", 302, {"Location": "http://127.0.0.1:1/"}), ProtocolError),
    ("too large", http(b" " * (2**20 + 1)), ProtocolError),
    ("bomb", http(gzip.compress(bytes(2**26)), headers={"Content-Encoding": "gzip"}), ProtocolError),
    ("gateway's 404", http(b"Not here", 404), ProtocolError),
    ("5xx without an envelope", http(b"{}", 503), ProtocolError),
]


@pytest.mark.parametrize(("reply", "kind"), [row[1:] for row in MISBEHAVIOUR], ids=[row[0] for row in MISBEHAVIOUR])
async def test_an_unusable_answer_becomes_its_error(
    server: RawServer, client_of: Make, reply: Reply, kind: type[TransportError]
) -> None:
    server.answers(reply)
    with pytest.raises(TransportError) as caught:
        await client_of(retry=ONCE).pods.get(7)
    assert type(caught.value) is kind
    assert caught.value.request_sent
    assert caught.value.__context__ is None, "a foreign exception would carry headers and documents into tracebacks"
    assert "GET /openapi/v1/pods/7" in str(caught.value)


async def test_a_silent_server_is_a_timeout(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    server.answers(silence_on(clock))
    with pytest.raises(RequestTimeoutError) as caught:
        await client_of(retry=ONCE, timeout=45, clock=clock).pods.get(7)
    assert isinstance(caught.value, TimeoutError)
    assert "45 s" in str(caught.value)


async def test_a_body_that_drips_is_a_timeout(server: RawServer, client_of: Make) -> None:
    async def drip(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.01)

    server.answers(drip)
    with pytest.raises(RequestTimeoutError):
        await client_of(retry=ONCE, timeout=0.1).pods.get(7)


async def test_an_endless_body_is_not_read_on(server: RawServer, client_of: Make) -> None:
    sent = 0

    async def endless(_: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" " * 65536)
            sent += 65536
            await writer.drain()

    server.answers(endless)
    with pytest.raises(ProtocolError, match="larger than 1048576 bytes"):
        await client_of(retry=ONCE).pods.get(7)
    assert sent < 2**25


async def test_nobody_listening_is_never_sent(unused_tcp_port: int) -> None:
    async with YottaClient(KEY, base_url=f"http://127.0.0.1:{unused_tcp_port}", retry=ONCE) as yotta:
        with pytest.raises(ConnectError) as caught:
            await yotta.pods.create(**SPEC)
    assert not caught.value.request_sent


async def test_an_untrusted_certificate_is_not_tried_again(tmp_path: Path) -> None:
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
        *files,
    ]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    connections = 0

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", 0, ssl=context) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with YottaClient(KEY, base_url=f"https://localhost:{port}") as yotta:
            with pytest.raises(ConnectError, match="certificate") as caught:
                await yotta.pods.list()
    assert not caught.value.temporary
    assert connections == 0


async def test_the_key_goes_out_and_cookies_do_not(server: RawServer, client_of: Make) -> None:
    server.answers(http(b'{"code":10000,"data":{"id":"7"}}', headers={"Set-Cookie": "a=b"}))
    yotta = client_of()
    await yotta.pods.get(7)
    await yotta.pods.get(7)
    assert [request.headers["x-api-key"] for request in server.received] == [KEY, KEY]
    assert not any("cookie" in request.headers for request in server.received)
    assert server.connections == 1


async def test_proxies_of_the_environment_are_not_used(
    server: RawServer, client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.answers(envelope(POD))
    assert (await client_of().pods.get(7)).id == "7"


async def test_each_create_has_a_connection_of_its_own(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(1))
    yotta = client_of()
    for _ in range(3):
        await yotta.pods.create(**SPEC)
    assert server.connections == 3


async def test_a_change_has_a_connection_of_its_own(server: RawServer, client_of: Make) -> None:
    """What is left over on a connection is never taken for the response to a change."""

    async def doubled(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await envelope({"id": "7"})(request, writer)
        await envelope({"id": "7"})(request, writer)

    server.answers(doubled, envelope(code=12001), doubled)
    yotta = client_of(retry=ONCE)
    for change in (yotta.pods.pause, yotta.pods.resume):
        server.answers(doubled, envelope(code=12001))
        await yotta.pods.get(7)
        with pytest.raises(InvalidStateError):
            await change(7)


def test_what_came_unasked_while_the_loop_was_busy_is_not_taken_for_an_answer_either() -> None:
    """The server is a thread, as the client's loop stands still meanwhile."""
    body = b'{"code":10000,"data":[]}'
    good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    bad = good.replace(b"200 OK", b"400 No").replace(b"10000", b"10001")
    asks, has_spoken = threading.Event(), threading.Event()
    received: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as first:
            received.append(first.recv(2**16))
            first.sendall(good)
            asks.wait(10)
            first.sendall(good)
            has_spoken.set()
            with listener.accept()[0] as second:
                received.append(second.recv(2**16))
                second.sendall(bad)

    async def call(url: str) -> None:
        async with YottaClient(KEY, base_url=url, retry=ONCE) as yotta:
            await yotta.pods.list()
            asks.set()
            has_spoken.wait(10)
            with pytest.raises(BadRequestError):
                await yotta.pods.delete(7)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        asyncio.run(call(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        server.join()
    assert [request.partition(b" ")[0] for request in received] == [b"GET", b"DELETE"]


@pytest.mark.parametrize("stage", ["writing", "waiting", "reading"])
async def test_closing_the_pool_ends_the_calls_over_it(server: RawServer, stage: str) -> None:
    parts: dict[str, Reply] = {
        "waiting": silence,
        "reading": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", then_close=False),
    }
    server.answers(parts.get(stage, silence))
    received, over = asyncio.Event(), asyncio.Event()

    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's has it
        received.set()
        await over.wait()
        writer.close()

    fields = {**SPEC, "environment_vars": {"BIG": "x" * (2**25 if stage == "writing" else 1)}}
    async with await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024) as other, SessionPool() as pool:
        url = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}" if stage == "writing" else server.url
        async with open_transport(url, pool=pool) as transport:
            sending = asyncio.ensure_future(transport.send(build_create_request(PodSpec(**fields), None)))
            while not (received.is_set() or server.received):
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)  # for the first byte of the response, where there is one
            await asyncio.wait_for(pool.aclose(), 5)
            with pytest.raises(ConnectionLostError, match="was closed before the response"):
                await asyncio.wait_for(sending, 5)
        over.set()


async def test_an_answer_may_be_announced(server: RawServer, client_of: Make) -> None:
    """1xx answers come before the one that counts (RFC 9110, 15.2)."""
    body = b'{"code":10000,"data":{"id":"7"}}'
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    server.answers(raw(early + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)))
    assert (await client_of(retry=ONCE).pods.get(7)).id == "7"


async def test_a_switch_of_protocols_is_no_answer(server: RawServer, client_of: Make) -> None:
    server.answers(raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nwhatever"))
    with pytest.raises(ProtocolError):
        await client_of(retry=ONCE).pods.get(7)


@pytest.mark.parametrize("answers", [False, True])
async def test_what_is_left_of_a_create_is_not_sent_on(unused_tcp_port: int, answers: bool) -> None:
    """What a server that does not read has not got when the time is over, or it has answered, it never gets."""
    over = asyncio.Event()
    ended: list[int] = []

    async def stalled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answers:
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        size = 0
        try:
            await over.wait()
            while part := await reader.read(2**20):
                size += len(part)
        except ConnectionError:
            pass
        ended.append(size)
        writer.close()

    async with await asyncio.start_server(stalled, "127.0.0.1", unused_tcp_port, limit=1024):
        fields = SPEC | {"environment_vars": {"BIG": "x" * 2**25}}
        async with open_transport(f"http://127.0.0.1:{unused_tcp_port}") as transport:
            sending = transport.send(build_create_request(PodSpec(**fields), None), seconds=0.5)
            if answers:
                assert (await sending).status == 413
            else:
                with pytest.raises(RequestTimeoutError):
                    await sending
            over.set()
            while not ended:
                await asyncio.sleep(0.001)
    assert ended[0] < 2**25


async def test_requests_are_whole_and_plain(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(1), envelope(), envelope(), envelope([]))
    yotta = client_of()
    await yotta.pods.create(image="ä", gpu_type="L4")
    await yotta.pods.pause(1)
    await yotta.pods.delete(1)
    await yotta.pods.list(regions=["us west-1é"], statuses=["RUNNING"])
    create, pause, _, listed = server.received
    assert json.loads(create.body)["image"] == "ä"
    assert create.headers["connection"] == "close"
    assert create.headers["content-type"] == "application/json"
    assert pause.headers["content-length"] == "0"
    assert "content-type" not in pause.headers
    assert listed.target == "/openapi/v1/pods/list?regionList=us%20west-1%C3%A9&statusList=1"
    for request in server.received:
        assert request.headers["host"] == server.url.removeprefix("http://")
        assert request.headers["user-agent"].startswith("yotta-async/")
        assert request.headers["accept-encoding"] == "gzip, deflate"


async def test_a_path_in_base_url_is_kept(server: RawServer) -> None:
    server.answers(envelope(POD))
    async with YottaClient(KEY, base_url=f"{server.url}/gateway/") as yotta:
        await yotta.pods.get("7")
    assert server.received[0].target == "/gateway/openapi/v1/pods/7"


async def test_clients_share_a_pool_and_leave_it_open(server: RawServer) -> None:
    server.answers(envelope(POD))
    async with SessionPool(limit=1) as pool:
        for key in ("one", "two"):
            async with YottaClient(key, base_url=server.url, session_pool=pool) as yotta:
                await asyncio.gather(*(yotta.pods.get(7) for _ in range(5)))
        assert server.connections == 1
        assert {request.headers["x-api-key"] for request in server.received} == {"one", "two"}
    with pytest.raises(ConfigurationError, match="SessionPool is closed"):
        async with YottaClient(KEY, base_url=server.url, session_pool=pool) as yotta:
            await yotta.pods.get(7)


async def test_a_pool_that_is_closed_under_a_client_says_so(server: RawServer) -> None:
    server.answers(envelope(POD))
    pool = SessionPool()
    async with YottaClient(KEY, base_url=server.url, session_pool=pool) as yotta:
        await yotta.pods.get(7)
        await pool.aclose()
        with pytest.raises(ConfigurationError, match="SessionPool is closed"):
            await yotta.pods.get(7)
    assert len(server.received) == 1


async def test_closing_ends_the_calls_in_flight(server: RawServer, client_of: Make) -> None:
    server.answers(silence)
    yotta = client_of()
    calls = [asyncio.create_task(yotta.pods.get(7)) for _ in range(3)]
    while len(server.received) < 3:
        await asyncio.sleep(0)
    await yotta.aclose()
    await yotta.aclose()
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
    assert all(isinstance(result, YottaError) for result in results)
    with pytest.raises(ConfigurationError, match="closed"):
        await yotta.pods.get(7)


def test_a_client_of_another_loop_says_so(tmp_path: Path) -> None:
    yotta = YottaClient(KEY, base_url="http://127.0.0.1:1", retry=ONCE)

    async def call() -> None:
        await yotta.pods.list()

    with pytest.raises(ConnectError):
        asyncio.run(call())
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(call())
    asyncio.run(yotta.aclose())


async def test_a_cancel_goes_through_without_the_frames_that_hold_the_request(
    server: RawServer, client_of: Make
) -> None:
    server.answers(silence)
    call = asyncio.create_task(client_of().pods.get(7))
    while not server.received:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_each_request_ends_at_its_own_limit(server: RawServer) -> None:
    server.answers(silence)
    ended: list[float] = []

    async def call(seconds: float) -> None:
        with pytest.raises(RequestTimeoutError, match=f"within {seconds:g} s"):
            await transport.send(build_get_request("5"), seconds=seconds)
        ended.append(seconds)

    async with open_transport(server.url) as transport, asyncio.TaskGroup() as calls:
        for seconds in (0.3, 0.1, 0.2):
            calls.create_task(call(seconds))
    assert ended == [0.1, 0.2, 0.3]
