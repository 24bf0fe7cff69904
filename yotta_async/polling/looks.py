"""Looking at what is watched: by a list or one by one, and telling each watcher what it wants to know."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

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
from yotta_async.polling.strategy import FetchMode, PollStrategy
from yotta_async.polling.subscription import ListSubscription, Observation, TrackedPod, Wanting
from yotta_async.support.clock import Clock
from yotta_async.support.tasks import spawn

# What no later look will change.
PERMANENT = (BadRequestError, AuthenticationError, PermissionDeniedError, ConfigurationError)
# A pod that this client created may be unknown to the API's lists, and even to a get, for so many seconds.
_GRACE = 60.0
# Single gets in flight at a time, and how many pods in their grace are asked for by themselves in a tick.
_AT_ONCE = 16
# The longest pause between looks while the API says that there are too many requests, and not how long to wait.
_MAX_SLOWDOWN = 60.0
# However long the API asks to wait, it is asked again after so many seconds.
_LONGEST = 300.0
# Some 10 ms: the pods whose subscribers are notified before the event loop runs other tasks.
_NOTIFY_BATCH_SIZE = 500
# How many seconds of real time the others wait for an answer that does not come.
_PATIENCE = 1.0


News: TypeAlias = tuple[TrackedPod, int, Wanting]
"""A pod that somebody wants to be told of, and where in a list it stands."""


class Looks:
    """What is watched, and the looks at it."""

    def __init__(self, endpoints: Endpoints, clock: Clock) -> None:
        self.entries: dict[str, TrackedPod] = {}
        self.surveys: list[ListSubscription] = []
        self.sent = 0  # how many requests there were: what a watcher is told comes from a later one than it saw begin
        self.errors = 0  # failures of lists, which all share
        self.last_error: tuple[int, YottaError | None] = (0, None)
        self.blocked_until = -math.inf
        self.notifying = False  # some have still to be told what a list showed
        self._clock = clock
        self._endpoints = endpoints
        self._plan = PollStrategy()
        self._created_at: dict[str, float] = {}
        self._slowdown = 0.0
        self._asking: set[asyncio.Task[None]] = set()

    def created(self, pod_id: str) -> None:
        """Note that a pod was created just now, so that its absence is no news for a while."""
        now = self._clock.time()
        while self._created_at and next(iter(self._created_at.values())) < now - _GRACE:
            del self._created_at[next(iter(self._created_at))]
        self._created_at[pod_id] = now

    def deleted(self, pod_id: str) -> None:
        """Note that a pod was deleted, so that its absence is to be believed."""
        self._created_at.pop(pod_id, None)

    def check(self) -> None:
        """Raise ConfigurationError when the client is closed or belongs to another event loop."""
        self._endpoints.check()

    def stop(self) -> None:
        """End every look that is under way."""
        for task in self._asking:
            task.cancel()

    async def look(self, wanted: list[TrackedPod], *, pause: float) -> bool:
        """Look at these, or by a list at all, and say whether it was all; `pause` is between two looks."""
        way: FetchMode = "list"
        try:
            way = self._plan.choose(len(wanted), Counter([entry.status for entry in self.entries.values()]), pause)
            way = "list" if self.surveys else way
            if way == "gets":
                await self._get_each(wanted, pause)
            else:
                await self._list(() if way == "list" else way, pause)
        except Exception as error:  # noqa: BLE001  # a fault of ours must not leave anyone waiting
            self.end(None, error)
        return way != "gets"

    async def _list(self, statuses: Iterable[PodStatus], pause: float) -> None:
        """Look at all by one list, then at those that it did not show."""
        filtered = tuple(statuses)
        self.sent = sent = self.sent + 1
        try:
            snapshot = await self._endpoints.snapshot_once(filtered)
        except PERMANENT as error:
            if isinstance(error, BadRequestError) and filtered:
                self._plan.no_filter()  # the filter was our idea, and no waiter's
                await self._list((), pause)
            else:
                self.end(None, error)
            return
        except YottaError as error:
            self.errors += 1
            self.last_error = (sent, error)
            self._slow_down(error, pause)
            return
        self._slowdown = 0.0
        if not filtered:
            for subscribe_list in tuple(self.surveys):
                if subscribe_list.since < sent:
                    subscribe_list.see(snapshot)
        self._plan.listed(filtered, Counter([view.status for view in snapshot.summaries if view is not None]))
        news = self._all_news(snapshot, sent)
        self.notifying = True
        try:
            for first in range(0, len(news), _NOTIFY_BATCH_SIZE):
                if first:
                    await asyncio.sleep(0)
                self._tell_some(snapshot, news[first : first + _NOTIFY_BATCH_SIZE])
        finally:
            self.notifying = False
        snapshot.summaries.clear()
        missing = [entry for entry in self.entries.values() if entry.sent < sent and self._awaits(entry, sent)]
        if filtered and self._plan.list_is_better(len(missing), pause):
            await self._list((), pause)
        else:
            await self._get_each(missing if filtered else self._without_recently_created(missing), pause)

    def _all_news(self, snapshot: PodListSnapshot, sent: int) -> list[News]:
        """Note how a list shows the pods that are watched, and return what is to be told of them."""
        find, born = self.entries.get, self._created_at
        news: list[News] = []
        for index, view in enumerate(snapshot.summaries):
            if view is None:
                continue
            entry = find(view.id)
            if entry is None:
                continue
            if view.status == entry.status and not (
                entry.needs_poll or entry.notify_every_poll or (born and entry.pod_id in born)
            ):
                # What `_note` does when there is no news, without the call: it is so for nearly all of ten thousand.
                if entry.sent < sent:
                    entry.sent, entry.source, entry.index = sent, snapshot, index
                    entry.looks += 1
            elif wanting := self._note(entry, view.status, sent, snapshot, index):
                news.append((entry, index, wanting))
        return news

    @staticmethod
    def _tell_some(snapshot: PodListSnapshot, news: list[News]) -> None:
        """Notify the subscribers of pods that a list showed."""
        for entry, index, wanting in news:
            pod = snapshot.pod(index)
            if entry.source is snapshot:
                entry.source = pod
            entry.tell(pod, wanting)

    @staticmethod
    def _awaits(entry: TrackedPod, sent: int) -> bool:
        return any(watch.since < sent for watch in entry.watches)

    def _without_recently_created(self, missing: list[TrackedPod]) -> list[TrackedPod]:
        """Leave out pods whose absence is no news yet, but for a few, in turn: a lagging list can miss thousands."""
        young = [entry for entry in missing if self.is_recently_created(entry.pod_id)]
        if len(young) <= _AT_ONCE:
            return missing
        asked = {entry.pod_id for entry in random.sample(young, _AT_ONCE)}
        return [entry for entry in missing if entry.pod_id in asked or not self.is_recently_created(entry.pod_id)]

    def is_recently_created(self, pod_id: str) -> bool:
        """Say whether a pod was made so short a time ago, and not seen since, that its absence is no news."""
        return self._clock.time() < self._created_at.get(pod_id, -math.inf) + _GRACE

    async def _get_each(self, entries: list[TrackedPod], pause: float) -> None:
        """Look at each by itself, some at a time. One that hangs goes on by itself, and holds up no other."""
        for first in range(0, len(entries), _AT_ONCE):
            if self._clock.time() < self.blocked_until:
                return  # the API wants fewer requests: what is left is for the next tick
            asked = [self._ask(entry, pause) for entry in entries[first : first + _AT_ONCE] if self._is_askable(entry)]
            if asked:
                await asyncio.wait(asked, timeout=min(_PATIENCE, pause))

    @staticmethod
    def _is_askable(entry: TrackedPod) -> bool:
        # Who came while a request was on its way needs one that starts later.
        return bool(entry.watches) and entry.asking < (2 if entry.needs_poll else 1)

    def _ask(self, entry: TrackedPod, pause: float) -> asyncio.Task[None]:
        def done(task: asyncio.Task[None]) -> None:
            entry.asking -= 1
            self._asking.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.end(None, error if isinstance(error, Exception) else RuntimeError(type(error).__name__))

        entry.asking += 1
        task = spawn(self._get(entry, pause))
        self._asking.add(task)
        task.add_done_callback(done)
        return task

    async def _get(self, entry: TrackedPod, pause: float) -> None:
        """Look at one pod by itself."""
        self.sent = sent = self.sent + 1
        try:
            pod = await self._endpoints.get_once(entry.pod_id)
        except AuthenticationError as error:
            self.end(None, error)
        except PERMANENT as error:
            self.end(entry, error)  # a bad id, or another's pod: the other watchers' pods may be well
        except YottaError as error:
            entry.errors += 1
            entry.last_error = (sent, error)
            self._slow_down(error, pause)
            # An absence that was asked for before the pod was last seen is older than that.
            news = sent > entry.sent and not self.is_recently_created(entry.pod_id)
            if isinstance(error, NotFoundError) and news:
                for watch in tuple(entry.watches):
                    if watch.since < sent:
                        watch.tell(Observation("gone", error=error))
        else:
            self._slowdown = 0.0
            entry.tell(pod, self._note(entry, pod.status, sent, pod))

    def _note(
        self, entry: TrackedPod, status: PodStatus | None, sent: int, source: PodListSnapshot | Pod, index: int = 0
    ) -> Wanting:
        """Note how an answer shows a pod, and return who wants to be told, and whether it has moved for them."""
        wanting: Wanting = []
        if sent < entry.sent:
            return wanting  # a slow answer, overtaken by a later one
        entry.sent, entry.source, entry.index = sent, source, index
        entry.looks += 1
        if self._created_at:
            self._created_at.pop(entry.pod_id, None)  # once it was seen, its absence is news
        if status == entry.status and not entry.needs_poll and not entry.notify_every_poll:
            return wanting
        if status != entry.status:
            entry.status = status
            self._plan.arrived(status)
        entry.needs_poll = False
        now = self._clock.time()
        for watch in entry.watches:
            if watch.since >= sent:
                entry.needs_poll = True
                continue
            status_changed = watch.note(status, now)
            if watch.is_interested_in(status, status_changed):
                wanting.append((watch, status_changed))
        return wanting

    def end(self, entry: TrackedPod | None, error: Exception, *, closing: bool = False) -> None:
        """Tell the watchers of this pod, or for None everyone, that there is no use in watching."""
        for each in [entry] if entry else list(self.entries.values()):
            for watch in tuple(each.watches):
                watch.tell(Observation("over", error=error))
                watch.close()
        for subscribe_list in () if entry else tuple(self.surveys):
            if not (closing and subscribe_list.to_the_end):
                subscribe_list.over(error)
                subscribe_list.close()

    def _slow_down(self, error: YottaError, pause: float) -> None:
        """Let everybody wait as long as the API asks, or ever longer while it says that there are too many requests."""
        asked = error.retry_after if isinstance(error, APIError | ProtocolError) else None
        if asked is None and not isinstance(error, RateLimitError):
            return
        if asked is None:
            self._slowdown = min(_MAX_SLOWDOWN, max(pause, self._slowdown * 2))
        seconds = min(asked or self._slowdown, _LONGEST)
        self.blocked_until = max(self.blocked_until, self._clock.time() + seconds)
