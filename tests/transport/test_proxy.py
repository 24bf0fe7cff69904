"""CONNECT proxies: by argument and by environment, what they see, and what happens when they fail."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rich.pretty import pretty_repr

from tests.certificates import CertificateAuthority
from tests.conftest import KEY, SPEC
from tests.connect_proxy import ConnectProxy, connect_proxy
from tests.exposure import basic_auth, catch, exposed_text
from tests.pod_server import FAULTS, PodServer
from tests.raw_server import RawServer, RecordedRequest, envelope
from tests.transport.conftest import API_HOST, API_URL, PROXY_PASSWORD, PROXY_USER, SecureApi
from yotta_async import (
    ConfigurationError,
    ConnectError,
    CreateOutcomeUnknownError,
    RetryPolicy,
    SessionPool,
    YottaClient,
)
from yotta_async.emulator.clock import make_clock

ONCE = RetryPolicy(max_attempts=1)
WRONG_PASSWORD = "wrong-password-that-must-not-show"
POD = {"id": "7", "status": "RUNNING"}

Call = Callable[[YottaClient], Awaitable[Any]]
CALLS: dict[str, Call] = {"get": lambda yotta: yotta.pods.get(7), "create": lambda yotta: yotta.pods.create(**SPEC)}


def make_client(pool: SessionPool | None, base_url: str, **options: Any) -> YottaClient:
    """Return a client whose pauses take no time."""
    return YottaClient(KEY, base_url=base_url, session_pool=pool, clock=make_clock("auto"), **options)


@pytest.fixture
def resolve_to_api(secure_api: SecureApi, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Resolve API_HOST to the server on loopback whatever the port, and return the names that are looked up."""
    looked_up: list[str] = []

    async def getaddrinfo(_: asyncio.AbstractEventLoop, host: str, port: int, **__: Any) -> list[Any]:
        looked_up.append(host)
        address = ("127.0.0.1", secure_api.port if host == API_HOST else port)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return looked_up


# What a proxy sees


async def test_get_and_create_use_the_proxy_given_by_argument(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority
) -> None:
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, secure_api.url) as yotta,
    ):
        assert (await yotta.pods.get(7)).id == "7"
        handle = await yotta.pods.create(**SPEC)
    assert handle.id in secure_api.pods.pods
    assert {(request.method, request.target) for request in proxy.requests} == {
        ("CONNECT", f"localhost:{secure_api.port}")
    }
    assert all(request.has_authorization and request.is_authorized for request in proxy.requests)
    assert [request.headers["x-api-key"] for request in secure_api.server.received] == [KEY, KEY]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
async def test_get_and_create_use_the_proxy_of_the_environment(
    proxy: ConnectProxy,
    secure_api: SecureApi,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, proxy.url_with_password)
    async with (
        SessionPool(ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        assert (await yotta.pods.get(7)).id == "7"
        await yotta.pods.create(**SPEC)
    assert set(proxy.targets) == {f"{API_HOST}:443"}
    assert all(request.is_authorized for request in proxy.requests)
    assert sum(secure_api.pods.posts.values()) == 1


async def test_a_clients_own_pool_uses_the_proxy_and_the_roots_of_the_environment(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url_with_password)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with make_client(None, API_URL) as yotta:
        assert (await yotta.pods.get(7)).id == "7"
    assert proxy.targets == [f"{API_HOST}:443"]


async def test_the_proxy_never_sees_the_key_or_a_body(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority
) -> None:
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, secure_api.url) as yotta,
    ):
        await yotta.pods.get(7)
        await yotta.pods.create(**SPEC)
        await yotta.pods.list()
    seen = bytes(proxy.received + proxy.returned)
    assert len(secure_api.server.received) == 3
    assert len(seen) > 3_000, "the handshakes alone are longer"
    assert all("x-api-key" not in request.headers for request in proxy.requests)
    for secret in (KEY, SPEC["image"], "openapi", "YOTTA_CLIENT_TOKEN"):
        assert secret.encode() not in seen


async def test_the_server_never_sees_the_proxys_password(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority
) -> None:
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, secure_api.url) as yotta,
    ):
        await yotta.pods.get(7)
        await yotta.pods.create(**SPEC)
    for request in secure_api.server.received:
        assert "proxy-authorization" not in request.headers
        assert "authorization" not in request.headers


async def test_gets_share_one_tunnel_and_each_create_has_its_own(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority
) -> None:
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, secure_api.url) as yotta,
    ):
        for _ in range(3):
            await yotta.pods.get(7)
        assert len(proxy.requests) == 1
        for _ in range(3):
            await yotta.pods.create(**SPEC)
        assert len(proxy.requests) == 4


