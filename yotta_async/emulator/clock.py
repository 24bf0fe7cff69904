"""The emulator's clocks: real time, time that a test advances, and time that jumps while clients only sleep."""

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

from yotta_async.emulator.loops import call_in_loop, resolve

ClockKind: TypeAlias = Literal["real", "manual", "auto"]

# 2026-01-01T00:00:00Z. Virtual time starts there, so that the times in a test are reproducible.
_VIRTUAL_START_S = 1_767_225_600.0
# 9000-01-01T00:00:00Z. `datetime` cannot format times much later than that.
_LATEST_TIME_S = 221_845_392_000.0
# Iterations of the event loop without a call or a sleep before the program counts as idle: a task that was woken needs
# several of them to reach its next call.
_IDLE_ITERATIONS = 20
# Real time that a sleep on a closed clock takes.
_CLOSED_SLEEP_S = 0.001
# Real time after which a loop that does not iterate is checked for whether it still runs.
_LOOP_CHECK_S = 0.1


class EmulatorClock:
    """The clock of an emulator, as `Emulator.clock`. Pods, and clients made by `Emulator.client()`, follow it.

    `Emulator(clock=…)` chooses real time, or virtual time that begins at 2026-01-01 00:00:00 UTC. Programs use `time`,
    `now`, `sleep` and `advance`. The emulator and its clients call the other methods.

    Example:
        ```python
        async with Emulator(clock="manual", timings=Timings(initialize=60)) as emulator:
            await emulator.clock.advance(60)
        ```

    """

    _offset_s = 0.0

    def time(self) -> float:
        """Return the time for intervals.

        Returns:
            Seconds; they never decrease. Virtual clocks begin at 0, a real clock at an arbitrary moment.

        """
        return time.monotonic()

    def now(self) -> float:
        """Return the time of day, as the pods' times show it.

        Returns:
            Seconds since 1970-01-01 00:00:00 UTC.

        """
        return time.time() + self._offset_s

    def start_at(self, start: float | None) -> None:
        """Continue from the time of a `state` file. The emulator calls this when it starts.

        Args:
            start: Seconds since 1970. Virtual clocks start there. A real clock shows no earlier time. None changes
                nothing.

        """
        self._offset_s = max(0.0, (start or 0.0) - time.time())

    async def sleep(self, seconds: float) -> None:
        """Sleep by this clock.

        Args:
            seconds: How long, in seconds of the clock.

        """
        await asyncio.sleep(seconds)

    @contextmanager
    def call(self, timeout: asyncio.Timeout | None = None, seconds: float = math.inf) -> Iterator[None]:  # noqa: ARG002
        """Mark a client's call as in flight. Virtual time does not move meanwhile. Clients use this as a context.

        Args:
            timeout: The timeout of the call, which a virtual clock ends early when `seconds` of its time have passed;
                None for a call without one.
            seconds: How long the call may take, in seconds of the clock; math.inf sets no limit.

        """
        yield

    async def delay(self, seconds: float) -> None:
        """Delay a call that is in flight, while virtual time may move. The emulator calls this for the fault `delay`.

        Args:
            seconds: How much longer the call takes, in seconds of the clock.

        """
        await self.sleep(seconds)

    async def advance(self, seconds: float) -> None:
        """Let time pass at once; only with `Emulator(clock="manual")` or "auto".

        Each sleeper wakes at its own time, and the calls that it then makes end before time moves on.

        Args:
            seconds: How far, in seconds; at least 0.

        Raises:
            RuntimeError: The clock is the real one.
            ValueError: `seconds` is negative or infinite, or time would pass the year 9000.

        """
        raise RuntimeError(f"real time cannot be advanced by {seconds} s: use Emulator(clock='manual')")

    def close(self) -> None:
        """Stop moving, and end all sleeps on a virtual clock. The emulator calls this when it closes."""


