"""The network: a pool of connections, and one attempt at one request with its failure classified.

The only file of the client that touches aiohttp. Whether a request may have been heard is not told by the type of the
exception but by a mark that is set when its headers are written: without the mark no byte reached the server.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from types import SimpleNamespace
from typing import Self

import aiohttp
from yarl import URL

from yotta_async._clock import Clock
from yotta_async._secrets import Secret
from yotta_async._version import __version__
from yotta_async._wire import Answer, Request
from yotta_async.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RequestTimeoutError,
    YottaError,
)

logger = logging.getLogger("yotta_async")

# `total` is not aiohttp's to watch: the deadline over the whole attempt is set around it, the wait for a connection
# included. A body that drips never trips `sock_read`.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)


class Mark:
    """Whether a request's headers were written, and whether an answer has begun."""

    __slots__ = ("answering", "sent")

    def __init__(self) -> None:
        self.sent = False
        self.answering = False


async def _sent(_: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceRequestHeadersSentParams) -> None:
    context.trace_request_ctx.sent = True


class _Bound:
    """Something that belongs to the event loop of its first use, until it is closed."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def check(self) -> None:
        loop = asyncio.get_running_loop()
        if self.closed:
            raise ConfigurationError(f"this {self._what} is closed: make a new one, and keep it open while it is used")
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ConfigurationError(
                f"this {self._what} belongs to another event loop: make one inside each loop (each asyncio.run)"
            )


class SessionPool:
    """Connections that many clients share: `async with SessionPool(limit=100) as pool`.

    `limit` is how many connections may be open at a time. Creates have as many again to themselves, each used once: a
    body left over on a used connection would be read as the answer to a create. A client never closes a pool that it
    was given. Raises ConfigurationError for a limit below 1, after closing, and on a second event loop.
    """

    def __init__(self, limit: int = 100) -> None:
        if type(limit) is not int or limit < 1:
            raise ConfigurationError("SessionPool.limit must be a whole number of at least 1")
        self._limit = limit
        self._bound = _Bound("SessionPool")
        self._connectors: dict[bool, aiohttp.TCPConnector] = {}
        weakref.finalize(self, _abandon, self._connectors, {})

    def check(self) -> None:
        """Raise ConfigurationError when the pool is closed or belongs to another event loop."""
        self._bound.check()

    @property
    def closed(self) -> bool:
        """Whether the pool was closed."""
        return self._bound.closed

    def session(self, key: Secret[str], *, single_use: bool) -> aiohttp.ClientSession:
        """Return a new session over the connections that are used once, or over those that are kept."""
        self._bound.check()
        if single_use not in self._connectors:
            self._connectors[single_use] = aiohttp.TCPConnector(limit=self._limit, force_close=single_use)
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_sent)
        session = aiohttp.ClientSession(
            connector=self._connectors[single_use],
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "x-api-key": key.reveal(),
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                "User-Agent": f"yotta-async/{__version__}",
            },
            skip_auto_headers=("Content-Type",),  # aiohttp would call a pause without a body an octet-stream
            read_bufsize=2**20,  # with less, a list of thousands of pods is stopped and started every 64 KiB
            timeout=_TIMEOUT,
            trace_configs=[trace],
            trust_env=False,
        )
        # aiohttp sends a GET or DELETE again by itself when the connection ends, on new connections too, and has no
        # public switch for it. RetryPolicy promises how many requests there are; a test counts them.
        session._retry_connection = False  # noqa: SLF001
        return session

    async def aclose(self) -> None:
        """Close every connection. May be called again."""
        self._bound.closed = True
        connectors = list(self._connectors.values())
        self._connectors.clear()
        for connector in connectors:
            await connector.close()

    async def __aenter__(self) -> Self:
        self._bound.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Transport:
    """One client's way to the API: its address, its key, its time limit, and its sessions over a pool."""

    def __init__(
        self, *, base_url: URL, key: Secret[str], timeout: float, pool: SessionPool | None, clock: Clock
    ) -> None:
        self._root = str(base_url)
        self._key = key
        self._timeout = timeout
        self._pool = pool or SessionPool()
        self._owns_pool = pool is None
        self._clock = clock
        self._bound = _Bound("YottaClient")
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._deadlines: set[asyncio.Timeout] = set()
        weakref.finalize(self, _abandon, {}, self._sessions)

    def check(self) -> None:
        """Raise ConfigurationError when the client or its pool is closed or belongs to another event loop."""
        self._bound.check()
        self._pool.check()

    async def send(
        self, request: Request, *, mark: Mark | None = None, single_use: bool = False, seconds: float = float("inf")
    ) -> Answer:
        """Send once, and return the whole answer. `seconds` shortens the client's time limit for this attempt.

        `mark` tells whoever holds it, while this goes on, whether the request may have been heard.

        Raises ConnectError, RequestTimeoutError, ConnectionLostError or ProtocolError, and ConfigurationError when the
        client is closed.
        """
        self.check()
        session = self._sessions.get(single_use)
        if session is None:
            session = self._sessions[single_use] = self._pool.session(self._key, single_use=single_use)
        mark = mark or Mark()
        mark.sent = mark.answering = False
        began = time.perf_counter()
        seconds = min(seconds, self._timeout)
        deadline = asyncio.timeout(seconds)
        self._deadlines.add(deadline)
        try:
            with self._clock.call():
                async with deadline:
                    answer = await self._exchange(session, request, mark)
        except asyncio.CancelledError as error:
            # Its frames hold headers and body: it goes on without them.
            problem: BaseException = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001  # every foreign exception becomes one of ours
            problem = self._failure(error, mark, request, seconds)
        else:
            logger.debug(
                "%s %s: HTTP %d, %d bytes, %.0f ms",
                request.method,
                request.path,
                answer.status,
                len(answer.body),
                (time.perf_counter() - began) * 1000,
            )
            return answer
        finally:
            self._deadlines.discard(deadline)
        # Raised here and not above, so that the foreign exception is not its context.
        logger.debug("%s %s: %s", request.method, request.path, type(problem).__name__)
        problem.__context__ = None
        raise problem

    async def _exchange(self, session: aiohttp.ClientSession, request: Request, mark: Mark) -> Answer:
        query = f"?{request.query}" if request.query else ""
        call = session.request(
            request.method,
            # Encoded already: ids by their allow-list, the query by us. yarl would decode and encode again.
            URL(f"{self._root}{request.path}{query}", encoded=True),
            data=request.body.reveal() if request.body else None,
            headers={"Content-Type": "application/json"} if request.body else None,
            allow_redirects=False,
            trace_request_ctx=mark,
        )
        async with call as response:
            mark.answering = True
            chunks = []
            size = 0
            # Counted after decompression, and before the next chunk is read.
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > request.max_bytes:
                    raise _TooLargeError
                chunks.append(chunk)
            return Answer(response.status, response.headers, b"".join(chunks), self._key)

    def _failure(self, error: Exception, mark: Mark, request: Request, seconds: float) -> YottaError:
        """Turn what aiohttp raised into what it means. Narrow classes first: several of aiohttp's are others' too."""
        what = f"{request.method} {request.path}"
        if not mark.sent:
            if self._bound.closed or self._pool.closed:
                return ConfigurationError(f"{what} was not sent: the client or its SessionPool was closed meanwhile")
            untrusted = isinstance(error, aiohttp.ClientConnectorCertificateError)
            if untrusted:
                text = "the host's certificate is not trusted. Check base_url, and this machine's clock and roots"
            elif isinstance(error, TimeoutError):
                text = f"there was no connection to be had within {seconds:g} s. Check base_url and the network"
            else:
                text = f"{str(error) or type(error).__name__}. Check base_url and the network"
            return ConnectError(
                f"{what} was not sent: {text}.", method=request.method, path=request.path, temporary=not untrusted
            )
        kind: type[RequestTimeoutError | ProtocolError | ConnectionLostError]
        if isinstance(error, _TooLargeError):
            kind, text = ProtocolError, f"the answer is larger than {request.max_bytes} bytes, and was not read on"
        elif isinstance(error, TimeoutError) and not self._bound.closed:
            kind, text = RequestTimeoutError, f"there was no whole answer within {seconds:g} s"
        elif mark.answering or isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
            kind, text = ProtocolError, f"the answer is cut short, or no HTTP ({type(error).__name__})"
        else:
            kind, text = ConnectionLostError, f"the connection ended before the answer ({type(error).__name__})"
        acted = "" if request.method == "GET" else " The server may have acted on it: look before you repeat it."
        return kind(f"{what}: {text}.{acted}", method=request.method, path=request.path)

    async def aclose(self) -> None:
        """End the calls in flight and close the sessions, and the pool if no one else gave it. May be called again."""
        self._bound.closed = True
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(0)
        # Each call needs a few turns of the loop to let go of its connection, and none that waits for the network.
        for _ in range(100):
            if not self._deadlines:
                break
            await asyncio.sleep(0)
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()
        if self._owns_pool:
            await self._pool.aclose()


class _TooLargeError(Exception):
    """More bytes came than the request allows."""


def _abandon(connectors: dict[bool, aiohttp.TCPConnector], sessions: dict[bool, aiohttp.ClientSession]) -> None:
    """Let go of what was never closed, as quietly as a socket that is collected."""
    for session in sessions.values():
        session.detach()
    for connector in connectors.values():
        closing = connector.close(abort_ssl=True)
        try:
            closing.send(None)
        except (StopIteration, RuntimeError):
            pass
        finally:
            closing.close()