async def test_a_password_with_special_characters_is_sent_as_it_is(
    secure_api: SecureApi, authority: CertificateAuthority
) -> None:
    async with (
        connect_proxy(credentials=("me@work", "p:a/s?s#w%o rd")) as proxy,
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, secure_api.url) as yotta,
    ):
        await yotta.pods.get(7)
    assert proxy.requests[0].is_authorized


async def test_plain_http_to_loopback_is_forwarded_by_an_explicit_proxy(server: RawServer) -> None:
    server.answers(envelope(POD))
    async with (
        connect_proxy(credentials=(PROXY_USER, PROXY_PASSWORD)) as proxy,
        SessionPool(proxy=proxy.url_with_password) as pool,
        make_client(pool, server.url) as yotta,
    ):
        assert (await yotta.pods.get(7)).id == "7"
        assert (await yotta.pods.get(7)).id == "7"
    assert [(request.method, request.target) for request in proxy.requests] == [
        ("GET", f"{server.url}/openapi/v1/pods/7")
    ] * 2
    assert all(request.is_authorized for request in proxy.requests)
    # Also shows that the proxy records what it could see.
    assert KEY.encode() in proxy.received


# Which requests use the environment's proxy


@pytest.mark.parametrize(
    ("base_url", "no_proxy"),
    [
        (API_URL, API_HOST),
        (API_URL, API_HOST.upper()),
        (API_URL, ".yotta.test"),
        (API_URL, "yotta.test"),
        (API_URL, "*"),
        (API_URL, f"{API_HOST}:443"),
        (API_URL, f"other.test, {API_HOST}"),
        (API_URL, f"other.test,{API_HOST},"),
        (f"{API_URL}:8443", f"{API_HOST}:8443"),
        (f"{API_URL}:8443", API_HOST),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
async def test_hosts_of_no_proxy_are_reached_directly(
    proxy: ConnectProxy,
    authority: CertificateAuthority,
    resolve_to_api: list[str],
    monkeypatch: pytest.MonkeyPatch,
    base_url: str,
    no_proxy: str,
    variable: str,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url_with_password)
    monkeypatch.setenv(variable, no_proxy)
    async with (
        SessionPool(ssl=authority.client_context()) as pool,
        make_client(pool, base_url) as yotta,
    ):
        assert (await yotta.pods.get(7)).id == "7"
        await yotta.pods.create(**SPEC)
    assert proxy.requests == []
    assert API_HOST in resolve_to_api


@pytest.mark.parametrize(
    ("base_url", "no_proxy"),
    [
        (API_URL, ""),
        (API_URL, "other.test"),
        (API_URL, "otta.test"),
        (API_URL, "api.yotta.test.example"),
        (API_URL, f"{API_HOST}:8443"),
        (f"{API_URL}:8443", f"{API_HOST}:443"),
    ],
)
async def test_hosts_that_no_proxy_does_not_name_use_the_proxy(
    proxy: ConnectProxy,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    base_url: str,
    no_proxy: str,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url_with_password)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    async with (
        SessionPool(ssl=authority.client_context()) as pool,
        make_client(pool, base_url) as yotta,
    ):
        assert (await yotta.pods.get(7)).id == "7"
    assert len(proxy.requests) == 1


async def test_no_proxy_does_not_apply_to_an_explicit_proxy(
    proxy: ConnectProxy, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        await yotta.pods.get(7)
    assert len(proxy.requests) == 1


async def test_trust_env_false_ignores_the_environment(
    proxy: ConnectProxy,
    authority: CertificateAuthority,
    resolve_to_api: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url_with_password)
    async with (
        SessionPool(trust_env=False, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        await yotta.pods.get(7)
        await yotta.pods.create(**SPEC)
    assert proxy.requests == []
    assert API_HOST in resolve_to_api


async def test_the_environment_is_read_once_when_the_pool_opens(
    proxy: ConnectProxy,
    authority: CertificateAuthority,
    resolve_to_api: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url_with_password)
    async with SessionPool(ssl=authority.client_context()) as pool:
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.delenv("HTTPS_PROXY")
        async with make_client(pool, API_URL) as yotta:
            await yotta.pods.get(7)
            await yotta.pods.create(**SPEC)
    assert len(proxy.requests) == 2
    monkeypatch.delenv("NO_PROXY")
    async with SessionPool(ssl=authority.client_context()) as pool:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url_with_password)
        async with make_client(pool, API_URL) as yotta:
            await yotta.pods.get(7)
    assert len(proxy.requests) == 2
    assert API_HOST in resolve_to_api


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_loopback_is_never_proxied_by_the_environment(
    proxy: ConnectProxy,
    secure_api: SecureApi,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url_with_password)
    async with (
        SessionPool(ssl=authority.client_context()) as pool,
        make_client(pool, f"https://{host}:{secure_api.port}", retry=ONCE) as yotta,
    ):
        if host == "[::1]":  # nothing listens there
            await catch(ConnectError, yotta.pods.get(7))
        else:
            await yotta.pods.get(7)
    assert proxy.requests == []


async def test_http_proxy_is_not_for_https(
    proxy: ConnectProxy, authority: CertificateAuthority, resolve_to_api: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url_with_password)
    async with (
        SessionPool(ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        await yotta.pods.get(7)
    assert proxy.requests == []


# When a proxy fails


def assert_no_secret(error: BaseException, *more: str) -> None:
    text = exposed_text(error)
    for secret in (KEY, PROXY_PASSWORD, basic_auth(PROXY_USER, PROXY_PASSWORD), *more):
        assert secret not in text


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("by_environment", [False, True], ids=["argument", "environment"])
async def test_a_wrong_password_is_named_without_the_password(
    proxy: ConnectProxy,
    secure_api: SecureApi,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
    by_environment: bool,
) -> None:
    url = proxy.url_with_password.replace(PROXY_PASSWORD, WRONG_PASSWORD)
    if by_environment:
        monkeypatch.setenv("HTTPS_PROXY", url)
    async with (
        SessionPool(proxy=None if by_environment else url, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        del url
        error = await catch(ConnectError, call(yotta))
    assert not error.request_sent
    assert "407" in str(error)
    assert proxy.address in str(error)
    assert ("HTTPS_PROXY" if by_environment else "proxy=") in str(error)
    assert_no_secret(error, WRONG_PASSWORD, basic_auth(PROXY_USER, WRONG_PASSWORD))
    assert proxy.requests[0].has_authorization
    assert not proxy.requests[0].is_authorized
    assert secure_api.server.received == []


async def test_a_missing_password_is_named(proxy: ConnectProxy, authority: CertificateAuthority) -> None:
    async with (
        SessionPool(proxy=proxy.url, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL, retry=ONCE) as yotta,
    ):
        error = await catch(ConnectError, yotta.pods.get(7))
    assert "407" in str(error)
    assert proxy.address in str(error)
    assert not proxy.requests[0].has_authorization


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("by_environment", [False, True], ids=["argument", "environment"])
async def test_an_unreachable_proxy_is_named(
    unused_tcp_port: int,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
    by_environment: bool,
) -> None:
    url = f"http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:{unused_tcp_port}"
    if by_environment:
        monkeypatch.setenv("HTTPS_PROXY", url)
    async with (
        SessionPool(proxy=None if by_environment else url, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL, retry=ONCE) as yotta,
    ):
        del url
        error = await catch(ConnectError, call(yotta))
    assert not error.request_sent
    assert error.temporary
    assert f"127.0.0.1:{unused_tcp_port}" in str(error)
    assert ("HTTPS_PROXY" if by_environment else "proxy=") in str(error)
    assert_no_secret(error)


@pytest.mark.parametrize("status", [403, 502, 503])
async def test_a_refusal_of_the_proxy_is_named(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority, status: int
) -> None:
    proxy.refuse_with = status
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL, retry=ONCE) as yotta,
    ):
        for call in CALLS.values():
            error = await catch(ConnectError, call(yotta))
            assert not error.request_sent
            assert str(status) in str(error)
            assert proxy.address in str(error)
            assert_no_secret(error)
    assert secure_api.server.received == []


async def test_a_host_that_the_proxy_does_not_know_is_a_connect_error(
    proxy: ConnectProxy, authority: CertificateAuthority
) -> None:
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, "https://unknown.yotta.test", retry=ONCE) as yotta,
    ):
        error = await catch(ConnectError, yotta.pods.get(7))
    assert "502" in str(error)
    assert proxy.address in str(error)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_proxy_that_closes_during_connect_is_a_connect_error(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority, call: Call
) -> None:
    proxy.closes = 100
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL, retry=ONCE) as yotta,
    ):
        error = await catch(ConnectError, call(yotta))
    assert not error.request_sent
    assert error.temporary
    assert "proxy" in str(error)
    assert_no_secret(error)
    assert secure_api.server.received == []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_calls_are_retried_after_a_proxy_closed_during_connect(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority, call: Call
) -> None:
    proxy.closes = 3
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        await call(yotta)
    assert proxy.closes == 0
    assert len(secure_api.server.received) == 1


async def test_a_silent_proxy_is_a_connect_error(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority
) -> None:
    proxy.is_silent = True
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL, timeout=0.05, retry=ONCE) as yotta,
    ):
        for call in CALLS.values():
            error = await catch(ConnectError, call(yotta))
            assert not error.request_sent
            assert_no_secret(error)
    assert len(proxy.requests) == 2
    assert secure_api.server.received == []