class ManualClock(EmulatorClock):
    """Virtual time that `advance` moves. Its sleepers may be in several event loops, each in its own thread."""

    def __init__(self) -> None:
        self._start_s = _VIRTUAL_START_S
        self._time = 0.0
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []  # a heap, by the time to wake
        self._timeouts: dict[int, tuple[float, asyncio.AbstractEventLoop, asyncio.Timeout]] = {}
        self._loops: dict[asyncio.AbstractEventLoop, None] = {}  # those with sleepers or calls, in order
        self._lock = threading.RLock()
        self._advancing = threading.Lock()
        self._calls = 0
        self._delays: list[object] = []
        self._sleeping = 0
        self._activity = 0
        self._is_closed = False

    def time(self) -> float:
        """Return the seconds since the clock was made."""
        return self._time

    def now(self) -> float:
        """Return the seconds since 1970; the clock starts with the year 2026."""
        return self._start_s + self._time

    def start_at(self, start: float | None) -> None:
        """Start at this time, in seconds since 1970; None keeps the default."""
        self._start_s = start or self._start_s

    async def sleep(self, seconds: float) -> None:
        """Sleep until the clock has moved by this many seconds."""
        with self._lock:
            future = self._register_loop().create_future()
            self._activity += 1
            is_over = seconds <= 0 or self._is_closed
            if is_over:
                self._time += max(0.0, seconds)  # a closed clock does not move: each sleeper moves it by its own sleep
            else:
                heapq.heappush(self._sleepers, (self._time + seconds, next(self._numbers), future))
                self._sleeping += 1
                self._start_moving()
        if is_over:
            await asyncio.sleep(_CLOSED_SLEEP_S if self._is_closed else 0)
            return
        try:
            await future
        finally:
            self._sleeping -= 1

    @contextmanager
    def call(self, timeout: asyncio.Timeout | None = None, seconds: float = math.inf) -> Iterator[None]:
        """Mark a call as in flight. Time stands still meanwhile, unless a fault delays the response."""
        with self._lock:
            number = next(self._numbers)
            if timeout is not None:
                self._timeouts[number] = (self._time + seconds, self._register_loop(), timeout)
            self._calls += 1
            self._activity += 1
        try:
            yield
        finally:
            with self._lock:
                self._timeouts.pop(number, None)
                self._calls -= 1
                # If a delayed call was abandoned, the server notices later: do not count the next call as delayed.
                del self._delays[: max(0, len(self._delays) - self._calls)]
                self._activity += 1

    async def delay(self, seconds: float) -> None:
        """Make a call take this many seconds longer; time may move meanwhile, though the call is in flight.

        A call that the clock does not know, of some other client, counts as a sleeper.
        """
        delay = object()
        with self._lock:
            is_known = self._calls > len(self._delays)
            if is_known:
                self._delays.append(delay)
                self._sleeping -= 1  # once the call is abandoned, the delay alone does not move time
        try:
            await self.sleep(seconds)
        finally:
            with self._lock:
                self._sleeping += is_known
                self._delays = [other for other in self._delays if other is not delay]
                self._activity += 1

    async def advance(self, seconds: float) -> None:
        """Let this many seconds pass at once, as the base class says."""
        if not 0 <= seconds < math.inf:
            raise ValueError("time moves forward only, by a finite number of seconds")
        while not self._advancing.acquire(blocking=False):  # noqa: ASYNC110  # another loop may hold it
            await asyncio.sleep(_CLOSED_SLEEP_S)
        try:
            until = self._time + seconds
            if self._start_s + until > _LATEST_TIME_S:
                raise ValueError("the emulator's time ends with the year 9000")
            await self.wait_until_idle()
            while (when := self._next_event_time(is_advancing=True)) is not None and when <= until:
                self._wake_sleepers(when)
                await self.wait_until_idle()
            self._time = max(self._time, until)
        finally:
            self._advancing.release()

    def close(self) -> None:
        """Wake all sleepers, each at its own time."""
        self._is_closed = True
        while (when := self._next_event_time(is_advancing=True)) is not None:
            self._wake_sleepers(when)

    def _start_moving(self) -> None:
        """Start to move if time moves by itself. Called when a sleeper is added."""

    def _register_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        self._loops[loop] = None
        return loop

    def _next_event_time(self, *, is_advancing: bool = False) -> float | None:
        """Return when the next sleeper wakes or the next delayed call times out; None if there is neither.

        Without `advance`, time moves only for tasks that sleep or whose call is delayed.
        """
        with self._lock:
            if not (is_advancing or self._sleeping > 0 or 0 < self._calls <= len(self._delays)):
                return None
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            times = [self._sleepers[0][0]] if self._sleepers else []
            if times and self._delays:
                times += [when for when, *_ in self._timeouts.values()]
            return min(times, default=None)

    def _wake_sleepers(self, now: float) -> None:
        with self._lock:
            self._time = max(self._time, now)
            while self._sleepers and self._sleepers[0][0] <= now:
                future = heapq.heappop(self._sleepers)[2]
                call_in_loop(future.get_loop(), resolve, future)
            for number, (when, loop, timeout) in list(self._timeouts.items()):
                if when <= now and self._delays:
                    del self._timeouts[number]
                    call_in_loop(loop, _expire, timeout)

    async def wait_until_idle(self) -> None:
        """Wait until no call is in flight and nothing has started for several iterations of every loop."""
        idle_iterations = 0
        while idle_iterations < _IDLE_ITERATIONS:
            activity = self._activity
            await self._iterate_all_loops()
            is_idle = self._calls <= len(self._delays) and self._activity == activity
            idle_iterations = idle_iterations + 1 if is_idle else 0

    async def _iterate_all_loops(self) -> None:
        """Return after one iteration of every loop that has sleepers or calls."""
        await asyncio.sleep(0)
        here = asyncio.get_running_loop()
        for loop in list(self._loops):
            if loop is not here:
                iterated = here.create_future()
                is_alive = call_in_loop(loop, call_in_loop, here, resolve, iterated)
                while is_alive and not iterated.done():
                    await asyncio.wait([iterated], timeout=_LOOP_CHECK_S)
                    is_alive = loop.is_running()
                if not is_alive:
                    self._loops.pop(loop, None)


