"""Polls pod status for all subscribers of a client; runs only while there are subscribers.

A subscriber is notified only of responses to requests that started after it subscribed. A pod that a list does not
show is asked for by itself, and is gone only when two different requests say so.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeAlias

from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    YottaError,
)
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus
from yotta_async.polling.recent_pods import RecentPods
from yotta_async.polling.schedule import PollSchedule
from yotta_async.polling.strategy import FetchMode, PollStrategy
from yotta_async.polling.subscription import (
    ListSubscription,
    Observation,
    ObservationKind,
    PollInterval,
    PollRecord,
    Subscription,
    TrackedPod,
    interval_at,
)
from yotta_async.support.clock import Clock, wait_within
from yotta_async.support.tasks import spawn

# No later poll will change these.
PERMANENT_ERRORS = (BadRequestError, AuthenticationError, PermissionDeniedError, ConfigurationError)
# Single gets in flight at a time, and how many recently created pods are asked for by themselves in one poll.
_MAX_GETS_IN_FLIGHT = 16
# Some 10 ms: the pods whose subscribers are notified before the event loop runs other tasks.
_NOTIFY_BATCH_SIZE = 500
# How long, in real time, other pods wait for a get that is not answered.
_MAX_GET_DELAY_S = 1.0

_ToNotify: TypeAlias = tuple[TrackedPod, int, list[tuple[Subscription, bool]]]  # with the pod's index in a list


class StatusPoller:
    """One client's poller. All its subscriptions share the same requests."""

    def __init__(self, endpoints: Endpoints, clock: Clock) -> None:
        self.clock = clock
        self.recently_created = RecentPods(clock)
        """That one of these is not found does not mean that it is gone."""
        self._recently_deleted = RecentPods(clock)
        self._endpoints = endpoints
        self._schedule = PollSchedule()
        self._strategy = PollStrategy()
        self._tracked: dict[str, TrackedPod] = {}
        self._lists = PollRecord()
        self.last_list_error: YottaError | None = None  # why the last list failed; None if it did not
        self._list_subscriptions: list[ListSubscription] = []
        self._subscriptions: dict[int, Subscription] = {}  # by number
        self._numbers = itertools.count()
        self._requests = 0
        self._is_notifying = False
        self._loop_task: asyncio.Task[None] | None = None
        self._poll_task: asyncio.Task[None] | None = None
        self._get_tasks: set[asyncio.Task[None]] = set()
        self._wakeup: asyncio.Future[None] | None = None

    # Subscriptions

    def subscribe(
        self,
        pod_id: str,
        notify: Callable[[Observation], None],
        is_interested_in: Callable[[PodStatus | None], bool] | None = None,
        *,
        interval: PollInterval,
        timeout: float,
    ) -> Subscription:
        """Begin to poll a pod, until `unsubscribe` or for `timeout` seconds; see `Subscription`."""
        self._endpoints.check()
        first_interval = interval_at(interval, 0.0)
        tracked = self._tracked.get(pod_id)
        if tracked is None:
            tracked = self._tracked[pod_id] = TrackedPod(pod_id)
            if pod_id in self._recently_deleted:
                self._note_absence(tracked)
        now = self.clock.time()
        subscription = Subscription(
            notify=notify,
            is_interested_in=is_interested_in,
            tracked=tracked,
            number=next(self._numbers),
            poll_interval=interval,
            interval=first_interval,
            began=now,
            deadline=now + timeout,
            begins_after=self._requests,
            lists=self._lists,
        )
        self._subscriptions[subscription.number] = subscription
        tracked.subscriptions.append(subscription)
        tracked.notify_every_poll += is_interested_in is None
        self._schedule.add_interval(first_interval)
        self._schedule.add_deadline(subscription.number, now, subscription.deadline)
        self._request_early_poll(tracked)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription, if it has not ended. The last one ends the polling."""
        if self._subscriptions.pop(subscription.number, None) is None:
            return
        tracked = subscription.tracked
        tracked.subscriptions.remove(subscription)
        tracked.notify_every_poll -= subscription.is_interested_in is None
        if not tracked.subscriptions:
            del self._tracked[tracked.pod_id]
        self._schedule.remove_deadline(subscription.number, subscription.deadline)
        self._schedule.remove_interval(subscription.interval)
        if self._schedule.is_idle():
            self._wake()

    def poll_again(self, subscription: Subscription) -> None:
        """Notify a subscription only of responses to requests that start from now on, and poll soon."""
        subscription.begins_after = self._requests
        self._request_early_poll(subscription.tracked)

    def note_deleted(self, pod_id: str) -> None:
        """Note that the API accepted a delete, or did not find the pod: one more "not found", and it is gone."""
        self.recently_created.discard(pod_id)
        self._recently_deleted.add(pod_id)
        if pod_id in self._tracked:
            self._note_absence(self._tracked[pod_id])

    def _note_absence(self, tracked: TrackedPod) -> None:
        self._requests += 1
        tracked.note_absence(self._requests)

    def subscribe_list(
        self,
        *,
        interval: float,
        on_list: Callable[[PodListSnapshot], None],
        on_error: Callable[[Exception], None],
        until_closed: bool = False,
    ) -> ListSubscription:
        """Begin to poll all pods by lists, until `unsubscribe_list`."""
        self._endpoints.check()
        subscription = ListSubscription(
            on_list, on_error, interval, begins_after=self._requests, until_closed=until_closed
        )
        self._list_subscriptions.append(subscription)
        self._schedule.add_interval(interval)
        self._start()
        return subscription

    def unsubscribe_list(self, subscription: ListSubscription) -> None:
        """End a subscription to lists, if it has not ended."""
        if subscription in self._list_subscriptions:
            self._list_subscriptions.remove(subscription)
            self._schedule.remove_interval(subscription.interval)
            self._wake()

    def close(self, error: YottaError) -> None:
        """End every subscription with this error, but for those to lists that go on until the client is closed."""
        self._end_all(error, is_closing=True)

    # The loop

    def _request_early_poll(self, tracked: TrackedPod) -> None:
        tracked.needs_poll = True
        self._start()

    def _start(self) -> None:
        self._schedule.request_early_poll()
        self._wake()
        if self._loop_task is None:
            self._loop_task = self._spawn(self._run())

    async def _run(self) -> None:
        try:
            while not self._schedule.is_idle():
                if self._is_notifying:
                    await asyncio.sleep(0)  # what was observed in time counts before a deadline that passes meanwhile
                    continue
                now = self.clock.time()
                self._end_expired(now)
                if self._schedule.is_idle():
                    break
                if self._poll_task is None and now >= self._schedule.next_poll(len(self._tracked)):
                    self._poll_task = self._spawn(self._poll())
                wakeup = self._schedule.next_wakeup(len(self._tracked), is_polling=self._poll_task is not None)
                await self._sleep(wakeup - now)
        finally:
            # Nothing is awaited between the last check for subscriptions and here, so none can be overlooked.
            self._loop_task = None
            if self._poll_task is not None:
                self._poll_task.cancel()
                self._poll_task = None
            for task in self._get_tasks:
                task.cancel()

    async def _sleep(self, seconds: float) -> None:
        """Sleep by the client's clock, or until `_wake`."""
        self._wakeup = asyncio.get_running_loop().create_future()
        await wait_within(self.clock, seconds, self._wakeup)

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def _end_expired(self, now: float) -> None:
        for number in self._schedule.pop_expired(now):
            subscription = self._subscriptions[number]
            subscription.notify(Observation(ObservationKind.TIMED_OUT))
            self.unsubscribe(subscription)

    def _update_intervals(self, now: float) -> None:
        """Ask the functions of those waits that back off for their intervals."""
        for subscription in [each for each in self._subscriptions.values() if callable(each.poll_interval)]:
            try:
                interval = interval_at(subscription.poll_interval, now - subscription.began)
            except Exception as error:  # noqa: BLE001  # a user's function may raise anything, and ends its own wait only
                self._end(subscription, error)
            else:
                self._schedule.add_interval(interval)
                self._schedule.remove_interval(subscription.interval)
                subscription.interval = interval

    # One poll

    async def _poll(self) -> None:
        began = self.clock.time()
        self._update_intervals(began)
        is_regular = self._schedule.begin_poll(began, len(self._tracked))
        wanted = [tracked for tracked in self._tracked.values() if is_regular or tracked.needs_poll]
        mode: FetchMode = "list"
        try:
            if not self._list_subscriptions:
                expected = Counter([tracked.status for tracked in self._tracked.values()])
                mode = self._strategy.choose(len(wanted), expected, self._schedule.interval)
            if mode == "gets":
                await self._get_each(wanted)
            else:
                await self._poll_list(() if mode == "list" else mode)
        finally:
            if is_regular or mode != "gets":
                self._schedule.note_all_polled(began)
            self._poll_task = None
            self._wake()

    async def _poll_list(self, statuses: Collection[PodStatus]) -> None:
        """Poll by one list, filtered by `statuses` if there are any; then get the pods that it did not show."""
        self._requests = number = self._requests + 1
        self._lists.in_flight += 1
        try:
            snapshot = await self._endpoints.snapshot_once(statuses)
        except PERMANENT_ERRORS as error:
            if not (isinstance(error, BadRequestError) and statuses):
                self._end_all(error)
                return
            self._strategy.disable_filter()  # the filter was the strategy's idea, and no subscriber's
            await self._poll_list(())
            return
        except YottaError as error:
            self._lists.note_failure(number, error)
            self.last_list_error = error
            self._slow_down(error)
            return
        finally:
            self._lists.in_flight -= 1
        self._schedule.note_success()
        self.last_list_error = None
        for subscription in tuple(self._list_subscriptions):
            if subscription.begins_after < number:  # so there was no reason for a filter
                subscription.on_list(snapshot)
        self._strategy.note_list(
            statuses, Counter([summary.status for summary in snapshot.summaries if summary is not None])
        )
        await self._notify(snapshot, self._observe_list(snapshot, number))
        snapshot.summaries.clear()
        missing = [
            tracked
            for tracked in self._tracked.values()
            if tracked.last_request < number and tracked.is_awaited(number)
        ]
        if not statuses:
            for tracked in missing:
                tracked.note_absence(number)
            missing = self._without_most_recently_created(missing)
        elif self._strategy.is_list_better(len(missing), self._schedule.interval):
            await self._poll_list(())
            return
        await self._get_each(missing)

    def _observe_list(self, snapshot: PodListSnapshot, number: int) -> list[_ToNotify]:
        """Note how a list shows the tracked pods, and return whom to notify of which of them."""
        to_notify: list[_ToNotify] = []
        now = self.clock.time()
        for index, summary in enumerate(snapshot.summaries):
            if summary is not None and (tracked := self._tracked.get(summary.id)) is not None:
                interested = self._observe(tracked, summary.status, number, now, snapshot, index)
                if interested:
                    to_notify.append((tracked, index, interested))
        return to_notify

    def _observe(
        self,
        tracked: TrackedPod,
        status: PodStatus | None,
        number: int,
        now: float,
        source: PodListSnapshot | Pod,
        index: int = 0,
    ) -> list[tuple[Subscription, bool]]:
        self.recently_created.discard(tracked.pod_id)
        if status != tracked.status:
            self._strategy.note_arrival(status)
        return tracked.observe(status, number, now, source, index)

    async def _notify(self, snapshot: PodListSnapshot, to_notify: list[_ToNotify]) -> None:
        self._is_notifying = True
        try:
            for first in range(0, len(to_notify), _NOTIFY_BATCH_SIZE):
                if first:
                    await asyncio.sleep(0)
                for tracked, index, interested in to_notify[first : first + _NOTIFY_BATCH_SIZE]:
                    pod = snapshot.pod(index)
                    if pod is None:
                        tracked.retract(interested)  # a get may show what cannot be read in this list
                        continue
                    if tracked.source is snapshot:
                        tracked.source = pod
                    self._notify_of(pod, interested)
        finally:
            self._is_notifying = False

    def _notify_of(self, pod: Pod, interested: list[tuple[Subscription, bool]]) -> None:
        for subscription, changed in interested:
            if subscription.number in self._subscriptions:  # it may have ended since
                subscription.notify(Observation(ObservationKind.OBSERVED, pod, changed))

    def _without_most_recently_created(self, missing: list[TrackedPod]) -> list[TrackedPod]:
        """Leave out all but a few recently created pods, chosen by chance: a lagging list can miss thousands."""
        recent = [tracked for tracked in missing if tracked.pod_id in self.recently_created]
        left_out = set(random.sample(recent, max(0, len(recent) - _MAX_GETS_IN_FLIGHT)))
        return [tracked for tracked in missing if tracked not in left_out]

    async def _get_each(self, wanted: list[TrackedPod]) -> None:
        """Get each pod, some at a time. A get that is not answered goes on by itself, and delays no other for long."""
        for first in range(0, len(wanted), _MAX_GETS_IN_FLIGHT):
            if self.clock.time() < self._schedule.blocked_until:
                return  # the API wants fewer requests: the rest is for the next poll
            chunk = wanted[first : first + _MAX_GETS_IN_FLIGHT]
            gets = [self._start_get(tracked) for tracked in chunk if _may_get(tracked)]
            if gets:
                await asyncio.wait(gets, timeout=min(_MAX_GET_DELAY_S, self._schedule.interval))

    def _start_get(self, tracked: TrackedPod) -> asyncio.Task[None]:
        def on_done(task: asyncio.Task[None]) -> None:
            tracked.record.in_flight -= 1
            self._get_tasks.discard(task)

        tracked.record.in_flight += 1
        task = self._spawn(self._get(tracked))
        self._get_tasks.add(task)
        task.add_done_callback(on_done)
        return task

    async def _get(self, tracked: TrackedPod) -> None:
        self._requests = number = self._requests + 1
        try:
            pod = await self._endpoints.get_once(tracked.pod_id)
        except AuthenticationError as error:
            self._end_all(error)
        except PERMANENT_ERRORS as error:
            # A bad id, or another organization's pod: the pods of other subscribers may be well.
            for subscription in tuple(tracked.subscriptions):
                self._end(subscription, error)
        except YottaError as error:
            tracked.record.note_failure(number, error)
            self._slow_down(error)
            if isinstance(error, NotFoundError) and tracked.pod_id not in self.recently_created:
                self._note_not_found(tracked, number, error)
        else:
            self._schedule.note_success()
            self._notify_of(pod, self._observe(tracked, pod.status, number, self.clock.time(), pod))

    def _note_not_found(self, tracked: TrackedPod, number: int, error: NotFoundError) -> None:
        if not tracked.note_absence(number):
            return
        for subscription in tuple(tracked.subscriptions):
            if subscription.begins_after < number:
                subscription.notify(Observation(ObservationKind.NOT_FOUND, error=error))

    # Ends

    def _end(self, subscription: Subscription, error: Exception) -> None:
        subscription.notify(Observation(ObservationKind.CLOSED, error=error))
        self.unsubscribe(subscription)

    def _end_all(self, error: Exception, *, is_closing: bool = False) -> None:
        for subscription in tuple(self._subscriptions.values()):
            self._end(subscription, error)
        for list_subscription in tuple(self._list_subscriptions):
            if not (is_closing and list_subscription.until_closed):
                list_subscription.on_error(error)
                self.unsubscribe_list(list_subscription)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in a task, and end all subscriptions if it fails: a fault of ours must not leave a subscriber waiting."""

        def on_done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._end_all(error if isinstance(error, Exception) else RuntimeError(type(error).__name__))

        task = spawn(work)
        task.add_done_callback(on_done)
        return task

    def _slow_down(self, error: YottaError) -> None:
        retry_after = error.retry_after if isinstance(error, APIError | ProtocolError) else None
        if retry_after is not None or isinstance(error, RateLimitError):
            self._schedule.note_rate_limit(self.clock.time(), retry_after)


def _may_get(tracked: TrackedPod) -> bool:
    # A subscription that began while a get was in flight needs one that starts later.
    return bool(tracked.subscriptions) and tracked.record.in_flight < (2 if tracked.needs_poll else 1)
