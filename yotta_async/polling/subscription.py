"""One watcher's eye on one pod, or on all: what it wants to be told, and its account of what was seen."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from yotta_async.api.pod_list import Listing
from yotta_async.errors import YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus

if TYPE_CHECKING:
    from yotta_async.polling.poller import Hub


class Sighting(NamedTuple):
    """What a watcher is told: the pod as seen, or that it is gone, that watching is over, or that its time is up."""

    kind: Literal["seen", "gone", "over", "late"]
    pod: Pod | None = None
    moved: bool = False
    error: Exception | None = None


Wanting: TypeAlias = "list[tuple[Watch, bool]]"
"""Who wants to be told of a pod, and whether it has moved since they saw it."""


class Entry:
    """A pod that is watched, and how it was last seen."""

    __slots__ = (
        "asking",
        "errors",
        "every",
        "fresh",
        "index",
        "last_error",
        "looks",
        "pod_id",
        "sent",
        "source",
        "status",
        "watches",
    )

    def __init__(self, pod_id: str) -> None:
        self.pod_id = pod_id
        self.watches: list[Watch] = []
        self.every = 0  # how many of them want every look
        self.fresh = True  # one of them waits for its first look
        self.status: PodStatus | None = None
        self.source: Listing | Pod | None = None
        self.index = 0
        self.sent = 0  # the number of the request whose answer showed it last
        self.asking = 0  # how many requests for it alone are on their way
        self.looks = 0
        self.errors = 0
        self.last_error: tuple[int, YottaError | None] = (0, None)

    def pod(self) -> Pod | None:
        """Return the pod as it was last seen; only now is it built, when it came in a list."""
        if isinstance(self.source, Listing):
            self.source = self.source.pod(self.index)
        return self.source

    def tell(self, pod: Pod | None, wanting: Wanting) -> None:
        """Tell them of the pod; one that cannot be read in an answer wants another one."""
        if pod is None:
            self.fresh = True
            self.sent = 0
            return
        for watch, moved in wanting:
            if watch in self.watches:  # it may have ended in the loop's turn before
                watch.tell(Sighting("seen", pod, moved))


class Watch:
    """One watcher's eye on one pod, and its account of what was seen. What it makes of it, a subclass says.

    `wants` is asked about the first look and about every new status, and with `every` about each look; what it wants
    goes to `tell`. There may be tens of thousands of them, so they are small.
    """

    __slots__ = ("_base", "_hub", "_seen", "began", "deadline", "entry", "every", "interval", "number", "since")

    def __init__(self, hub: Hub, pod_id: str, *, interval: float, timeout: float, every: bool = False) -> None:
        self._hub = hub
        self.interval = interval
        self.every = every
        self.began = hub.clock.time()
        self.deadline = self.began + timeout
        self.number = -1  # in the order of watches with a deadline
        self._seen: tuple[Any, ...] = ()  # status, when, status, when, …: pairs are one object more each
        self.since = hub.looks.sent  # it is told of answers to later requests only
        self.entry = hub.watch(self, pod_id)
        self._base = (self.entry.looks, self.entry.errors, hub.looks.errors)

    def wants(self, status: PodStatus | None, moved: bool) -> bool:  # noqa: FBT001  # asked for each pod of each look
        """Say whether to be told of a pod with this status; `moved`: it was seen with another one before."""
        raise NotImplementedError

    def tell(self, sighting: Sighting) -> None:
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
        return self.entry.errors - self._base[1] + self._hub.looks.errors - self._base[2]

    @property
    def last_pod(self) -> Pod | None:
        """The pod as it was last seen, or None when this watch did not see it."""
        return self.entry.pod() if self._seen else None

    @property
    def last_error(self) -> YottaError | None:
        """The last failure of a poll."""
        return max(self.entry.last_error, self._hub.looks.last_error, key=itemgetter(0))[1] if self.errors else None

    def renew(self) -> None:
        """Be told only of answers to what is asked from now on."""
        self.since = self._hub.looks.sent
        self._hub.want_look(self.entry)

    def close(self) -> None:
        """Watch no more."""
        self._hub.unwatch(self)


class Survey:
    """One watcher's eye on all pods: `see` gets every whole list, `over` the error that ends it."""

    def __init__(
        self,
        since: int,
        interval: float,
        see: Callable[[Listing], None],
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
