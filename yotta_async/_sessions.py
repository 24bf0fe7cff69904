"""Connections: a pool that clients share, and the mark that tells whether a request left.

With `_transport`, the only file of the client that touches aiohttp.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Coroutine
from contextvars import ContextVar
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, Self

import aiohttp
from yarl import URL

from yotta_async._secrets import Secret
from yotta_async._version import __version__
from yotta_async.errors import ConfigurationError

if TYPE_CHECKING:
    from aiohttp.connector import Connection

# `total` is not aiohttp's to watch: the deadline over the whole attempt is set around it, the wait for a connection
# included. A body that drips never trips `sock_read`.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)
# How much is read from a socket at once. asyncio sets aside 256 KiB before each read, for which the allocator maps and
# unmaps memory each time: a tenth of a whole call.
_READ = 2**16


class Mark:
    """Whether a request's headers were written, whether an answer has begun, and whether it is wanted no more."""

    sent = answering = given_up = False


# The mark of the call that the current task makes.
CALL: ContextVar[Mark] = ContextVar("CALL")


class _MarkedRequest(aiohttp.ClientRequest):
    """A request that notes when it is written. aiohttp's tracing would tell it as well, at a tenth of a call's cost."""

    def send(self, conn: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        CALL.get().sent = True
        if getattr(conn.transport, "max_size", 0) > _READ:
            conn.transport.max_size = _READ  # type: ignore[union-attr]  # asyncio's own over plain sockets has it
        return super().send(conn)


class _NoCookies(aiohttp.DummyCookieJar):
    """No cookies, and none made for every request."""

    _none: SimpleCookie = SimpleCookie()

    def filter_cookies(self, request_url: URL) -> SimpleCookie:  # noqa: ARG002
        return self._none


class Bound:
    """Something that belongs to the event loop of its first use, until it is closed."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def check(self) -> None:
        if self.closed:
            raise ConfigurationError(f"this {self._what} is closed: make a new one, and keep it open while it is used")
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self.loop = loop
        elif self.loop is not loop:
            raise ConfigurationError(
                f"this {self._what} belongs to another event loop: make one inside each loop (each asyncio.run)"
            )

    def close(self) -> None:
        self.closed = True
        self.loop = None


class Turns:
    """Who finds no free connection waits here, first come, first served.

    aiohttp's own queue takes a tenth of a call, and a semaphore of asyncio's takes five function calls where nobody
    waits: here it is `if turns.free: turns.free -= 1`, else `await turns.wait()`, and `turns.give_back()` in the end.
    """

    def __init__(self, limit: int) -> None:
        self.free = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return when it is this task's turn."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give_back()
            turn.cancel()  # whoever drops a coroutine cancels nothing, and leaves no turn to be given to nobody
            raise

    def give_back(self) -> None:
        """Let the next one go, or be free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


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
        self.bound = Bound("SessionPool")
        self._connectors: dict[bool, aiohttp.TCPConnector] = {}
        self.turns = {single_use: Turns(limit) for single_use in (False, True)}
        weakref.finalize(self, abandon, self._connectors, {})

    def session(self, key: Secret[str], *, single_use: bool) -> aiohttp.ClientSession:
        """Return a new session over the connections that are used once, or over those that are kept."""
        self.bound.check()
        if single_use not in self._connectors:
            self._connectors[single_use] = aiohttp.TCPConnector(limit=self._limit, force_close=single_use)
        session = aiohttp.ClientSession(
            connector=self._connectors[single_use],
            connector_owner=False,
            cookie_jar=_NoCookies(),
            headers={
                "x-api-key": key.reveal(),
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                "User-Agent": f"yotta-async/{__version__}",
            },
            read_bufsize=2**20,  # with less, a list of thousands of pods is stopped and started every 64 KiB
            timeout=_TIMEOUT,
            request_class=_MarkedRequest,
            trust_env=False,
        )
        # aiohttp sends a GET or DELETE again by itself when the connection ends, on new connections too, and has no
        # public switch for it. RetryPolicy promises how many requests there are; a test counts them.
        session._retry_connection = False  # noqa: SLF001
        return session

    async def aclose(self) -> None:
        """Close every connection. May be called again."""
        self.bound.close()
        connectors = list(self._connectors.values())
        self._connectors.clear()
        for connector in connectors:
            await connector.close()

    async def __aenter__(self) -> Self:
        self.bound.check()
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
