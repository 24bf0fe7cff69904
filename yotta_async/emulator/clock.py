"""The emulator's time: the machine's own, turned by hand, or moving by itself whenever nothing else can happen."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

ClockKind: TypeAlias = Literal["real", "manual", "auto"]

# 2026-01-01T00:00:00Z: where time begins that does not come from the machine, so that a test's times repeat.
_EPOCH = 1_767_225_600.0
# How many turns of the event loop must pass without a call or a sleep before nothing more is taken to come: a task that
# was woken needs a few to get through queues and events to its next call.
_QUIET_TURNS = 20
# What a sleep on a closed clock takes of real time.
_CLOSED_PAUSE = 0.001


class EmulatorClock:
    """Real time. A client made by `Emulator.client()` waits and pauses by its emulator's clock."""

    def time(self) -> float:
        """Return the seconds since some moment; they never go back."""
        return time.monotonic()

    def now(self) -> float:
        """Return the seconds since 1970, in UTC."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds of this clock."""
        await asyncio.sleep(seconds)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Mark a call as in flight."""
        yield

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once, each sleeper waking at its own time. RuntimeError on a real clock."""
        raise RuntimeError(f"real time cannot be advanced by {seconds} s: use Emulator(clock='manual')")

    def close(self) -> None:
        """Stop moving."""


class ManualClock(EmulatorClock):
    """Time that moves by `advance` alone."""

    def __init__(self) -> None:
        self._time = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._calls = 0
        self._activity = 0
        self._advancing = asyncio.Lock()
        self._closed = False

    def time(self) -> float:
        """Return the seconds since the clock was made."""
        return self._time

    def now(self) -> float:
        """Return the seconds since 1970; the clock begins with the year 2026."""
        return _EPOCH + self._time

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has moved on so far."""
        future = asyncio.get_running_loop().create_future()
        self._activity += 1
        if seconds <= 0 or self._closed:
            # Nobody turns the hands of a closed clock any more: who still waits gets through his time, and is told.
            self._time += max(0.0, seconds)
            await asyncio.sleep(_CLOSED_PAUSE if self._closed else 0)
            return
        heapq.heappush(self._sleepers, (self._time + seconds, next(self._order), future))
        await future

    @contextmanager
    def call(self) -> Iterator[None]:
        """Mark a call as in flight; time stands still meanwhile."""
        self._calls += 1
        self._activity += 1
        try:
            yield
        finally:
            self._calls -= 1
            self._activity += 1

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once.

        Each sleeper wakes at its own time, and what it does then (calls included) is done before time moves on.
        """
        if not 0 <= seconds < float("inf"):
            raise ValueError("time moves forward only, by a finite number of seconds")
        async with self._advancing:
            until = self._time + seconds
            await self._quiet()
            while (when := self._next()) is not None and when <= until:
                self._wake(when)
                await self._quiet()
            self._time = until

    def close(self) -> None:
        """Wake everybody, each at his time."""
        self._closed = True
        while (when := self._next()) is not None:
            self._wake(when)

    def _next(self) -> float | None:
        """Return when the next sleeper wakes, or None while nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _wake(self, when: float) -> None:
        self._time = when
        while self._sleepers and self._sleepers[0][0] <= when:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)

    async def _quiet(self) -> None:
        """Return when no call is in flight and nothing has begun for some turns of the loop."""
        turns = 0
        while turns < _QUIET_TURNS:
            before = self._activity
            await asyncio.sleep(0)
            turns = turns + 1 if self._calls == 0 and self._activity == before else 0


class AutoClock(ManualClock):
    """Time that jumps to the earliest sleeper whenever no call is in flight and nothing else is about to happen."""

    def __init__(self) -> None:
        super().__init__()
        self._driver: asyncio.Task[None] | None = None

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has jumped so far."""
        if self._driver is None or self._driver.done():
            self._driver = asyncio.get_running_loop().create_task(self._drive())
        await super().sleep(seconds)

    def close(self) -> None:
        """Stop jumping."""
        super().close()
        if self._driver is not None:
            self._driver.cancel()

    async def _drive(self) -> None:
        await self._quiet()
        while (when := self._next()) is not None:
            self._wake(when)
            await self._quiet()


def make_clock(kind: ClockKind) -> EmulatorClock:
    """Return a clock of that kind. Raises ValueError for another word."""
    kinds: dict[str, type[EmulatorClock]] = {"real": EmulatorClock, "manual": ManualClock, "auto": AutoClock}
    if kind not in kinds:
        raise ValueError(f"clock must be one of {', '.join(kinds)}, not {kind!r}")
    return kinds[kind]()
