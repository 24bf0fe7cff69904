"""Subscriptions to a pod's status or to whole lists, and what the polls have seen of each tracked pod. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import attrs

from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.errors import YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus
from yotta_async.models.validators import seconds

PollInterval: TypeAlias = float | Callable[[float], float]
"""Seconds between two polls, or a function from the age of a wait to such seconds, so that old waits can back off."""


def check_interval(interval: PollInterval) -> PollInterval:
    """Return an interval that a caller gave. Raises InvalidRequestError."""
    return interval if callable(interval) else seconds("poll_interval", interval)


def interval_at(interval: PollInterval, age: float) -> float:
    """Return the interval of a wait of this age, in seconds. Raises InvalidRequestError, and what a function raises."""
    return seconds("poll_interval(age)", interval(age)) if callable(interval) else interval


class ObservationKind(Enum):
    """What a subscriber is notified of."""

    OBSERVED = "observed"  # a response showed the pod
    NOT_FOUND = "not found"  # two different requests say that the pod is gone
    CLOSED = "closed"  # polling has ended, with an error
    TIMED_OUT = "timed out"  # the deadline of the subscription has passed


class Observation(NamedTuple):
    """One notification. `status_changed` is relative to what the same subscriber saw before."""

    kind: ObservationKind
    pod: Pod | None = None
    status_changed: bool = False
    error: Exception | None = None


@attrs.define(eq=False)
class PollRecord:
    """What became of requests: `in_flight`, `failed`, and the last failure with the number of its request."""

    in_flight: int = 0
    failed: int = 0
    last_error: tuple[int, YottaError | None] = (0, None)

    def note_failure(self, request_number: int, error: YottaError) -> None:
        """Count a failure."""
        self.failed += 1
        self.last_error = (request_number, error)


@attrs.define(eq=False)
class TrackedPod:
    """A pod with subscriptions, and how it was last observed."""

    pod_id: str
    subscriptions: list[Subscription] = attrs.field(factory=list)
    notify_every_poll: int = 0  # how many of the subscriptions want every observation
    needs_poll: bool = True  # one of them waits for its first observation
    status: PodStatus | None = None
    source: PodListSnapshot | Pod | None = None
    index: int = 0  # in the list, if the source is one
    last_request: int = 0  # the number of the request whose response showed it last
    absent_since: int = 0  # the number of the first request since then that did not find it; 0: none
    observations: int = 0
    record: PollRecord = attrs.field(factory=PollRecord)  # of the requests for it alone

    def observe(
        self,
        status: PodStatus | None,
        request_number: int,
        now: float,
        source: PodListSnapshot | Pod,
        index: int,
    ) -> list[tuple[Subscription, bool]]:
        """Note how a response shows the pod; return the subscriptions to notify, and whether it has changed for them.

        A late response, overtaken by that to a later request, changes nothing.
        """
        if request_number < self.last_request:
            return []
        self.last_request, self.source, self.index = request_number, source, index
        self.absent_since = 0
        self.observations += 1
        if status == self.status and not self.needs_poll and not self.notify_every_poll:
            return []
        self.status = status
        self.needs_poll = False
        interested = []
        for subscription in self.subscriptions:
            if subscription.begins_after >= request_number:
                self.needs_poll = True  # it wants a response to a request that starts later
            else:
                changed = subscription.note(status, now)
                is_interested_in = subscription.is_interested_in
                if is_interested_in is None or (changed and is_interested_in(status)):
                    interested.append((subscription, changed))
        return interested

    def retract(self, interested: list[tuple[Subscription, bool]]) -> None:
        """Take back what `observe` noted, as the pod cannot be read in that response, and wait for another one."""
        self.needs_poll = True
        self.last_request = 0
        for subscription, changed in interested:
            if changed:
                subscription.retract()

    def note_absence(self, request_number: int) -> bool:
        """Note that a request did not find the pod; return whether it is gone.

        One wrong answer must not write a running pod off, so it is gone when two different requests, both sent after it
        was last seen, say so. For a pod that was seen on its way out one is enough.
        """
        if request_number <= self.last_request:
            return False
        if self.status is not None and self.status.is_being_deleted:
            return True
        if not self.absent_since:
            self.absent_since = request_number
        return request_number > self.absent_since

    def pod(self) -> Pod | None:
        """Return the pod as it was last observed; it is built only now if it came in a list."""
        if isinstance(self.source, PodListSnapshot):
            self.source = self.source.pod(self.index)
        return self.source

    def is_awaited(self, request_number: int) -> bool:
        """Whether a subscription takes the response to this request."""
        return any(subscription.begins_after < request_number for subscription in self.subscriptions)


@attrs.define(eq=False, kw_only=True)
class Subscription:
    """One subscriber's interest in one pod, and its account of what was observed.

    `is_interested_in` is asked about the first status that is observed and about every change; None: the subscriber is
    notified of each poll. There may be tens of thousands of subscriptions, so they are small.
    """

    notify: Callable[[Observation], None]
    is_interested_in: Callable[[PodStatus | None], bool] | None
    tracked: TrackedPod
    number: int
    poll_interval: PollInterval
    interval: float  # what `poll_interval` is at its present age
    began: float
    deadline: float
    begins_after: int  # it takes responses to later requests only
    _lists: PollRecord
    _seen: tuple[Any, ...] = ()  # status, when, status, when, …: pairs would be one more object each
    _base: tuple[int, int, int] = attrs.field(init=False)

    @_base.default
    def _count(self) -> tuple[int, int, int]:
        return (self.tracked.observations, self.tracked.record.failed, self._lists.failed)

    def note(self, status: PodStatus | None, now: float) -> bool:
        """Note an observed status, and return whether it is the first or differs from the one before."""
        if self._seen and self._seen[-2] == status:
            return False
        self._seen += (status, now - self.began)
        return True

    def retract(self) -> None:
        """Take back the status that was noted last."""
        self._seen = self._seen[:-2]

    @property
    def history(self) -> tuple[tuple[PodStatus | None, float], ...]:
        """Each status that was observed, with the seconds since the subscription began."""
        return tuple(zip(self._seen[::2], self._seen[1::2], strict=True))

    @property
    def polls(self) -> int:
        """How many polls were answered or failed."""
        return self.tracked.observations - self._base[0] + self.failures

    @property
    def failures(self) -> int:
        """How many polls failed."""
        return self.tracked.record.failed - self._base[1] + self._lists.failed - self._base[2]

    @property
    def unanswered(self) -> int:
        """How many requests have been sent and not been answered yet."""
        return self.tracked.record.in_flight + self._lists.in_flight

    @property
    def last_pod(self) -> Pod | None:
        """The pod as it was last observed, or None if this subscription has not seen it."""
        return self.tracked.pod() if self._seen else None

    @property
    def last_error(self) -> YottaError | None:
        """The last failure of a poll."""
        errors = (self.tracked.record.last_error, self._lists.last_error)
        return max(errors, key=itemgetter(0))[1] if self.failures else None


@attrs.frozen(eq=False)
class ListSubscription:
    """An interest in every whole list: `on_list` gets each, `on_error` the error that ends it.

    With `until_closed` it goes on while the client is being closed.
    """

    on_list: Callable[[PodListSnapshot], None]
    on_error: Callable[[Exception], None]
    interval: float
    begins_after: int
    until_closed: bool