# A create through a proxy is sent at most once


@pytest.fixture
def lose_create(proxy: ConnectProxy, secure_api: SecureApi, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a function after which each create is lost: the proxy drops the connection once the server has it."""

    async def drop(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        proxy.drop_connections()

    def lose(acted: bool) -> None:
        monkeypatch.setitem(FAULTS, "proxy drops", (acted, drop))
        secure_api.pods.fault = lambda what: "proxy drops" if what == "create" else "none"

    return lose


def posts(pods: PodServer) -> int:
    return sum(pods.posts.values())


async def test_a_create_that_a_proxy_loses_is_recovered_by_its_token(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority, lose_create: Callable[[bool], None]
) -> None:
    lose_create(True)
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        handle = await yotta.pods.create(**SPEC)
    assert posts(secure_api.pods) == 1
    assert set(secure_api.pods.pods) == {"7", handle.id}


async def test_a_create_that_a_proxy_loses_is_not_sent_again_when_no_pod_appears(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority, lose_create: Callable[[bool], None]
) -> None:
    lose_create(False)
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        error = await catch(CreateOutcomeUnknownError, yotta.pods.create(**SPEC))
    assert posts(secure_api.pods) == 1
    assert error.client_token in secure_api.pods.posts
    assert_no_secret(error)


async def test_a_create_that_the_server_resets_behind_a_proxy_is_recovered(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority
) -> None:
    secure_api.pods.fault = lambda what: "reset after" if what == "create" else "none"
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        handles = await asyncio.gather(*(yotta.pods.create(**SPEC) for _ in range(10)))
    assert posts(secure_api.pods) == 10
    assert {handle.id for handle in handles} == set(secure_api.pods.pods) - {"7"}


async def test_a_create_whose_connect_fails_is_sent_once(
    proxy: ConnectProxy, secure_api: SecureApi, authority: CertificateAuthority, lose_create: Callable[[bool], None]
) -> None:
    proxy.closes = 2
    lose_create(True)
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        await yotta.pods.create(**SPEC)
    assert posts(secure_api.pods) == 1


# Arguments


@pytest.mark.parametrize(
    "proxy_url",
    [
        f"ftp://me:{PROXY_PASSWORD}@127.0.0.1:1",
        f"socks5://me:{PROXY_PASSWORD}@127.0.0.1:1",
        f"http://me:{PROXY_PASSWORD}@",
        f"http://me:{PROXY_PASSWORD}@127.0.0.1:99999",
        f"http://me:{PROXY_PASSWORD}@127.0.0.1:port",
        f"me:{PROXY_PASSWORD}@127.0.0.1:3128",
        f"http://me:{PROXY_PASSWORD}@127.0.0.1:3128\r\nX-Injected: 1",
        "127.0.0.1:3128",
        "",
        5,
    ],
    ids=[
        "ftp",
        "socks",
        "no host",
        "port too large",
        "port no number",
        "no scheme",
        "line break",
        "no scheme or user",
        "empty",
        "no text",
    ],
)
def test_a_bad_proxy_url_is_a_configuration_error_without_the_password(proxy_url: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SessionPool(proxy=proxy_url)
    assert "proxy" in str(caught.value)
    traceback = caught.value.__traceback__
    assert traceback is not None
    # The frame of this test has the URL; those of the package begin below it.
    assert_no_secret(caught.value.with_traceback(traceback.tb_next))


@pytest.mark.parametrize(
    "proxy_url", [f"ftp://me:{PROXY_PASSWORD}@127.0.0.1:1", f"http://me:{PROXY_PASSWORD}@:x"], ids=["ftp", "no host"]
)
async def test_a_bad_proxy_url_of_the_environment_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, proxy_url: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy_url)

    async def get() -> None:
        async with SessionPool() as pool, make_client(pool, API_URL, retry=ONCE) as yotta:
            await yotta.pods.get(7)

    error = await catch(ConfigurationError, get())
    assert "HTTPS_PROXY" in str(error)
    assert_no_secret(error)


@pytest.mark.parametrize(
    "options", [{"ssl": False}, {"ssl": "ca.pem"}, {"trust_env": "yes"}, {"trace_configs": [5]}], ids=str
)
def test_a_bad_argument_of_the_pool_is_a_configuration_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        SessionPool(**options)


async def test_no_repr_of_a_pool_shows_the_proxys_password(
    proxy: ConnectProxy, authority: CertificateAuthority
) -> None:
    async with (
        SessionPool(proxy=proxy.url_with_password, ssl=authority.client_context()) as pool,
        make_client(pool, API_URL) as yotta,
    ):
        await yotta.pods.get(7)
        await yotta.pods.create(**SPEC)
        for thing in (pool, yotta, vars(pool), vars(yotta)):
            for text in (repr(thing), str(thing), f"{thing}", pretty_repr(thing)):
                assert PROXY_PASSWORD not in text
                assert KEY not in text
