"""aiohttp sessions over connectors that clients share: connection limits, proxy, certificates, tracing."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl as tls
from collections.abc import Iterable
from typing import Any, NoReturn, Self
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from yotta_async._version import __version__
from yotta_async.errors import ConfigurationError
from yotta_async.support.loop_guard import LoopGuard
from yotta_async.support.secrets import Secret, strip_traceback_frames
from yotta_async.transport.messages import Request, SendState
from yotta_async.transport.settings import is_loopback

CONNECT_TIMEOUT_S = 10
# Gateways add long headers (policies, cookies, traces); aiohttp's own limit of 8,190 bytes makes such a response an
# error, which for a create means an unknown outcome.
_MAX_HEADER_BYTES = 2**16
_MAX_HEADERS = 1_000
# How much of a response is buffered before reading pauses: with less, a long list stops and starts every 64 KiB.
_READ_BUFFER_BYTES = 2**20
_MAX_READ_BYTES = 2**16
# How long closing waits for calls that it has ended. They need no network to end.
_CLOSE_GRACE_S = 1.0


class LostConnectionError(aiohttp.ClientError):
    """The connection ended before the response began, or was not fit for it. The `__cause__` is aiohttp's error."""


async def _send_once(request: Any, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once, and refuse a response that was on the connection before it.

    aiohttp repeats a GET or DELETE by itself after the two errors that are renamed here. But every request counts:
    RetryPolicy decides whether it is repeated, and a DELETE that was repeated without notice would be answered with the
    status that the first one caused.
    """
    loop_turns: list[int] = []
    # No response can come before the event loop has turned; what is there by then came unasked on a kept connection.
    asyncio.get_running_loop().call_soon(loop_turns.append, 1)
    try:
        response = await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostConnectionError(type(error).__name__) from error
    if not loop_turns:
        response.close()
        raise LostConnectionError("a response was there before the request")
    return response


async def _mark_sent(_: aiohttp.ClientSession, context: Any, __: aiohttp.TraceRequestHeadersSentParams) -> None:
    # aiohttp calls this immediately before it writes the first byte.
    context.trace_request_ctx.request_sent = True


class _SmallReadSocket(socket.socket):
    """Reads at most 64 KiB at a time.

    asyncio sets 256 KiB aside for each read of a plain socket, which the allocator maps and unmaps for every response:
    a sixth of a call (`python -m benchmarks single`). TLS has a buffer of its own.
    """

    def recv(self, size: int, flags: int = 0) -> bytes:
        return super().recv(min(size, _MAX_READ_BYTES), flags)


def _make_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    return _SmallReadSocket(family, kind, protocol)


class ClientSessions:
    """One client's two aiohttp sessions: one whose connections are kept, and one that uses each connection once.

    Bytes left over on a used connection would be read as the next response. So each change has a connection of its own,
    and each read on which a change depends; other reads share the kept ones.
    """

    def __init__(self, kept: aiohttp.ClientSession, single_use: aiohttp.ClientSession, key: Secret[str]) -> None:
        self._kept = kept
        self._single_use = single_use
        # Given with each request: aiohttp sends the headers of a session to its proxy too.
        self._headers = Secret(CIMultiDict({"x-api-key": key.reveal()}))
        self.calls: set[asyncio.Timeout] = set()
        """The time limits of the calls in flight, by which `aclose` ends them."""

    async def request(
        self, request: Request, url: URL, state: SendState, *, fresh_connection: bool
    ) -> aiohttp.ClientResponse:
        """Send the request, and return the response as soon as its headers are there. Raises what aiohttp raises."""
        if request.is_read:
            session = self._single_use if fresh_connection else self._kept
            return await session.get(
                url, headers=self._headers.reveal(), allow_redirects=False, trace_request_ctx=state
            )
        headers, data = self._headers.reveal(), None
        skipped: tuple[str, ...] = ("Content-Type",)
        if request.body is not None:
            headers, skipped = headers.copy(), ()
            headers["Content-Type"] = "application/json"
            # As a file it is written piece by piece: what a server has not taken when the time is over is never sent.
            data = io.BytesIO(request.body.reveal())
        return await self._single_use.request(
            request.method,
            url,
            data=data,
            headers=headers,
            skip_auto_headers=skipped,
            allow_redirects=False,
            trace_request_ctx=state,
        )

    async def aclose(self) -> None:
        """End the calls in flight, and close both sessions. May be called again."""
        for timeout in self.calls:
            if not timeout.expired():
                timeout.reschedule(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(_CLOSE_GRACE_S):
                while self.calls:  # noqa: ASYNC110  # each needs a few turns of the loop
                    await asyncio.sleep(0)
        except TimeoutError:
            pass  # a trace of the user's holds a call up; closing its connection ends it
        await self._kept.close()
        await self._single_use.close()


class SessionPool:
    """Connections that many clients share: `async with SessionPool(limit=100) as pool`.

    A client never closes a pool that it was given. A pool belongs to the event loop of its first use.

    Args:
        limit: How many connections for reads may be open at a time. Changes (create, pause, resume, delete) may have
            as many again; each of them uses a connection of its own once.
        proxy: URL of a proxy for all requests, such as "http://user:password@proxy.example:3128". It opens a tunnel
            (CONNECT), so that it sees neither the API key nor what is sent. None uses the environment's.
        ssl: An `ssl.SSLContext`, for a certificate authority of your own or a client certificate. None trusts what
            this machine trusts, or the file that $SSL_CERT_FILE names.
        trust_env: Whether $HTTPS_PROXY and $NO_PROXY count. They are read once, when the pool is first used, and never
            apply to loopback addresses.
        trace_configs: `aiohttp.TraceConfig` objects, which see every request.

    Raises:
        ConfigurationError: For an argument that cannot work, after closing, and on a second event loop.

    Example:
        ```python
        async with SessionPool(ssl=ssl.create_default_context(cafile="company-ca.pem")) as pool:
            async with YottaClient(session_pool=pool) as yotta:
                await yotta.pods.list()
        ```

    """

    def __init__(
        self,
        limit: int = 100,
        *,
        proxy: str | None = None,
        ssl: tls.SSLContext | None = None,
        trust_env: bool = True,
        trace_configs: Iterable[aiohttp.TraceConfig] = (),
    ) -> None:
        if type(limit) is not int or limit < 1:
            raise ConfigurationError("SessionPool.limit must be a whole number of at least 1")
        if ssl is not None and not isinstance(ssl, tls.SSLContext):
            raise ConfigurationError(
                "SessionPool.ssl must be an ssl.SSLContext, such as ssl.create_default_context(cafile=…); "
                "certificates are always checked"
            )
        if not isinstance(trust_env, bool):
            raise ConfigurationError("SessionPool.trust_env must be True or False")
        given, proxy = Secret(proxy), None  # a traceback can show this frame's variables
        self.guard = LoopGuard("SessionPool")
        """Checks that the pool is open, and in one event loop; for the package's own use."""
        self._limit = limit
        self._proxy = None if given.reveal() is None else _parse_proxy(given, "SessionPool.proxy")
        self._ssl = ssl
        self._trust_env = trust_env
        self._trace_configs = _check_trace_configs(trace_configs)
        self._environment: Secret[dict[str, str]] | None = None  # read when the pool opens
        self._connectors: dict[str, aiohttp.TCPConnector] = {}
        self._sessions: list[ClientSessions] = []

    def __repr__(self) -> str:
        return f"SessionPool(limit={self._limit})"

    def open_sessions(self, base_url: URL, key: Secret[str], user_agent: str = "") -> ClientSessions:
        """Open the sessions of one client. `YottaClient` calls this.

        Args:
            base_url: The address of the API.
            key: The API key, which each request gets as a header.
            user_agent: A text before the package's own in the User-Agent header.

        Returns:
            The sessions, for `close_sessions`.

        Raises:
            ConfigurationError: The pool is closed or belongs to another event loop, the proxy of the environment has
                no usable URL, or an http address would go through a proxy.

        """
        self.guard.check()
        proxy = self.proxy_for(base_url)
        if base_url.scheme == "http" and proxy is not None and not is_loopback(proxy.reveal().host or ""):
            raise ConfigurationError("base_url must be https with a proxy: http would show the key to the network")
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"{user_agent} yotta-async/{__version__}".lstrip(),
        }
        # A trace costs a tenth of a call. Reads, which may be repeated anyway, do without it, unless there is a proxy:
        # of several exceptions only the mark tells whether they come from the proxy or from the server.
        mark_sent = aiohttp.TraceConfig()
        mark_sent.on_request_headers_sent.append(_mark_sent)
        kept, single_use = (
            aiohttp.ClientSession(
                connector=self._connector(base_url, force_close=force_close),
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                proxy=proxy.reveal() if proxy else None,
                # The time limit of an attempt is set around all of it, the wait for a connection included.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                read_bufsize=_READ_BUFFER_BYTES,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                max_headers=_MAX_HEADERS,
                middlewares=(_send_once,),
                trace_configs=[*([mark_sent] if force_close or proxy else []), *self._trace_configs],
            )
            for force_close in (False, True)
        )
        sessions = ClientSessions(kept, single_use, key)
        self._sessions.append(sessions)
        return sessions

    async def close_sessions(self, sessions: ClientSessions) -> None:
        """Close the sessions of one client. `YottaClient` calls this.

        Args:
            sessions: What `open_sessions` returned.

        """
        await sessions.aclose()
        if sessions in self._sessions:
            self._sessions.remove(sessions)

    def proxy_for(self, base_url: URL) -> Secret[URL] | None:
        """Find the proxy for requests to an address. `yotta-async doctor` calls this.

        Args:
            base_url: The address of the API.

        Returns:
            The proxy's URL, as a secret because it may hold a password; None if there is none.

        Raises:
            ConfigurationError: The proxy of the environment has no usable URL.

        """
        host = base_url.host or ""
        if self._proxy is not None:
            return self._proxy
        if not self._trust_env or is_loopback(host):
            return None
        return _find_proxy(self._read_environment(), base_url)

    def _read_environment(self) -> Secret[dict[str, str]]:
        if self._environment is None:
            self._environment = Secret(getproxies_environment())
        return self._environment

    def _connector(self, base_url: URL, *, force_close: bool) -> aiohttp.TCPConnector:
        if base_url.scheme == "https" and self._ssl is None:
            self._ssl = tls.create_default_context()  # made now, so that $SSL_CERT_FILE counts whenever it was set
        kind = f"{base_url.scheme}, {'single use' if force_close else 'kept'}"
        if kind not in self._connectors:
            self._connectors[kind] = aiohttp.TCPConnector(
                limit=self._limit, force_close=force_close, ssl=self._ssl or True, socket_factory=_make_socket
            )
        return self._connectors[kind]

    async def aclose(self) -> None:
        """End the calls in flight, and close every connection. May be called again."""
        self.guard.close()
        sessions, self._sessions = self._sessions, []
        for each in sessions:
            await each.aclose()
        connectors = list(self._connectors.values())
        self._connectors.clear()
        for connector in connectors:
            await connector.close()

    def __enter__(self) -> NoReturn:
        raise ConfigurationError("SessionPool is for `async with`, as in `async with SessionPool() as pool:`")

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Self:
        self.guard.check()
        self._read_environment()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@strip_traceback_frames
