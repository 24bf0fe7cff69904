"""TLS: whose certificates are trusted, what is said of those that are not, and client certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import LOOPBACK, CertificateAuthority
from tests.conftest import KEY, SPEC
from tests.connect_proxy import ConnectProxy
from tests.exposure import catch, exposed_text
from tests.raw_server import envelope, raw_server
from tests.tls_server import tls_server
from tests.transport.conftest import API_URL, PROXY_PASSWORD, SecureApi
from yotta_async import ConnectError, SessionPool, TransportError, YottaClient
from yotta_async.emulator.clock import make_clock

POD = {"id": "7", "status": "RUNNING"}
BODY = b'{"message":"success","code":10000,"data":{"id":"7","status":"RUNNING"}}'
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(BODY), BODY)
TLS_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

Call = Callable[[YottaClient], Awaitable[Any]]
CALLS: dict[str, Call] = {"get": lambda yotta: yotta.pods.get(7), "create": lambda yotta: yotta.pods.create(**SPEC)}


def make_client(pool: SessionPool | None, base_url: str) -> YottaClient:
    """Return a client that retries, with pauses that take no time."""
    return YottaClient(KEY, base_url=base_url, session_pool=pool, clock=make_clock("auto"))


def assert_refused(error: ConnectError) -> None:
    """Check what holds for every certificate that is not accepted."""
    assert not error.request_sent
    assert not error.temporary, "a retry would end the same way"
    assert KEY not in exposed_text(error)
    assert isinstance(error.__cause__, Exception)


# Roots


async def test_a_private_ca_given_by_ssl_is_trusted(secure_api: SecureApi, authority: CertificateAuthority) -> None:
    async with SessionPool(ssl=authority.client_context()) as pool, make_client(pool, secure_api.url) as yotta:
        assert (await yotta.pods.get(7)).id == "7"
        await yotta.pods.create(**SPEC)


@pytest.mark.parametrize("has_own_pool", [False, True])
async def test_a_private_ca_of_ssl_cert_file_is_trusted(
    secure_api: SecureApi, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch, has_own_pool: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with SessionPool() as pool, make_client(None if has_own_pool else pool, secure_api.url) as yotta:
        assert (await yotta.pods.get(7)).id == "7"
        await yotta.pods.create(**SPEC)


async def test_the_ssl_argument_alone_decides_what_is_trusted(
    secure_api: SecureApi, authority: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    other = CertificateAuthority(tmp_path, "Another CA")
    async with SessionPool(ssl=other.client_context()) as pool, make_client(pool, secure_api.url) as yotta:
        assert_refused(await catch(ConnectError, yotta.pods.get(7)))


# Certificates that are not accepted


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_an_unknown_ca_is_named_and_not_retried(authority: CertificateAuthority, call: Call) -> None:
    context = authority.server_context(authority.issue("server"))
    with tls_server(context, RESPONSE) as server:
        async with make_client(None, server.url) as yotta:
            error = await catch(ConnectError, call(yotta))
        assert server.handshakes == 1
        assert server.requests == []
    assert_refused(error)
    assert "certificate" in str(error)
    assert "ssl=" in str(error)
    assert "SSL_CERT_FILE" in str(error)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_certificate_of_another_host_is_named_and_not_retried(
    authority: CertificateAuthority, call: Call
) -> None:
    context = authority.server_context(authority.issue("other", hosts=("other.yotta.test",)))
    with tls_server(context, RESPONSE) as server:
        async with SessionPool(ssl=authority.client_context()) as pool, make_client(pool, server.url) as yotta:
            error = await catch(ConnectError, call(yotta))
        assert server.handshakes == 1
    assert_refused(error)
    assert "localhost" in str(error)
    assert "base_url" in str(error)
    assert "SSL_CERT_FILE" not in str(error), "other roots would not help"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_an_expired_certificate_is_named_and_not_retried(authority: CertificateAuthority, call: Call) -> None:
    context = authority.server_context(authority.issue("expired", is_expired=True))
    with tls_server(context, RESPONSE) as server:
        async with SessionPool(ssl=authority.client_context()) as pool, make_client(pool, server.url) as yotta:
            error = await catch(ConnectError, call(yotta))
        assert server.handshakes == 1
    assert_refused(error)
    assert "expired" in str(error)
    assert "SSL_CERT_FILE" not in str(error), "other roots would not help"


async def test_a_certificate_behind_a_proxy_is_checked_too(proxy: ConnectProxy, secure_api: SecureApi) -> None:
    async with SessionPool(proxy=proxy.url_with_password) as pool, make_client(pool, API_URL) as yotta:
        for number, call in enumerate(CALLS.values(), 1):
            error = await catch(ConnectError, call(yotta))
            assert_refused(error)
            assert "certificate" in str(error)
            assert "SSL_CERT_FILE" in str(error)
            assert PROXY_PASSWORD not in exposed_text(error)
            assert len(proxy.requests) == number, "it is not retried"
    assert secure_api.server.received == []


async def test_a_server_that_does_not_speak_tls_is_named() -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with make_client(None, f"https://127.0.0.1:{port}") as yotta:
            error = await catch(ConnectError, yotta.pods.create(**SPEC))
    assert not error.request_sent
    assert "TLS" in str(error)
    assert "base_url" in str(error)
    assert KEY not in exposed_text(error)


# Client certificates


@pytest.mark.parametrize("version", TLS_VERSIONS, ids=lambda version: version.name)
async def test_a_client_certificate_is_sent(authority: CertificateAuthority, version: ssl.TLSVersion) -> None:
    context = authority.server_context(authority.issue("server"), requires_client=True)
    context.maximum_version = version
    client = authority.issue("client", is_client=True)
    async with (
        raw_server(envelope(POD), envelope(8), ssl=context) as server,
        SessionPool(ssl=authority.client_context(client)) as pool,
        make_client(pool, server.url) as yotta,
    ):
        assert (await yotta.pods.get(7)).id == "7"
        assert (await yotta.pods.create(**SPEC)).id == "8"


@pytest.mark.parametrize("version", TLS_VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_missing_client_certificate_is_named(
    authority: CertificateAuthority, version: ssl.TLSVersion, call: Call
) -> None:
    """With TLS 1.3 the alert comes after the handshake, when the request is sent already; no server acts on that."""
    context = authority.server_context(authority.issue("server"), requires_client=True)
    context.maximum_version = version
    with tls_server(context, RESPONSE) as server:
        async with SessionPool(ssl=authority.client_context()) as pool, make_client(pool, server.url) as yotta:
            error = await catch(TransportError, call(yotta))
        assert server.requests == []
        assert server.handshakes == 1, "a retry would end the same way"
    assert "client certificate" in str(error)
    assert "ssl=" in str(error)
    assert "SSL_CERT_FILE" not in str(error)
    assert KEY not in exposed_text(error)


@pytest.mark.parametrize("version", TLS_VERSIONS, ids=lambda version: version.name)
async def test_a_client_certificate_of_an_unknown_ca_is_named(
    authority: CertificateAuthority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = authority.server_context(authority.issue("server"), requires_client=True)
    context.maximum_version = version
    unknown = CertificateAuthority(tmp_path, "Another CA").issue("client", is_client=True)
    with tls_server(context, RESPONSE) as server:
        async with SessionPool(ssl=authority.client_context(unknown)) as pool, make_client(pool, server.url) as yotta:
            error = await catch(TransportError, yotta.pods.get(7))
        assert server.requests == []
    assert "client certificate" in str(error)
    assert KEY not in exposed_text(error)


def test_the_authority_issues_what_the_tests_are_about(authority: CertificateAuthority) -> None:
    """Each refusal above comes from the one thing that is wrong with its certificate."""
    context = authority.server_context(authority.issue("server", hosts=LOOPBACK))
    assert context.verify_mode is ssl.CERT_NONE
    assert authority.client_context().verify_mode is ssl.CERT_REQUIRED
    assert len(authority.client_context().get_ca_certs()) == 1
