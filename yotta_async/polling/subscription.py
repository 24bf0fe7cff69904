"""One watcher's eye on one pod, or on all: what it wants to be told, and its account of what was seen."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.errors import YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus

if TYPE_CHECKING:
    from yotta_async.polling.poller import StatusPoller


class Observation(NamedTuple):
    """What a watcher is told: the pod as seen, or that it is gone, that watching is over, or that its time is up."""

    kind: Literal["seen", "gone", "over", "late"]
    pod: Pod | None = None
    status_changed: bool = False
    error: Exception | None = None


Wanting: TypeAlias = "list[tuple[Subscription, bool]]"
"""Who wants to be told of a pod, and whether it has moved since they saw it."""


class TrackedPod:
    """A pod that is watched, and how it was last seen."""

    __slots__ = (
        "asking",
        "errors",
        "index",
        "last_error",
        "looks",
        "needs_poll",
        "notify_every_poll",
        "pod_id",
        "sent",
        "source",
        "status",
        "watches",
    )

    def __init__(self, pod_id: str) -> None:
        self.pod_id = pod_id
        self.watches: list[Subscription] = []
        self.notify_every_poll = 0  # how many of them want every look
        self.needs_poll = True  # one of them waits for its first look
        self.status: PodStatus | None = None
        self.source: PodListSnapshot | Pod | None = None
        self.index = 0
        self.sent = 0  # the number of the request whose answer showed it last
        self.asking = 0  # how many requests for it alone are on their way
        self.looks = 0
        self.errors = 0
        self.last_error: tuple[int, YottaError | None] = (0, None)

    def pod(self) -> Pod | None:
        """Return the pod as it was last seen; only now is it built, when it came in a list."""
        if isinstance(self.source, PodListSnapshot):
            self.source = self.source.pod(self.index)
        return self.source

    def tell(self, pod: Pod | None, wanting: Wanting) -> None:
        """Tell them of the pod; one that cannot be read in an answer wants another one."""
        if pod is None:
            self.needs_poll = True
            self.sent = 0
            return
        for watch, status_changed in wanting:
            if watch in self.watches:  # it may have ended in the loop's turn before
                watch.tell(Observation("seen", pod, status_changed))


class Subscription:
    """One watcher's eye on one pod, and its account of what was seen. What it makes of it, a subclass says.

    `wants` is asked about the first look and about every new status, and with `every` about each look; what it wants
    goes to `tell`. There may be tens of thousands of them, so they are small.
    """

    __slots__ = (
        "_base",
        "_poller",
        "_seen",
        "began",
        "deadline",
        "entry",
        "interval",
        "notify_every_poll",
        "number",
        "since",
    )

    def __init__(
        self, poller: StatusPoller, pod_id: str, *, interval: float, timeout: float, notify_every_poll: bool = False
    ) -> None:
        self._poller = poller
        self.interval = interval
        self.notify_every_poll = notify_every_poll
        self.began = poller.clock.time()
        self.deadline = self.began + timeout
        self.number = -1  # in the order of watches with a deadline
        self._seen: tuple[Any, ...] = ()  # status, when, status, when, …: pairs are one object more each
        self.since = poller.looks.sent  # it is told of answers to later requests only
        self.entry = poller.watch(self, pod_id)
        self._base = (self.entry.looks, self.entry.errors, poller.looks.errors)

    def is_interested_in(self, status: PodStatus | None, status_changed: bool) -> bool:  # noqa: FBT001  # asked for each pod of each look
        """Say whether to be told of a pod with this status; `moved`: it was seen with another one before."""
        raise NotImplementedError

    def tell(self, observation: Observation) -> None:
        """Take what was seen."""
        raise NotImplementedError

    def note(self, status: PodStatus | None, now: float) -> bool:
        """Note a status that was seen, and say whether it is another than before."""
        if self._seen and self._seen[-2] == status:
            return False
        self._seen += (status, now - self.began)
        return True

    @property
    def history(self) -> tuple[tuple[PodStatus | None, float], ...]:
        """The statuses that were seen, each with how many seconds after the beginning that was first so."""
        return tuple(zip(self._seen[::2], self._seen[1::2], strict=True))

    @property
    def looks(self) -> int:
        """How many polls there were, those that failed included."""
        return self.entry.looks - self._base[0] + self.errors

    @property
    def errors(self) -> int:
        """How many of the polls failed."""
        return self.entry.errors - self._base[1] + self._poller.looks.errors - self._base[2]

    @property
    def last_pod(self) -> Pod | None:
        """The pod as it was last seen, or None when this watch did not see it."""
        return self.entry.pod() if self._seen else None

    @property
    def last_error(self) -> YottaError | None:
        """The last failure of a poll."""
        return max(self.entry.last_error, self._poller.looks.last_error, key=itemgetter(0))[1] if self.errors else None

    def renew(self) -> None:
        """Be told only of answers to what is asked from now on."""
        self.since = self._poller.looks.sent
        self._poller.request_poll(self.entry)

    def close(self) -> None:
        """Watch no more."""
        self._poller.unsubscribe(self)


class ListSubscription:
    """One watcher's eye on all pods: `see` gets every whole list, `over` the error that ends it."""

    def __init__(
        self,
        since: int,
        interval: float,
        see: Callable[[PodListSnapshot], None],
        over: Callable[[Exception], None],
        *,
        to_the_end: bool,
    ) -> None:
        self.to_the_end = to_the_end  # it goes on while the client is being closed
        self.since = since
        self.interval = interval
        self.see = see
        self.over = over
        self.close: Callable[[], None] = lambda: None
