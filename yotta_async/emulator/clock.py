"""The emulator's time: the machine's own, turned by hand, or moving by itself whenever nothing else can happen."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal, TypeAlias

from yotta_async.emulator.loops import do_in, finish

ClockKind: TypeAlias = Literal["real", "manual", "auto"]

# 2026-01-01T00:00:00Z: where time begins that does not come from the machine, so that a test's times repeat.
_EPOCH = 1_767_225_600.0
# How many turns of the event loop must pass without a call or a sleep before nothing more is taken to come: a task that
# was woken needs a few to get through queues and events to its next call.
_QUIET_TURNS = 20
# What a sleep on a closed clock takes of real time.
_CLOSED_PAUSE = 0.001
# Beyond it nobody can write a date.
_LAST = 221_845_392_000.0
# How long a loop that was in use may take to turn before it is asked whether it still runs.
_LOST_LOOP = 0.1


class EmulatorClock:
    """Real time. A client made by `Emulator.client()` waits and pauses by its emulator's clock."""

    def time(self) -> float:
        """Return the seconds since some moment; they never go back."""
        return time.monotonic()

    _ahead = 0.0

    def now(self) -> float:
        """Return the seconds since 1970, in UTC."""
        return time.time() + self._ahead

    def begin_at(self, start: float | None) -> None:
        """Be no earlier than this, in seconds since 1970; None for no such wish."""
        self._ahead = max(0.0, (start or 0.0) - time.time())

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds of this clock."""
        await asyncio.sleep(seconds)

    @contextmanager
    def call(self, timeout: asyncio.Timeout | None = None, seconds: float = math.inf) -> Iterator[None]:  # noqa: ARG002
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

    def __init__(self) -> None:
        self._start = _EPOCH
        self._time = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._timeouts: dict[int, tuple[float, asyncio.AbstractEventLoop, asyncio.Timeout]] = {}
        self._loops: dict[asyncio.AbstractEventLoop, None] = {}  # of those who slept or called
        self._guard = threading.RLock()
        self._calls = 0
        self._delayed: list[object] = []
        self._asleep = 0
        self._activity = 0
        self._advancing = threading.Lock()
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
                self._asleep += 1
                self._begin()
        if is_over:
            await asyncio.sleep(_CLOSED_PAUSE if self._closed else 0)
            return
        try:
            await future
        finally:
            self._asleep -= 1

    @contextmanager
    def call(self, timeout: asyncio.Timeout | None = None, seconds: float = math.inf) -> Iterator[None]:
        """Mark a call as in flight. Time stands still meanwhile, unless a fault delays the answer."""
        with self._guard:
            number = next(self._order)
            if timeout is not None:
                self._timeouts[number] = (self._time + seconds, self._here(), timeout)
            self._calls += 1
            self._activity += 1
        try:
            yield
        finally:
            with self._guard:
                self._timeouts.pop(number, None)
                self._calls -= 1
                # Who gave up a delayed call is not to have the next one taken for it, until the server hears of it.
                del self._delayed[: max(0, len(self._delayed) - self._calls)]
                self._activity += 1

    async def delay(self, seconds: float) -> None:
        """Let a call take so many seconds of this clock longer, in which time may move though the call is in flight.

        A call of which the clock does not know, of some other client, sleeps as any sleeper does.
        """
        delay = object()
        with self._guard:
            is_known = self._calls > len(self._delayed)
            if is_known:
                self._delayed.append(delay)
                self._asleep -= 1  # time does not move for its sake once it is given up
        try:
            await self.sleep(seconds)
        finally:
            with self._guard:
                self._asleep += is_known
                self._delayed = [each for each in self._delayed if each is not delay]
                self._activity += 1

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once.

        Each sleeper wakes at its own time, and what it does then (calls included) is done before time moves on.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError("time moves forward only, by a finite number of seconds")
        while not self._advancing.acquire(blocking=False):  # noqa: ASYNC110  # another loop may hold it
            await asyncio.sleep(_CLOSED_PAUSE)
        try:
            until = self._time + seconds
            if self._start + until > _LAST:
                raise ValueError("the emulator's time ends with the year 9000")
            await self._quiet()
            while (when := self._next(is_moved=True)) is not None and when <= until:
                self._wake(when)
                await self._quiet()
            self._time = max(self._time, until)
        finally:
            self._advancing.release()

    def close(self) -> None:
        """Wake everybody, each at his time."""
        self._closed = True
        while (when := self._next(is_moved=True)) is not None:
            self._wake(when)

    def _begin(self) -> None:
        """Begin to move, if it is a clock that moves by itself: somebody sleeps."""

    def _here(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        self._loops[loop] = None
        return loop

    def begin_at(self, start: float | None) -> None:
        """Let time begin then, in seconds since 1970; None for no such wish."""
        self._start = start or self._start

    def _next(self, *, is_moved: bool = False) -> float | None:
        """Return when the next sleeper wakes or the next delayed call is given up, or None while there is neither.

        Unless somebody moves time, it moves only for those who sleep, or whose call is delayed.
        """
        with self._guard:
            if not (is_moved or self._asleep > 0 or 0 < self._calls <= len(self._delayed)):
                return None
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            moments = [self._sleepers[0][0]] if self._sleepers else []
            if moments and self._delayed:
                moments += [when for when, *_ in self._timeouts.values()]
            return min(moments, default=None)

    def _wake(self, when: float) -> None:
        with self._guard:
            self._time = max(self._time, when)
            while self._sleepers and self._sleepers[0][0] <= when:
                future = heapq.heappop(self._sleepers)[2]
                do_in(future.get_loop(), finish, future)
            for number, (moment, loop, timeout) in list(self._timeouts.items()):
                if moment <= when and self._delayed:
                    del self._timeouts[number]
                    do_in(loop, _expire, timeout)

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
                is_there = do_in(loop, do_in, here, finish, turned)
                while is_there and not turned.done():
                    await asyncio.wait([turned], timeout=_LOST_LOOP)
                    is_there = loop.is_running()
                if not is_there:
                    self._loops.pop(loop, None)


class AutoClock(ManualClock):
    """Time that jumps to the earliest sleeper whenever no call is in flight and nothing else is about to happen."""

    def __init__(self) -> None:
        super().__init__()
        self._driver: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Stop jumping."""
        super().close()
        if self._driver is not None:
            do_in(self._driver.get_loop(), self._driver.cancel)

    def _begin(self) -> None:
        with self._guard:
            if self._driver is None or self._driver.done() or not self._driver.get_loop().is_running():
                # Not by the loop's task factory: an eager one would run it here, under the guard.
                self._driver = asyncio.Task(self._drive(), loop=asyncio.get_running_loop())

    async def _drive(self) -> None:
        try:
            while True:
                await self._quiet()
                with self._guard:  # or somebody might fall asleep unseen
                    when = self._next()
                    if when is None:
                        self._driver = None
                        return
                    self._wake(when)
        except asyncio.CancelledError:
            self._hand_over()
            raise

    def _hand_over(self) -> None:
        """Let another loop drive, when this one ends while somebody sleeps there."""
        with self._guard:
            self._driver = None
            loops = [] if self._closed else [future.get_loop() for *_, future in self._sleepers if not future.done()]
        for loop in loops:
            if loop is not asyncio.get_running_loop() and do_in(loop, self._begin):
                break


def _expire(timeout: asyncio.Timeout) -> None:
    """End a timeout now. Runs in the timeout's event loop."""
    with suppress(RuntimeError):  # it has expired already, or its block has ended
        timeout.reschedule(asyncio.get_running_loop().time())


def make_clock(kind: ClockKind) -> EmulatorClock:
    """Return a clock of that kind. Raises ValueError for another word."""
    kinds: dict[object, type[EmulatorClock]] = {"real": EmulatorClock, "manual": ManualClock, "auto": AutoClock}
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"clock must be one of real, manual, auto, not {kind!r}")
    return kinds[kind]()
