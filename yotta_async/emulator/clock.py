"""The emulator's time: the machine's own, turned by hand, or moving by itself whenever nothing else can happen."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
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
# How long a loop that was in use may take to turn before it is asked whether it still runs.
_LOST_LOOP = 0.1


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
    def call(self, limit: asyncio.Timeout | None = None, seconds: float = math.inf) -> Iterator[None]:  # noqa: ARG002
        """Mark a call as in flight, which is given up after so many seconds."""
        yield

    async def delay(self, seconds: float) -> None:
        """Let a call that is in flight take so many seconds longer."""
        await self.sleep(seconds)

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once, each sleeper waking at its own time. RuntimeError on a real clock."""
        raise RuntimeError(f"real time cannot be advanced by {seconds} s: use Emulator(clock='manual')")

    def close(self) -> None:
        """Stop moving."""


class ManualClock(EmulatorClock):
    """Time that moves by `advance` alone. Its sleepers may be in several event loops, each in a thread of its own."""

    def __init__(self, start: float = _EPOCH) -> None:
        self._start = start
        self._time = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._limits: dict[int, tuple[float, asyncio.AbstractEventLoop, asyncio.Timeout]] = {}
        self._loops: dict[asyncio.AbstractEventLoop, None] = {}  # of those who slept or called
        self._guard = threading.RLock()
        self._calls = 0
        self._delayed: list[object] = []
        self._activity = 0
        self._advancing = asyncio.Lock()
        self._closed = False

    def time(self) -> float:
        """Return the seconds since the clock was made."""
        return self._time

    def now(self) -> float:
        """Return the seconds since 1970; the clock begins with the year 2026."""
        return self._start + self._time

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has moved on so far."""
        with self._guard:
            future = self._here().create_future()
            self._activity += 1
            is_over = seconds <= 0 or self._closed
            if is_over:
                # Nobody turns the hands of a closed clock any more: who still waits gets through his time, and is told.
                self._time += max(0.0, seconds)
            else:
                heapq.heappush(self._sleepers, (self._time + seconds, next(self._order), future))
        await (asyncio.sleep(_CLOSED_PAUSE if self._closed else 0) if is_over else future)

    @contextmanager
    def call(self, limit: asyncio.Timeout | None = None, seconds: float = math.inf) -> Iterator[None]:
        """Mark a call as in flight. Time stands still meanwhile, unless a fault delays the answer."""
        with self._guard:
            number = next(self._order)
            if limit is not None:
                self._limits[number] = (self._time + seconds, self._here(), limit)
            self._calls += 1
            self._activity += 1
        try:
            yield
        finally:
            with self._guard:
                self._limits.pop(number, None)
                self._calls -= 1
                # Who gave up a delayed call is not to have the next one taken for it, until the server hears of it.
                del self._delayed[: max(0, len(self._delayed) - self._calls)]
                self._activity += 1

    async def delay(self, seconds: float) -> None:
        """Let a call take so many seconds of this clock longer, in which time may move though the call is in flight."""
        delay = object()
        self._delayed.append(delay)
        try:
            await self.sleep(seconds)
        finally:
            with self._guard:
                self._delayed = [each for each in self._delayed if each is not delay]
                self._activity += 1

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once.

        Each sleeper wakes at its own time, and what it does then (calls included) is done before time moves on.
        """
        if not 0 <= seconds < math.inf:
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

    def _here(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        self._loops[loop] = None
        return loop

    def _next(self) -> float | None:
        """Return when the next sleeper wakes or the next delayed call is given up, or None while there is neither."""
        with self._guard:
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            moments = [self._sleepers[0][0]] if self._sleepers else []
            if moments and self._delayed:
                moments += [when for when, *_ in self._limits.values()]
            return min(moments, default=None)

    def _wake(self, when: float) -> None:
        with self._guard:
            self._time = max(self._time, when)
            while self._sleepers and self._sleepers[0][0] <= when:
                future = heapq.heappop(self._sleepers)[2]
                _do_in(future.get_loop(), _finish, future)
            for number, (moment, loop, limit) in list(self._limits.items()):
                if moment <= when and self._delayed:
                    del self._limits[number]
                    _do_in(loop, _expire, limit, loop)

    async def _quiet(self) -> None:
        """Return when no call is in flight and nothing has begun for some turns of every loop."""
        turns = 0
        while turns < _QUIET_TURNS:
            before = self._activity
            await self._turn()
            is_quiet = self._calls <= len(self._delayed) and self._activity == before
            turns = turns + 1 if is_quiet else 0

    async def _turn(self) -> None:
        """Let every loop that has somebody who sleeps or calls turn once."""
        await asyncio.sleep(0)
        here = asyncio.get_running_loop()
        for loop in list(self._loops):
            if loop is not here:
                turned = here.create_future()
                if _do_in(loop, _do_in, here, _finish, turned):
                    await asyncio.wait([turned], timeout=_LOST_LOOP)
                if not turned.done() and not loop.is_running():
                    self._loops.pop(loop, None)


class AutoClock(ManualClock):
    """Time that jumps to the earliest sleeper whenever no call is in flight and nothing else is about to happen."""

    def __init__(self, start: float = _EPOCH) -> None:
        super().__init__(start)
        self._driver: asyncio.Task[None] | None = None

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has jumped so far."""
        with self._guard:
            if self._driver is None or self._driver.done() or not self._driver.get_loop().is_running():
                self._driver = asyncio.get_running_loop().create_task(self._drive())
        await super().sleep(seconds)

    def close(self) -> None:
        """Stop jumping."""
        super().close()
        if self._driver is not None:
            _do_in(self._driver.get_loop(), self._driver.cancel)

    async def _drive(self) -> None:
        await self._quiet()
        while (when := self._next()) is not None:
            self._wake(when)
            await self._quiet()


def _do_in(loop: asyncio.AbstractEventLoop, do: Callable[..., object], *arguments: object) -> bool:
    """Do something in its own loop, and say whether that loop is still there."""
    if loop is asyncio._get_running_loop():  # noqa: SLF001  # the public one raises where none runs
        do(*arguments)
        return True
    try:
        loop.call_soon_threadsafe(do, *arguments)
    except RuntimeError:  # it is closed
        return False
    return True


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _expire(limit: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
    try:
        limit.reschedule(loop.time())
    except RuntimeError:
        pass  # the call ended meanwhile


def make_clock(kind: ClockKind, start: float = _EPOCH) -> EmulatorClock:
    """Return a clock of that kind; `start` is where time begins that does not come from the machine.

    Raises ValueError for another word.
    """
    kinds: dict[str, Callable[[], EmulatorClock]] = {
        "real": EmulatorClock,
        "manual": lambda: ManualClock(start),
        "auto": lambda: AutoClock(start),
    }
    if kind not in kinds:
        raise ValueError(f"clock must be one of {', '.join(kinds)}, not {kind!r}")
    return kinds[kind]()
