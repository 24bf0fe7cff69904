"""How fast a client sends: as fast as the API takes it (AIMD), and single calls before those of a fan-out.

Without complaints, only a fan-out waits: it starts with a small window of calls in flight, which each round of
successes widens by one. After 429, or a Retry-After, every call waits as long as the API asks; the window is halved;
and calls leave at a rate just below the one that the API took before, which then rises slowly. Waiting calls leave one
by one: single calls first.
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

_IS_BULK: ContextVar[bool] = ContextVar("_IS_BULK", default=False)

_INITIAL_WINDOW, _MAX_WINDOW = 8, 1_000  # calls of fan-outs in flight
_WINDOW_DECREASE = 0.5
# Complaints within this time answer one burst of calls, and narrow the window once.
_BURST_S = 0.5
# After a burst without Retry-After, calls wait this long; before a new rate, until the API's second is over.
_BLOCK_AFTER_BURST_S, _BLOCK_BEFORE_RATE_S = 0.25, 1.0
# However long the API asks to wait, it is tried again after this time.
_MAX_BLOCK_S = 300.0
# The rate is limited when a second has at least this many complaints, and they are at least this share of its
# responses. Fewer may be chance.
_MIN_COMPLAINTS, _MIN_COMPLAINT_SHARE = 3, 0.04
# The rate after complaints: this share of the successes in the last second, and no less than half of the best or this.
_RATE_DECREASE, _MIN_RATE_PER_S = 0.9, 5.0
# Every such interval without complaints the rate rises: faster up to the best that the API took, slowly beyond.
_RAISE_INTERVAL_S, _RECOVERY_FACTOR, _PROBE_FACTOR = 0.25, 1.025, 1.005
_UNLIMITED_RATE_PER_S = 1_000.0
_MAX_REMEMBERED_RESPONSES = 2_000


@contextmanager
def bulk_priority() -> Iterator[None]:
    """Mark the calls of this task, and of the tasks that it starts, as those of a fan-out."""
    token = _IS_BULK.set(True)
    try:
        yield
    finally:
        _IS_BULK.reset(token)


class AdaptiveRateLimiter:
    """One client's limiter. Each attempt acquires before it is sent, and releases with its outcome."""

    def __init__(self, clock: Clock, requests_per_second: float | None = None) -> None:
        self._clock = clock
        self._max_rate = requests_per_second or math.inf
        self._rate: float | None = requests_per_second  # requests a second; None: unlimited
        self._limiter: AsyncLimiter | None = None  # made for `_rate` when it is first needed
        self._window = float(_INITIAL_WINDOW)
        self._in_flight = 0
        self._blocked_until = 0.0
        self._best_rate = 0.0
        self._rate_changed_at = self._window_narrowed_at = 0.0  # in real time, as are the next two
        self._successes: deque[float] = deque(maxlen=_MAX_REMEMBERED_RESPONSES)
        self._complaints: deque[float] = deque(maxlen=_MAX_REMEMBERED_RESPONSES)
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._released = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None

    def try_acquire(self) -> bool:
        """Let a call go at once, if nothing holds it back, and return whether it may go."""
        if self._rate is not None or self._blocked_until:
            return False
        if _IS_BULK.get() and (self._waiting or self._in_flight >= self._window):
            return False
        self._in_flight += 1
        return True

    async def acquire(self) -> None:
        """Wait until a call may go that `try_acquire` held back."""
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (_IS_BULK.get(), next(self._order), turn))
        if self._dispatcher is None:
            self._dispatcher = spawn(self._dispatch())
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self, *, succeeded: bool = False, complained: bool = False, retry_after: float | None = None) -> None:
        """Note that a call has ended. The API has `complained` when it answered 429, or asked to wait."""
        self._in_flight -= 1
        if self._dispatcher is not None:
            self._released.set()
        now = time.monotonic()
        if complained:
            self._complaints.append(now)
            self._slow_down(now, retry_after)
        elif succeeded:
            self._successes.append(now)
            self._window = min(_MAX_WINDOW, self._window + 1 / self._window)
            if self._rate is not None and self._rate < self._max_rate:
                self._speed_up(self._rate, now)

    def close(self) -> None:
        """Let every waiting call go: the closed client refuses each."""
        self._blocked_until = 0.0
        self._rate = None
        self._window = math.inf
        if self._dispatcher is not None:
            self._dispatcher.cancel()

    def _speed_up(self, rate: float, now: float) -> None:
        is_quiet = not self._complaints or now - self._complaints[-1] > 1.0
        if is_quiet and now - self._rate_changed_at >= _RAISE_INTERVAL_S:
            self._set_rate(rate * (_RECOVERY_FACTOR if rate < self._best_rate else _PROBE_FACTOR), now)

    def _slow_down(self, now: float, retry_after: float | None) -> None:
        if now - self._window_narrowed_at > _BURST_S:
            self._window_narrowed_at = now
            self._window = max(1.0, self._window * _WINDOW_DECREASE)
            self._block(_BLOCK_AFTER_BURST_S)
        if retry_after is not None:
            self._block(retry_after)
        successes, complaints = (
            sum(when > now - 1.0 for when in times) for times in (self._successes, self._complaints)
        )
        is_chance = complaints < max(_MIN_COMPLAINTS, _MIN_COMPLAINT_SHARE * (successes + complaints))
        if is_chance or now - self._rate_changed_at < _BURST_S:
            return
        self._block(_BLOCK_BEFORE_RATE_S if retry_after is None else retry_after)
        sustained = successes * _RATE_DECREASE
        self._best_rate = max(sustained, self._best_rate * _RATE_DECREASE)
        self._set_rate(max(_MIN_RATE_PER_S, self._best_rate / 2, sustained), now)

    def _block(self, seconds: float) -> None:
        self._blocked_until = max(self._blocked_until, self._clock.time() + min(seconds, _MAX_BLOCK_S))

    def _set_rate(self, rate: float, now: float) -> None:
        rate = min(rate, self._max_rate)
        self._rate_changed_at = now
        self._rate = rate if rate < _UNLIMITED_RATE_PER_S or self._max_rate < math.inf else None
        self._limiter = None

    async def _dispatch(self) -> None:
        """Let waiting calls go one by one."""
        try:
            while self._waiting:
                if self._waiting[0][2].done():  # cancelled meanwhile
                    heapq.heappop(self._waiting)
                elif (delay := self._blocked_until - self._clock.time()) > 0:
                    await self._clock.sleep(delay)
                    if self._clock.time() >= self._blocked_until:
                        self._blocked_until = 0.0
                elif self._in_flight >= self._window and (self._is_limited_by_api() or self._waiting[0][0]):
                    self._released.clear()
                    await self._released.wait()
                else:
                    await self._wait_for_rate()
                    if self._waiting and self._blocked_until <= self._clock.time():
                        self._let_go(heapq.heappop(self._waiting)[2])
        finally:
            self._dispatcher = None
            # When it is cancelled, no call is left waiting for a turn that would never come.
            while self._waiting:
                self._let_go(self._waiting.pop()[2])

    def _is_limited_by_api(self) -> bool:
        return self._rate is not None and bool(self._best_rate)

    def _let_go(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._in_flight += 1
            turn.set_result(None)

    async def _wait_for_rate(self) -> None:
        if self._rate is None:
            return
        if self._limiter is None:
            from aiolimiter import AsyncLimiter  # only now: most clients never need it

            self._limiter = AsyncLimiter(1, 1 / self._rate)
        with self._clock.call():  # the rate is one of real time, in which a clock that moves by itself stands still
            await self._limiter.acquire()
