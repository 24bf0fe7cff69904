"""How much a client sends at a time: as much as the API takes, and single calls before those of a fan-out.

While all is well nobody waits but a fan-out, which begins with a few calls at a time and adds one for each round that
went well. When the API says that there are too many requests (429, or a Retry-After), everybody waits as long as it
asks, half as many calls are in flight from then on, and they leave at a pace just below the one that went well before;
the pace then rises again bit by bit. Who waits is let out one by one: single calls first, then those of a fan-out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from yotta_async.support.clock import Clock
from yotta_async.support.tasks import spawn

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

_IN_BULK: ContextVar[bool] = ContextVar("_IN_BULK", default=False)

_FIRST_LIMIT = 8
_LARGEST_LIMIT = 1_000
# Calls leave at a pace once so many of a second's answers, and such a share of them, were 429: fewer may be chance.
_FEW, _SHARE = 3, 0.04
# The pace is then this share of what went well in that second, and no less than half of the best, or five a second.
_BELOW = 0.9
_LEAST = 5.0
# Each quarter of a second without 429 it rises: quickly up to the best that there was, and slowly beyond.
_STEP, _FASTER, _PROBING = 0.25, 1.025, 1.005
# 429s that are closer together than so many seconds answer one burst.
_BURST = 0.5
# However long the API asks to wait, it is asked again after so many seconds.
_LONGEST = 300.0
# Without advice everybody waits so long after a burst, and before a pace begins: its second must be over.
_BRIEF, _BREATH = 0.25, 1.0


@contextmanager
def bulk_priority() -> Iterator[None]:
    """Mark the calls of this task, and of the tasks that it makes, as those of a fan-out."""
    token = _IN_BULK.set(True)
    try:
        yield
    finally:
        _IN_BULK.reset(token)


class AdaptiveRateLimiter:
    """One client's gate. Each attempt takes its `turn` before it is sent and says afterwards how it went."""

    def __init__(self, clock: Clock, requests_per_second: float | None = None) -> None:
        self._clock = clock
        self._fixed = requests_per_second
        self._fixed_limiter: AsyncLimiter | None = None
        self._limiter: AsyncLimiter | None = None
        self._pace: float | None = None  # requests a second, once the API has complained
        self._limit = float(_FIRST_LIMIT)  # calls in flight
        self._in_flight = 0
        self._blocked_until = 0.0
        self._best = 0.0
        self._changed = self._halved = 0.0  # when pace and limit last were, in real time
        self._good: deque[float] = deque(maxlen=2_000)  # when calls went well, in real time
        self._bad: deque[float] = deque(maxlen=2_000)  # when the API said that there were too many
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._room = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    def is_free(self) -> bool:
        """Say whether a call may go at once; then it has gone."""
        if self._pace is not None or self._fixed is not None or self._blocked_until:
            return False
        if _IN_BULK.get() and (self._waiting or self._in_flight >= self._limit):
            return False
        self._in_flight += 1
        return True

    async def turn(self) -> None:
        """Wait until a call may go that `is_free` held back."""
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (_IN_BULK.get(), next(self._order), turn))
        if self._pump is None:
            self._pump = spawn(self._let_out())
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.over()  # it was let out, and does not go
            raise

    def over(self, *, good: bool = False, too_many: bool = False, retry_after: float | None = None) -> None:
        """Note that a call has ended, and how."""
        self._in_flight -= 1
        if self._pump is not None:
            self._room.set()
        if good:
            if self._limit < _LARGEST_LIMIT:
                self._limit += 1 / self._limit
            now = time.monotonic()
            self._good.append(now)
            if self._pace is not None:
                self._speed_up(self._pace, now)
        elif too_many:
            self._slow_down(retry_after)

    def _speed_up(self, pace: float, now: float) -> None:
        if now - self._changed >= _STEP and (not self._bad or now - self._bad[-1] > 1.0):
            self._set_pace(pace * (_FASTER if pace < self._best else _PROBING), now)

    def _slow_down(self, retry_after: float | None) -> None:
        now = time.monotonic()
        self._bad.append(now)
        if now - self._halved > _BURST:  # of several answers to the same burst, one is enough
            self._halved = now
            self._limit = max(1.0, self._limit / 2)
            self._pause(_BRIEF)
        if retry_after is not None:
            self._pause(retry_after)
        good, bad = (sum(when > now - 1.0 for when in times) for times in (self._good, self._bad))
        if bad < _FEW or bad < _SHARE * (good + bad) or (self._pace is not None and now - self._changed < _BURST):
            return
        self._pause(_BREATH if retry_after is None else retry_after)
        self._best = max(good * _BELOW, self._best * _BELOW)
        self._set_pace(max(_LEAST, self._best / 2, good * _BELOW), now)

    def _pause(self, seconds: float) -> None:
        self._blocked_until = max(self._blocked_until, self._clock.time() + min(seconds, _LONGEST))

    def _set_pace(self, pace: float, now: float) -> None:
        from aiolimiter import AsyncLimiter  # only now: most clients never need it

        self._changed = now
        if pace < _LARGEST_LIMIT:
            self._pace, self._limiter = pace, AsyncLimiter(1, 1 / pace)
        else:
            self._pace = self._limiter = None  # above what anybody asks for, it holds nobody up any more

    def close(self) -> None:
        """Let everybody go: a closed client tells each by itself."""
        self._blocked_until = 0.0
        self._pace = self._fixed = self._limiter = self._fixed_limiter = None
        self._limit = math.inf
        if self._pump is not None:
            self._pump.cancel()

    async def _let_out(self) -> None:
        """Let those who wait out, one by one, for as long as anybody waits."""
        try:
            while self._waiting:
                if self._waiting[0][2].done():  # cancelled meanwhile: it costs no turn
                    heapq.heappop(self._waiting)
                elif (pause := self._blocked_until - self._clock.time()) > 0:
                    await self._clock.sleep(pause)
                    self._blocked_until = 0.0 if self._clock.time() >= self._blocked_until else self._blocked_until
                elif self._in_flight >= self._limit and (self._pace is not None or self._waiting[0][0]):
                    self._room.clear()
                    await self._room.wait()
                else:
                    await self._keep_pace()
                    if self._waiting and self._blocked_until <= self._clock.time():
                        turn = heapq.heappop(self._waiting)[2]
                        if not turn.done():
                            self._in_flight += 1
                            turn.set_result(None)
        finally:
            self._pump = None
            # Cancelled: nobody is left waiting for a turn that would never come.
            for _, _, turn in self._waiting:
                if not turn.done():
                    self._in_flight += 1
                    turn.set_result(None)
            self._waiting.clear()

    async def _keep_pace(self) -> None:
        with self._clock.call():  # the pace is one of real time, in which a clock that moves by itself stands still
            if self._fixed is not None:
                if self._fixed_limiter is None:
                    from aiolimiter import AsyncLimiter  # only now: most clients never need it

                    self._fixed_limiter = AsyncLimiter(1, 1 / self._fixed)
                await self._fixed_limiter.acquire()
            if self._limiter is not None:
                await self._limiter.acquire()
