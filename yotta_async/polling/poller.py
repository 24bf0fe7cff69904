"""The status hub: one poller for all waiters of a client.

While somebody watches a pod it looks every tick, and with nobody it holds no task and sends nothing. What a watcher is
told comes from an answer to a request that started after it began to watch. A pod that is missing from a list is asked
for by itself, and is gone only if that says so.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable

from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.errors import YottaError
from yotta_async.polling.looks import Looks
from yotta_async.polling.subscription import ListSubscription, Observation, Subscription, TrackedPod
from yotta_async.support.clock import Clock
from yotta_async.support.tasks import spawn

# A look is taken so long before a deadline, or a tenth of the wait if that is less.
_LAST_LOOK = 0.5
# Who begins to watch between ticks is served by a look of its own, but with many watching only after a pause in which
# others may come: so many seconds for each that watches.
_GATHER = 0.02


class StatusPoller:
    """One client's poller."""

    def __init__(self, endpoints: Endpoints, clock: Clock) -> None:
        self.clock = clock
        self.looks = Looks(endpoints, clock)
        self._intervals: Counter[float] = Counter()  # that anybody asked for
        # By number: a wait that ended before its deadline must not be kept until then, with all that it saw.
        self._timed: dict[int, Subscription] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._fresh = False  # somebody waits for a first look
        self._last_tick = -math.inf  # when all were looked at
        self._last_look = -math.inf  # when any were: those that came between ticks do not put off the others' tick
        self._jitter = 1.0
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._woken: asyncio.Future[None] | None = None

    def watch(self, watch: Subscription, pod_id: str) -> TrackedPod:
        """Take a new watch up; its own constructor calls this."""
        if self._task is None or self._task.get_loop() is not asyncio.get_running_loop():
            self.looks.check()
        entry = self.looks.entries.get(pod_id)
        if entry is None:
            entry = self.looks.entries[pod_id] = TrackedPod(pod_id)
        entry.watches.append(watch)
        entry.notify_every_poll += watch.notify_every_poll
        self._intervals[watch.interval] += 1
        if watch.deadline < math.inf:
            watch.number = next(self._numbers)
            self._timed[watch.number] = watch
            heapq.heappush(self._deadlines, (watch.deadline, watch.number))
        self.request_poll(entry)
        return entry

    def unsubscribe(self, watch: Subscription) -> None:
        """Forget a watch. The last one ends the polling."""
        entry = watch.entry
        if watch not in entry.watches:
            return
        entry.watches.remove(watch)
        entry.notify_every_poll -= watch.notify_every_poll
        self._drop(watch.interval)
        if not entry.watches:
            del self.looks.entries[entry.pod_id]
        self._timed.pop(watch.number, None)
        if len(self._deadlines) > 2 * len(self._timed) + 64:
            self._deadlines = [(watch.deadline, number) for number, watch in self._timed.items()]
            heapq.heapify(self._deadlines)
        if not self._intervals:
            self._wake()

    def subscribe_list(
        self,
        *,
        interval: float,
        see: Callable[[PodListSnapshot], None],
        over: Callable[[Exception], None],
        to_the_end: bool = False,
    ) -> ListSubscription:
        """Begin to watch all pods; close what this returns. `to_the_end`: go on while the client is being closed."""
        self.looks.check()
        subscribe_list = ListSubscription(self.looks.sent, interval, see, over, to_the_end=to_the_end)
        subscribe_list.close = lambda: self._unsubscribe_list(subscribe_list)
        self.looks.surveys.append(subscribe_list)
        self._intervals[interval] += 1
        self._begin()
        return subscribe_list

    def _unsubscribe_list(self, subscribe_list: ListSubscription) -> None:
        if subscribe_list in self.looks.surveys:
            self.looks.surveys.remove(subscribe_list)
            self._drop(subscribe_list.interval)
            self._wake()

    def _drop(self, interval: float) -> None:
        self._intervals[interval] -= 1
        if not self._intervals[interval]:
            del self._intervals[interval]

    def request_poll(self, entry: TrackedPod) -> None:
        """Note that somebody waits for a look that starts from now on."""
        entry.needs_poll = True
        self._begin()

    def close(self, error: YottaError) -> None:
        """Tell every watcher that it is over."""
        self.looks.end(None, error, closing=True)

    # The loop

    def _begin(self) -> None:
        self._fresh = True
        self._wake()
        if self._task is None:
            self._task = spawn(self._run())

    async def _run(self) -> None:
        try:
            while self._intervals:
                now = self.clock.time()
                if self.looks.notifying:
                    await asyncio.sleep(0)  # what was seen in time counts before a deadline that passes meanwhile
                    continue
                self._expire(now)
                if not self._intervals:
                    break
                wake = self._deadlines[0][0] if self._deadlines else math.inf
                if self._looking is None:
                    due = self._due()
                    if now >= due:
                        self._looking = spawn(self._look(regular=now >= self._tick()))
                    else:
                        wake = min(wake, due)
                await self._sleep(wake - now)
        except Exception as error:  # noqa: BLE001  # a fault of ours must not leave anyone waiting
            self.looks.end(None, error)
        finally:
            # Nothing is awaited between the last look at `_intervals` and here, so no watcher can come unseen.
            self._task = None
            if self._looking is not None:
                self._looking.cancel()
                self._looking = None
            self.looks.stop()

    async def _sleep(self, seconds: float) -> None:
        """Sleep by the client's clock until then, or until something happens."""
        self._woken = asyncio.get_running_loop().create_future()
        sleeper = asyncio.ensure_future(self.clock.sleep(seconds)) if seconds < math.inf else None
        try:
            await asyncio.wait(
                {self._woken, sleeper} if sleeper else {self._woken}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._woken = None
            if sleeper is not None:
                sleeper.cancel()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _tick(self) -> float:
        """Return when the next regular look is due."""
        tick = self._last_tick + min(self._intervals) * self._jitter
        if self._deadlines:
            deadline, number = self._deadlines[0]
            last_look = deadline - min(_LAST_LOOK, (deadline - self._timed[number].began) / 10)
            if self._last_tick < last_look < tick:
                tick = max(last_look, self._gathered())
        return tick

    def _gathered(self) -> float:
        """Return when a look between ticks may begin."""
        return self._last_look + min(min(self._intervals), _GATHER * len(self.looks.entries))

    def _due(self) -> float:
        """Return when the next look of any kind is due."""
        due = min(self._tick(), self._gathered()) if self._fresh else self._tick()
        return max(due, self.looks.blocked_until)

    def _expire(self, now: float) -> None:
        """Tell those whose time is up, and forget the deadlines of those who ended before."""
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][1] not in self._timed):
            watch = self._timed.get(heapq.heappop(self._deadlines)[1])
            if watch is not None:
                watch.tell(Observation("late"))
                self.unsubscribe(watch)

    async def _look(self, *, regular: bool) -> None:
        self._last_look = began = self.clock.time()
        # Spread, so that the clients of a fleet that was started together do not stay together.
        self._jitter = random.uniform(0.9, 1.1)  # noqa: S311  # spreads load, hides nothing
        self._fresh = False
        wanted = [entry for entry in self.looks.entries.values() if regular or entry.needs_poll]
        try:
            if await self.looks.look(wanted, pause=min(self._intervals, default=1.0)) or regular:
                self._last_tick = began
        finally:
            self._looking = None
            self._wake()
