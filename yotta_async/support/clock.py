"""Time as an argument, so that whoever tests an hour of waiting can turn the hands."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Clock(Protocol):
    """What a client asks about time: its waits, its pauses between repeats and its deadlines of waits follow this.

    The time limit of one attempt is one of real seconds, for a server that does not answer; a clock that can be turned
    may end it earlier.
    """

    def time(self) -> float:
        """Return the seconds since some moment; they never go back."""
        ...

    def now(self) -> float:
        """Return the seconds since 1970, for what outlives the process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds of this clock."""
        ...

    def call(self, timeout: asyncio.Timeout | None = None, seconds: float = math.inf) -> AbstractContextManager[object]:
        """Be told, by entering and leaving what this returns, that a call is in flight, and when it is given up."""
        ...


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
        """Return nothing of note: real time goes on by itself."""
        return self._call
