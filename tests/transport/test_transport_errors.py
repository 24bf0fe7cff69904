"""What errors of the transport say, what caused them, and that neither shows a secret."""

from __future__ import annotations

import asyncio
import pickle
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.exposure import catch, error_chain, exposed_text
from tests.raw_server import RawServer, Reply, envelope, http, raw, reset, silence, silence_on
from yotta_async import (
    APIError,
    ConnectError,
    ConnectionLostError,
    CreateOutcomeUnknownError,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    TransportError,
    YottaClient,
    YottaError,
)
from yotta_async.emulator.clock import make_clock

ONCE = RetryPolicy(max_attempts=1)
SECRET_VALUE = "environment-value-that-must-not-show"
Make = Callable[..., YottaClient]
Call = Callable[[YottaClient], Awaitable[Any]]


def create(yotta: YottaClient) -> Awaitable[Any]:
    return yotta.pods.create(**SPEC, environment_vars={"PASSWORD": SECRET_VALUE})


CALLS: dict[str, Call] = {
    "get": lambda yotta: yotta.pods.get(7),
    "list": lambda yotta: yotta.pods.list(),
    "delete": lambda yotta: yotta.pods.delete(7),
    "create": create,
}


def assert_no_secret(error: BaseException) -> None:
    text = exposed_text(error)
    assert KEY not in text
    assert SECRET_VALUE not in text


def assert_plain_cause(error: BaseException, *, original: type[BaseException] | None = None) -> None:
    """Check that an error has a cause to look into, without frames, and that the chain pickles and shows no secret."""
    assert isinstance(error.__cause__, Exception)
    assert not isinstance(error.__cause__, YottaError)
    if original is not None:
        assert any(isinstance(cause, original) for cause in error_chain(error))
    for cause in list(error_chain(error))[1:]:
        assert cause.__traceback__ is None
        pickle.dumps(cause)
    assert_no_secret(error)


# Never sent


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_refused_connection_is_named(unused_tcp_port: int, call: Call) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    async with YottaClient(KEY, base_url=f"http://{address}", retry=ONCE) as yotta:
        error = await catch(ConnectError, call(yotta))
    assert address in str(error)
    assert "refused" in str(error)
    assert "base_url" in str(error)
    assert error.temporary
    assert not error.request_sent
    assert_plain_cause(error, original=ConnectionRefusedError)


async def test_nothing_of_tls_or_proxies_is_said_for_plain_http(unused_tcp_port: int) -> None:
    async with YottaClient(KEY, base_url=f"http://127.0.0.1:{unused_tcp_port}", retry=ONCE) as yotta:
        error = await catch(ConnectError, yotta.pods.get(7))
    for one in error_chain(error):
        assert re.search(r"tls|ssl|certificate|https", str(one), re.IGNORECASE) is None


async def test_an_unknown_host_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", fail)
    async with YottaClient(KEY, base_url="https://no-such-host.yotta.test", retry=ONCE) as yotta:
        for call in CALLS.values():
            error = await catch(ConnectError, call(yotta))
            assert "no-such-host.yotta.test" in str(error)
            assert re.search(r"DNS|resolve|host name", str(error)) is not None
            assert "base_url" in str(error)
            assert "certificate" not in str(error)
            assert error.temporary
            assert not error.request_sent
            assert_plain_cause(error, original=socket.gaierror)


# Sent, without a usable response


