"""Connections: a pool that clients share, and sessions over it.

With `_exchange` and `_transport`, the only file of the client that touches aiohttp.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Self

import aiohttp
from yarl import URL

from yotta_async._version import __version__
from yotta_async.errors import ConfigurationError
from yotta_async.support.secrets import Secret
from yotta_async.transport.exchange import Session, Turns

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"yotta-async/{__version__}",
}


class LoopGuard:
    """Something that belongs to the event loop of its first use, until it is closed."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def check(self) -> None:
        """Raise ConfigurationError when it is closed or belongs to another event loop."""
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
        """End its use."""
        self.closed = True
        self.loop = None


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
        self.bound = LoopGuard("SessionPool")
        self._connectors: dict[bool, aiohttp.TCPConnector] = {}
        self._turns = {single_use: Turns(limit) for single_use in (False, True)}
        weakref.finalize(self, _abandon, self._connectors)

    def session(self, root: URL, key: Secret[str], *, single_use: bool) -> Session:
        """Return a new session over the connections that are used once, or over those that are kept."""
        self.bound.check()
        if single_use not in self._connectors:
            self._connectors[single_use] = aiohttp.TCPConnector(limit=self._limit, force_close=single_use)
        return Session(self._connectors[single_use], self._turns[single_use], root, key, _HEADERS)

    async def aclose(self) -> None:
        """Close every connection, which ends the calls over them. May be called again."""
        self.bound.close()
        for turns in self._turns.values():
            await turns.close()
        connectors = list(self._connectors.values())
        self._connectors.clear()
        for connector in connectors:
            await connector.close()

    async def __aenter__(self) -> Self:
        self.bound.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _abandon(connectors: dict[bool, aiohttp.TCPConnector]) -> None:
    """Let go of what was never closed, as quietly as a socket that is collected."""
    for connector in connectors.values():
        closing = connector.close(abort_ssl=True)
        try:
            closing.send(None)
        except (StopIteration, RuntimeError):
            pass
        finally:
            closing.close()
