"""Creating many pods: a few workers, a policy for all of them, and for each pod what became of it.

A worker sends creates one after another. Nobody waits for a pod to run: the hub tells a worker when one does, or does
not, and then it goes on to the next candidate or has the item's last word. Every pod is the client's to delete until
the report is handed over; so whatever cuts this off, what was started is deleted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from yotta_async.creation.creator import CreateAttempt, PodCreator
from yotta_async.creation.deletion import HOLD_SECONDS, wait_deferring_cancel
from yotta_async.errors import (
    ConfigurationError,
    PodFailedError,
    PodGoneError,
    WaitTimeoutError,
    YottaError,
)
from yotta_async.fleet.report import FanOutItem, FanOutReport, OnEvent, tell
from yotta_async.models.pod import Pod
from yotta_async.models.spec import Candidates, PodSpec
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import Observation
from yotta_async.polling.waiter import StatusWaiter, Targets
from yotta_async.transport.rate_limit import bulk_priority
from yotta_async.transport.retry import is_for_lack_of_capacity

# So many pods are deleted at a time: each has 30 s, and a client's pace is for all of them.
_REMOVALS = 16


class PodSlot:
    """One item on its way: its candidates, how many were tried, and its pod."""

    __slots__ = ("candidates", "errors", "item", "order", "pod_id", "tries", "waiter")

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self.tries = 0
        self.errors: tuple[YottaError, ...] = ()
        self.order: CreateAttempt | None = None
        self.pod_id: str | None = None
        self.waiter: StatusWaiter | None = None
        self.item: FanOutItem | None = None  # once its outcome is known


class CreateManyRun:
    """One `create_many`."""

    def __init__(
        self,
        poller: StatusPoller,
        creation: PodCreator,
        candidates: Sequence[Candidates],
        *,
        until: Targets | None,
        needed: int,
        concurrency: int,
        timeout: float,
        deadline: float,
        interval: float,
        on_event: OnEvent | None,
        made: Callable[[str, PodSpec], None],
    ) -> None:
        self._made = made
        self.poller = poller
        self.interval = interval
        self._creator = creation
        self._places = [PodSlot(each) for each in candidates]
        self._until = until
        self._needed = needed
        self._concurrency = concurrency
        self._timeout = timeout
        self._deadline = deadline
        self._on_event = on_event
        self._fresh = iter(self._places)
        self._seen: deque[tuple[PodSlot, Observation]] = deque()
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._open = len(self._places)
        self._lost = 0
        self._failure: BaseException | None = None  # what `on_event` raised
        self._stopping = False

    def _take(self, place: PodSlot, observation: Observation) -> None:
        """Let a worker go on with a pod; whatever is observed ends its wait."""
        if place.waiter is not None:
            place.waiter.close()
        self._seen.append((place, observation))
        self._wake.set()

    async def run(self) -> FanOutReport:
        """Create all, wait for all, and report; or delete all, and raise."""
        workers = [self._creator.own(self._work()) for _ in range(min(self._concurrency, len(self._places)))]
        ending = asyncio.ensure_future(self._over.wait())
        closing = asyncio.ensure_future(self._creator.closing.wait())
        sleeper = asyncio.ensure_future(self.poller.clock.sleep(max(0.0, self._deadline - self.poller.clock.time())))
        cancelled: asyncio.CancelledError | None = None
        try:
            if self._places:
                await asyncio.wait({ending, closing, sleeper}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as error:
            cancelled = error
        if closing.done() and not ending.done():
            self._failure = ConfigurationError("the YottaClient was closed during create_many: what it made is deleted")
        for each in (ending, closing, sleeper):
            each.cancel()
        self._stopping = True
        for place in self._places:
            if place.waiter is not None:
                place.waiter.close()
            if place.item is None:
                place.item = self._item(place, self._unfinished(place))
        for worker in workers:
            worker.cancel()
        report = self._report()
        if cancelled is None and self._failure is None and len(report.succeeded) >= self._needed:
            pod_ids = [place.pod_id for place in self._places if place.pod_id is not None]
            keeping = self._creator.own(self._creator.release(pod_ids))
            cancelled = await wait_deferring_cancel(keeping)
            if cancelled is None:
                return report
            await self._creator.reclaim(await keeping)
        cancelled = await wait_deferring_cancel(self._creator.own(self._take_back(workers)), cancelled)
        if cancelled is not None:
            raise cancelled
        if self._failure is not None:
            raise self._failure
        raise self._report().error(f"at least {self._needed} were wanted, so all that were started are deleted; ")

    def _report(self) -> FanOutReport:
        return FanOutReport(tuple(place.item for place in self._places if place.item is not None))

    def _item(self, place: PodSlot, error: YottaError | None, pod: Pod | None = None) -> FanOutItem:
        errors = place.errors if error is None or error in place.errors else (*place.errors, error)
        return FanOutItem(place.candidates[0], place.pod_id, pod, error, max(1, place.tries), errors)

    # What a worker does

    async def _work(self) -> None:
        with bulk_priority():
            while True:
                try:
                    if self._seen:
                        await self._go_on(*self._seen.popleft())
                    elif (place := next(self._fresh, None)) is not None:
                        await self._create(place)
                    else:
                        self._wake.clear()
                        await self._wake.wait()
                except BaseException as error:
                    if not self._stopping:  # else it is our own cancel
                        self._failure = error  # of `on_event`, anything
                        self._over.set()
                    if not isinstance(error, Exception):
                        raise
                    return

    async def _create(self, place: PodSlot) -> None:
        while True:
            spec = place.candidates[place.tries]
            place.tries += 1
            place.order = self._creator.order(delete_on_exit=True)
            try:
                place.pod_id = await self._creator.create(spec, place.order)
            except YottaError as error:
                place.errors += (error,)
                if place.tries < len(place.candidates) and is_for_lack_of_capacity(error):
                    continue
                await self._finish(place, error)
                return
            place.order = None
            self._made(place.pod_id, spec)
            if self._until is None:
                await self._finish(place, None)
                return
            if self._on_event is not None:
                await tell(self._on_event, self._item(place, None))
            left = max(0.001, self._deadline - self.poller.clock.time())
            place.waiter = StatusWaiter(
                self.poller,
                place.pod_id,
                self._until,
                timeout=left,
                interval=self.interval,
                on_observation=partial(self._take, place),
            )
            return

    async def _go_on(self, place: PodSlot, observation: Observation) -> None:
        if place.waiter is None:
            return  # it ended before
        try:
            pod = place.waiter.judge(observation)
        except YottaError as error:
            place.errors += (error,)
            if isinstance(error, PodFailedError) and len(place.candidates) > 1:
                await self._fall_back(place, error)
            else:
                last_pod = error.last_pod if isinstance(error, PodFailedError) else None
                await self._finish(place, error, last_pod)
        else:
            await self._finish(place, None, pod)

    async def _fall_back(self, place: PodSlot, error: PodFailedError) -> None:
        """Delete the pod that failed, and try the next candidate, if there is one."""
        removal = self._creator.end(place.pod_id or "")
        try:
            if removal is not None:
                await asyncio.shield(removal)
            place.pod_id = place.waiter = None
        except YottaError as left:
            place.errors += (left,)
            await self._finish(place, left)
            return
        if place.tries < len(place.candidates):
            await self._create(place)
            return
        text = f"{error} (all {place.tries} candidates failed: the image may be the cause)"
        last = PodFailedError(text, pod_id=error.pod_id, last_pod=error.last_pod, history=error.history)
        place.errors = (*place.errors[:-1], last)
        await self._finish(place, last)

    async def _finish(self, place: PodSlot, error: YottaError | None, pod: Pod | None = None) -> None:
        place.item = self._item(place, error, pod)
        if self._on_event is not None:
            await tell(self._on_event, place.item)
        self._open -= 1
        self._lost += error is not None
        if self._open == 0 or len(self._places) - self._lost < self._needed:
            self._over.set()

    # The end

    def _unfinished(self, place: PodSlot) -> YottaError:
        """Say of an item without an outcome what is known of it when everything ends."""
        when = f"within {self._timeout:g} s" if self.poller.clock.time() >= self._deadline else "before all of it ended"
        if place.waiter is not None and place.pod_id is not None:
            return place.waiter.build_error(
                WaitTimeoutError, f"it was not {' or '.join(sorted(self._until or ()))} {when}"
            )
        if place.pod_id is not None:
            goal = " or ".join(sorted(self._until or ()))
            text = f"pod {place.pod_id}: it was created, and not seen to be {goal} {when}"
            return WaitTimeoutError(text, pod_id=place.pod_id)
        if place.order is not None and place.order.send_state.request_sent:
            what = "It was still under way when the time was up; if it makes a pod, the client deletes that."
            return self._creator.unknown(place.order.token, what)
        return WaitTimeoutError(f"the create was not sent {when}")

    async def _take_back(self, workers: list[asyncio.Task[None]]) -> None:
        """Delete what was started, and let each item say so."""
        # A cancelled create waits for its outcome and deletes its pod.
        if workers:
            await asyncio.wait(workers, timeout=HOLD_SECONDS + 1)
        started = [place for place in self._places if place.pod_id is not None]
        at_once = min(self._concurrency, _REMOVALS)
        for first in range(0, len(started), at_once):
            removals = [(place, self._creator.end(place.pod_id or "")) for place in started[first : first + at_once]]
            running = [removal for _, removal in removals if removal is not None]
            if running:
                await asyncio.wait(running)
            for place, removal in removals:
                left = removal.exception() if removal is not None and not removal.cancelled() else None
                self._note_removal(place, left)

    def _note_removal(self, place: PodSlot, left: BaseException | None) -> None:
        item = place.item or self._item(place, None)
        if isinstance(left, YottaError):
            place.item = self._item(place, left, item.pod)
        elif item.error is None:
            text = f"pod {place.pod_id}: it was started, and is deleted again, as too many others were not"
            place.item = self._item(place, PodGoneError(text, pod_id=place.pod_id or ""), item.pod)