def _parse_proxy(given: Secret[Any], source: str) -> Secret[URL]:
    """Return a proxy's URL. No message quotes it, as it may hold a password."""
    text = given.reveal()
    try:
        url = URL(text) if isinstance(text, str) else URL()
        usable = url.scheme in ("http", "https") and url.host and url.port and url.path in ("", "/")
    except Exception:  # noqa: BLE001  # yarl raises IndexError too
        usable, url = None, URL()
    if not usable or url.query_string or url.fragment:
        raise ConfigurationError(
            f"{source} must be the URL of an HTTP proxy, such as http://user:password@proxy.example:3128"
        )
    return Secret(url)


@strip_traceback_frames
def _find_proxy(environment: Secret[dict[str, str]], base_url: URL) -> Secret[URL] | None:
    found = environment.reveal().get(base_url.scheme)
    address = f"{base_url.host_subcomponent}:{base_url.port}"  # NO_PROXY may name a host with or without its port
    if not found or proxy_bypass_environment(address, environment.reveal()):
        return None
    return _parse_proxy(Secret(found if "://" in found else f"http://{found}"), f"${base_url.scheme.upper()}_PROXY")


def _check_trace_configs(given: Iterable[aiohttp.TraceConfig]) -> tuple[aiohttp.TraceConfig, ...]:
    configs = tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(config, aiohttp.TraceConfig) for config in configs):
        raise ConfigurationError("SessionPool.trace_configs must be a list of aiohttp.TraceConfig")
    return configs
