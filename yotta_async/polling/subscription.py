"""Subscriptions to a pod's status or to whole lists, and what the polls have seen of each tracked pod. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

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


class PollRecord:
    """What became of requests: `in_flight`, `failed`, and the last failure with the number of its request."""

    __slots__ = ("failed", "in_flight", "last_error")

    def __init__(self) -> None:
        self.in_flight = 0
        self.failed = 0
        self.last_error: tuple[int, YottaError | None] = (0, None)

    def note_failure(self, request_number: int, error: YottaError) -> None:
        """Count a failure."""
        self.failed += 1
        self.last_error = (request_number, error)


class Subscriber(Protocol):
    """Whoever subscribes to a pod."""

    def is_interested_in(self, status: PodStatus | None, *, status_changed: bool) -> bool:
        """Whether to be notified of a pod with this status. Asked for the first one, and for every change."""
        ...

    def notify(self, observation: Observation) -> None:
        """Take an observation."""
        ...


class TrackedPod:
    """A pod with subscriptions, and how it was last observed."""

    __slots__ = (
        "absent_since",
        "index",
        "last_request",
        "needs_poll",
        "notify_every_poll",
        "observations",
        "pod_id",
        "record",
        "source",
        "status",
        "subscriptions",
    )

    def __init__(self, pod_id: str) -> None:
        self.pod_id = pod_id
        self.subscriptions: list[Subscription] = []
        self.notify_every_poll = 0  # how many of the subscriptions want every observation
        self.needs_poll = True  # one of them waits for its first observation
        self.status: PodStatus | None = None
        self.source: PodListSnapshot | Pod | None = None
        self.index = 0  # in the list, if the source is one
        self.last_request = 0  # the number of the request whose response showed it last
        self.absent_since = 0  # the number of the first request since then that did not find it; 0: none
        self.observations = 0
        self.record = PollRecord()  # of the requests for it alone

    def observe(
        self,
        status: PodStatus | None,
        request_number: int,
        now: float,
        source: PodListSnapshot | Pod,
        index: int = 0,
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
                if subscription.notify_every_poll or (
                    changed and subscription.subscriber.is_interested_in(status, status_changed=changed)
                ):
                    interested.append((subscription, changed))
        return interested

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


class Subscription:
    """One subscriber's interest in one pod, and its account of what was observed.

    There may be tens of thousands of them, so they are small.
    """

    __slots__ = (
        "_base",
        "_seen",
        "_shared",
        "began",
        "begins_after",
        "deadline",
        "interval",
        "notify_every_poll",
        "number",
        "subscriber",
        "tracked",
    )

    def __init__(
        self,
        subscriber: Subscriber,
        tracked: TrackedPod,
        shared: PollRecord,
        *,
        number: int,
        interval: float,
        began: float,
        deadline: float,
        begins_after: int,
        notify_every_poll: bool,
    ) -> None:
        self.subscriber = subscriber
        self.tracked = tracked
        self.number = number
        self.interval = interval
        self.began = began
        self.deadline = deadline
        self.begins_after = begins_after  # it takes responses to later requests only
        self.notify_every_poll = notify_every_poll
        self._shared = shared  # the record of the lists
        self._seen: tuple[Any, ...] = ()  # status, when, status, when, …: pairs would be one more object each
        self._base = (tracked.observations, tracked.record.failed, shared.failed)

    def note(self, status: PodStatus | None, now: float) -> bool:
        """Note an observed status, and return whether it is the first or differs from the one before."""
        if self._seen and self._seen[-2] == status:
            return False
        self._seen += (status, now - self.began)
        return True

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
        return self.tracked.record.failed - self._base[1] + self._shared.failed - self._base[2]

    @property
    def unanswered(self) -> int:
        """How many requests have been sent and not been answered yet."""
        return self.tracked.record.in_flight + self._shared.in_flight

    @property
    def last_pod(self) -> Pod | None:
        """The pod as it was last observed, or None if this subscription has not seen it."""
        return self.tracked.pod() if self._seen else None

    @property
    def last_error(self) -> YottaError | None:
        """The last failure of a poll."""
        errors = (self.tracked.record.last_error, self._shared.last_error)
        return max(errors, key=itemgetter(0))[1] if self.failures else None


class ListSubscription:
    """An interest in every whole list: `on_list` gets each, `on_error` the error that ends it.

    With `until_closed` it goes on while the client is being closed.
    """

    def __init__(
        self,
        on_list: Callable[[PodListSnapshot], None],
        on_error: Callable[[Exception], None],
        *,
        interval: float,
        begins_after: int,
        until_closed: bool,
    ) -> None:
        self.on_list = on_list
        self.on_error = on_error
        self.interval = interval
        self.begins_after = begins_after
        self.until_closed = until_closed
