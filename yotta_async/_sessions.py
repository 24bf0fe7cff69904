"""Connections: a pool that clients share, and the mark that tells whether a request left.

With `_transport`, the only file of the client that touches aiohttp.
"""

from __future__ import annotations

import asyncio
import weakref
from types import SimpleNamespace
from typing import Self

import aiohttp

from yotta_async._secrets import Secret
from yotta_async._version import __version__
from yotta_async.errors import ConfigurationError

# `total` is not aiohttp's to watch: the deadline over the whole attempt is set around it, the wait for a connection
# included. A body that drips never trips `sock_read`.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)


class Mark:
    """Whether a request's headers were written, whether an answer has begun, and whether it is wanted no more."""

    __slots__ = ("answering", "given_up", "sent")

    def __init__(self) -> None:
        self.sent = False
        self.answering = False
        self.given_up = False


async def _sent(_: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceRequestHeadersSentParams) -> None:
    context.trace_request_ctx.sent = True


class Bound:
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
        self._bound = Bound("SessionPool")
        self._connectors: dict[bool, aiohttp.TCPConnector] = {}
        weakref.finalize(self, abandon, self._connectors, {})

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


def abandon(connectors: dict[bool, aiohttp.TCPConnector], sessions: dict[bool, aiohttp.ClientSession]) -> None:
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
