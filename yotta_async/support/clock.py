"""Time as an argument, so that a test of an hour of waiting takes a millisecond."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol


class Clock(Protocol):
    """The clock of a client: its poll intervals, its retry delays and the deadlines of its waits follow it.

    The timeout of one attempt is in real seconds, as a server may never answer; a virtual clock may end it earlier.
    """

    def time(self) -> float:
        """Return the seconds since some moment; they never decrease."""
        ...

    def now(self) -> float:
        """Return the seconds since 1970, for times that outlive the process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds of this clock."""
        ...

    def call(self, timeout: asyncio.Timeout | None = None, seconds: float = math.inf) -> AbstractContextManager[object]:
        """Return a context that is entered while a call is in flight.

        Args:
            timeout: The timeout of the call, which the clock may reschedule.
            seconds: How long the call may take, by this clock.

        """
        ...


async def wait_within(clock: Clock, seconds: float, *futures: asyncio.Future[Any]) -> None:
    """Return when one of the futures is done, or after this many seconds of the clock."""
    sleeping = [asyncio.ensure_future(clock.sleep(seconds))] if seconds < math.inf else []
    try:
        await asyncio.wait([*futures, *sleeping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for sleeper in sleeping:
            sleeper.cancel()


class RealClock:
    """The machine's own monotonic clock."""

    _call = nullcontext()

    def time(self) -> float:
        """Return the seconds of the monotonic clock."""
        return time.monotonic()

    def now(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep as asyncio does."""
        await asyncio.sleep(seconds)

    def call(self, timeout: asyncio.Timeout | None = None, seconds: float = math.inf) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return a context that does nothing, as real time passes by itself."""
        return self._call
