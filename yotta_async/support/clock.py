"""Time as an argument, so that a test of an hour of waiting takes a millisecond."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol


class Clock(Protocol):
    """The clock of a client: its poll intervals, its retry delays and the deadlines of its waits follow it.

    `YottaClient(clock=…)` takes any object with these methods; without one the client uses the machine's clock. The
    timeout of one attempt is in real seconds, as a server may never answer; a virtual clock may end it earlier.

    Example:
        ```python
        async with Emulator(clock="manual") as emulator:
            client = YottaClient(emulator.api_key, base_url=emulator.url, clock=emulator.clock)
        ```

    """

    def time(self) -> float:
        """Return the time for intervals and deadlines.

        Returns:
            Seconds since an arbitrary moment; they never decrease.

        """
        ...

    def now(self) -> float:
        """Return the time of day, for what outlives the process, such as the journal.

        Returns:
            Seconds since 1970-01-01 00:00:00 UTC.

        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep by this clock.

        Args:
            seconds: How long. At 0 or less, other tasks run once and the sleep is over.

        """
        ...

    def call(self, timeout: asyncio.Timeout | None = None, seconds: float = math.inf) -> AbstractContextManager[object]:
        """Return a context that is entered while a call is in flight.

        Args:
            timeout: The timeout of the call, which the clock may reschedule; None for a call without one.
            seconds: How long the call may take, in seconds of this clock; math.inf sets no limit.

        Returns:
            A context manager that the client enters before it sends the request and leaves after the response.

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