class AutoClock(ManualClock):
    """Virtual time that jumps to the earliest sleeper whenever no call is in flight and the program is idle."""

    def __init__(self) -> None:
        super().__init__()
        self._driver: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Wake all sleepers and stop moving."""
        super().close()
        if self._driver is not None:
            call_in_loop(self._driver.get_loop(), self._driver.cancel)

    def _start_moving(self) -> None:
        with self._lock:
            if self._driver is None or self._driver.done() or not self._driver.get_loop().is_running():
                # Not by the loop's task factory: an eager one would run the task here, while the lock is held.
                self._driver = asyncio.Task(self._drive(), loop=asyncio.get_running_loop())

    async def _drive(self) -> None:
        try:
            while True:
                await self.wait_until_idle()
                with self._lock:  # no sleeper may be added between the check and the end
                    when = self._next_event_time()
                    if when is None:
                        self._driver = None
                        return
                    self._wake_sleepers(when)
        except asyncio.CancelledError:
            self._move_driver()
            raise

    def _move_driver(self) -> None:
        """Continue in another loop that has sleepers, as this one ends."""
        with self._lock:
            self._driver = None
            loops = [] if self._is_closed else [future.get_loop() for *_, future in self._sleepers if not future.done()]
        for loop in loops:
            if loop is not asyncio.get_running_loop() and call_in_loop(loop, self._start_moving):
                break


def _expire(timeout: asyncio.Timeout) -> None:
    """End a timeout now. Runs in the timeout's event loop."""
    with suppress(RuntimeError):  # it has expired already, or its block has ended
        timeout.reschedule(asyncio.get_running_loop().time())


def make_clock(kind: ClockKind) -> EmulatorClock:
    """Return a clock of this kind."""
    return {"real": EmulatorClock, "manual": ManualClock, "auto": AutoClock}[kind]()