LOST: list[tuple[str, Reply, type[TransportError]]] = [
    ("reset", reset, ConnectionLostError),
    ("closed", raw(b""), ConnectionLostError),
    ("not http", raw(b"WHAT IS THIS\r\n\r\n"), ProtocolError),
    ("cut body", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), ProtocolError),
    ("bad gzip", http(b"not gzip", headers={"Content-Encoding": "gzip"}), ProtocolError),
    ("echoed key", raw(f"HTTP/1.1 OK {KEY} {SECRET_VALUE}\r\n\r\n".encode()), ProtocolError),
    ("echoed header", raw(f"HTTP/1.1 200 OK\r\n{KEY} {SECRET_VALUE}\r\n\r\n".encode()), ProtocolError),
    ("echoed length", raw(f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n".encode()), ProtocolError),
]


@pytest.mark.parametrize(("reply", "kind"), [row[1:] for row in LOST], ids=[row[0] for row in LOST])
async def test_a_lost_response_keeps_its_cause_without_secrets(
    server: RawServer, client_of: Make, reply: Reply, kind: type[TransportError]
) -> None:
    server.answers(reply)
    yotta = client_of(retry=ONCE, settle_timeout=1)
    error: YottaError = await catch(kind, yotta.pods.get(7))
    assert isinstance(error, TransportError)
    assert error.request_sent
    assert_plain_cause(error)
    error = await catch(CreateOutcomeUnknownError, create(yotta))
    assert_no_secret(error)
    assert isinstance(error.__cause__, kind)
    assert isinstance(error.__cause__.__cause__, Exception)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_timeout_shows_no_secret(server: RawServer, call: Call) -> None:
    clock = make_clock("auto")
    server.answers(silence_on(clock))
    async with YottaClient(KEY, base_url=server.url, timeout=45, retry=ONCE, clock=clock) as yotta:
        error = await catch(YottaError, call(yotta))
    assert isinstance(error, RequestTimeoutError | CreateOutcomeUnknownError)
    assert_no_secret(error)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_an_error_of_a_call_that_a_close_ended_shows_no_secret(server: RawServer, call: Call) -> None:
    server.answers(silence)
    yotta = YottaClient(KEY, base_url=server.url, timeout=0.5, settle_timeout=0.05)
    task = asyncio.create_task(catch(BaseException, call(yotta)))
    while not server.received:
        await asyncio.sleep(0)
    await yotta.aclose()
    assert_no_secret(await task)


@pytest.mark.parametrize("kind", [ConnectionLostError, ProtocolError])
async def test_an_error_with_a_cause_pickles(server: RawServer, client_of: Make, kind: type[TransportError]) -> None:
    server.answers(reset if kind is ConnectionLostError else raw(b"WHAT IS THIS\r\n\r\n"))
    error = await catch(kind, client_of(retry=ONCE).pods.get(7))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.method, copy.path, copy.request_sent) == ("GET", "/openapi/v1/pods/7", True)


# Request ids, Retry-After and User-Agent


@pytest.mark.parametrize("header", ["X-Request-Id", "X-Amzn-RequestId", "X-Correlation-Id", "CF-Ray", "x-request-id"])
async def test_the_request_id_is_in_an_api_error(server: RawServer, client_of: Make, header: str) -> None:
    body = b'{"message":"no","code":10001,"data":null}'
    server.answers(http(body, 400, {header: "req-1234"}))
    error = await catch(APIError, client_of().pods.get(7))
    assert error.request_id == "req-1234"
    assert "req-1234" in str(error)
    assert pickle.loads(pickle.dumps(error)).request_id == "req-1234"


@pytest.mark.parametrize("header", ["X-Request-Id", "X-Amzn-RequestId", "X-Correlation-Id", "CF-Ray"])
async def test_the_request_id_is_in_a_protocol_error(server: RawServer, client_of: Make, header: str) -> None:
    server.answers(http(b"<html>", 502, {header: "req-1234"}))
    error = await catch(ProtocolError, client_of(retry=ONCE).pods.get(7))
    assert error.request_id == "req-1234"
    assert "req-1234" in str(error)


async def test_without_a_request_id_there_is_none(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(code=10001, status=400))
    assert not (await catch(APIError, client_of().pods.get(7))).request_id


@pytest.mark.parametrize(
    "value", [f"id-{KEY}", "x" * 5000, "a\x1b[31mb", "\t"], ids=["the key", "long", "escape", "blank"]
)
async def test_a_hostile_request_id_is_harmless(server: RawServer, client_of: Make, value: str) -> None:
    server.answers(http(b'{"message":"no","code":10001}', 400, {"X-Request-Id": value}))
    error = await catch(YottaError, client_of(retry=ONCE).pods.get(7))
    assert len(str(error)) < 2_000
    assert "\x1b" not in str(error)
    assert_no_secret(error)


async def test_a_rate_limit_names_the_seconds_to_wait(server: RawServer, client_of: Make) -> None:
    server.answers(http(b'{"message":"slow down","code":10002}', 429, {"Retry-After": "17"}))
    error = await catch(RateLimitError, client_of(retry=ONCE).pods.get(7))
    assert error.retry_after == 17
    assert re.search(r"\b17 s", str(error)) is not None


async def test_the_user_agent_of_the_caller_comes_first(server: RawServer, client_of: Make) -> None:
    server.answers(envelope({"id": "7", "status": "RUNNING"}))
    await client_of(user_agent="my-app/1.0").pods.get(7)
    await client_of().pods.get(7)
    first, second = [request.headers["user-agent"] for request in server.received]
    assert re.fullmatch(r"my-app/1\.0 yotta-async/\S+", first) is not None
    assert re.fullmatch(r"yotta-async/\S+", second) is not None
