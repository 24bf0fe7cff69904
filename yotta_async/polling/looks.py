"""Looking at what is watched: by a list or one by one, and telling each watcher what it wants to know."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import Listing, collector_off
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
from yotta_async.polling.strategy import Plan, Way
from yotta_async.polling.subscription import Entry, Sighting, Survey, Wanting
from yotta_async.support.clock import Clock
from yotta_async.support.tasks import begin

_STATUSES = PodStatus.__members__  # by name, at a tenth of the cost of calling the enumeration
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
# So many pods that moved are told of in one turn of the loop, some 10 ms, and so many made at a time, which is quick
# while their JSON is in the processor's cache.
_TURN, _AT_A_TIME = 1024, 64
# How many seconds of real time the others wait for an answer that does not come.
_PATIENCE = 1.0


News: TypeAlias = tuple[Entry, int, Wanting]
"""A pod that somebody wants to be told of, and where in a list it stands."""


class Looks:
    """What is watched, and the looks at it."""

    def __init__(self, endpoints: Endpoints, clock: Clock) -> None:
        self.entries: dict[str, Entry] = {}
        self.surveys: list[Survey] = []
        self.sent = 0  # how many requests there were: what a watcher is told comes from a later one than it saw begin
        self.errors = 0  # failures of lists, which all share
        self.last_error: tuple[int, YottaError | None] = (0, None)
        self.not_before = -math.inf
        self.telling = False  # some have still to be told what a list showed
        self._clock = clock
        self._endpoints = endpoints
        self._plan = Plan()
        self._born: dict[str, float] = {}
        self._slowdown = 0.0
        self._asking: set[asyncio.Task[None]] = set()

    def created(self, pod_id: str) -> None:
        """Note that a pod was created just now, so that its absence is no news for a while."""
        now = self._clock.time()
        while self._born and next(iter(self._born.values())) < now - _GRACE:
            del self._born[next(iter(self._born))]
        self._born[pod_id] = now

    def deleted(self, pod_id: str) -> None:
        """Note that a pod was deleted, so that its absence is to be believed."""
        self._born.pop(pod_id, None)

    def check(self) -> None:
        """Raise ConfigurationError when the client is closed or belongs to another event loop."""
        self._endpoints.check()

    def stop(self) -> None:
        """End every look that is under way."""
        for task in self._asking:
            task.cancel()

    async def look(self, wanted: list[Entry], *, pause: float) -> bool:
        """Look at these, or by a list at all, and say whether it was all; `pause` is between two looks."""
        way: Way = "list"
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
            listing = await self._endpoints.listing_once(filtered)
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
            for survey in tuple(self.surveys):
                if survey.since < sent:
                    survey.see(listing)
        self._plan.listed(filtered, Counter([view.status for view in listing.views if view is not None]))
        news = self._all_news(listing, sent)
        self.telling = True
        try:
            for first in range(0, len(news), _TURN):
                if first:
                    await asyncio.sleep(0)  # the loop's turn
                self._tell_some(listing, news[first : first + _TURN])
        finally:
            self.telling = False
        listing.views.clear()
        missing = [entry for entry in self.entries.values() if entry.sent < sent and self._awaits(entry, sent)]
        if filtered and self._plan.list_is_better(len(missing), pause):
            await self._list((), pause)
        else:
            await self._get_each(missing if filtered else self._without_newborn(missing), pause)

    def _all_news(self, listing: Listing, sent: int) -> list[News]:
        """Note how a list shows the pods that are watched, and return what is to be told of them."""
        find, born = self.entries.get, self._born
        news: list[News] = []
        for index, view in enumerate(listing.views):
            if view is None:
                continue
            entry = find(view.id) if type(view.id) is str else find(str(view.id))
            if entry is None:
                continue
            if view.status == entry.status and not (entry.fresh or entry.every or (born and entry.pod_id in born)):
                # What `_note` does when there is no news, without the call: it is so for nearly all of ten thousand.
                if entry.sent < sent:
                    entry.sent, entry.source, entry.index = sent, listing, index
                    entry.looks += 1
            elif wanting := self._note(entry, view.status, sent, listing, index):
                news.append((entry, index, wanting))
        return news

    @staticmethod
    def _tell_some(listing: Listing, news: list[News]) -> None:
        """Tell who wants to know it of pods that a list showed."""
        with collector_off():
            for first in range(0, len(news), _AT_A_TIME):
                some = news[first : first + _AT_A_TIME]
                listing.prepare([index for _, index, _ in some])
                for entry, index, wanting in some:
                    pod = listing.pod(index)
                    if entry.source is listing:
                        entry.source = pod
                    entry.tell(pod, wanting)

    @staticmethod
    def _awaits(entry: Entry, sent: int) -> bool:
        return any(watch.since < sent for watch in entry.watches)

    def _without_newborn(self, missing: list[Entry]) -> list[Entry]:
        """Leave out pods whose absence is no news yet, but for a few, in turn: a lagging list can miss thousands."""
        young = [entry for entry in missing if self.is_newborn(entry.pod_id)]
        if len(young) <= _AT_ONCE:
            return missing
        asked = {entry.pod_id for entry in random.sample(young, _AT_ONCE)}
        return [entry for entry in missing if entry.pod_id in asked or not self.is_newborn(entry.pod_id)]

    def is_newborn(self, pod_id: str) -> bool:
        """Say whether a pod was made so short a time ago, and not seen since, that its absence is no news."""
        return self._clock.time() < self._born.get(pod_id, -math.inf) + _GRACE

    async def _get_each(self, entries: list[Entry], pause: float) -> None:
        """Look at each by itself, some at a time. One that hangs goes on by itself, and holds up no other."""
        for first in range(0, len(entries), _AT_ONCE):
            if self._clock.time() < self.not_before:
                return  # the API wants fewer requests: what is left is for the next tick
            asked = [self._ask(entry, pause) for entry in entries[first : first + _AT_ONCE] if self._is_askable(entry)]
            if asked:
                await asyncio.wait(asked, timeout=min(_PATIENCE, pause))

    @staticmethod
    def _is_askable(entry: Entry) -> bool:
        # Who came while a request was on its way needs one that starts later.
        return bool(entry.watches) and entry.asking < (2 if entry.fresh else 1)

    def _ask(self, entry: Entry, pause: float) -> asyncio.Task[None]:
        def done(task: asyncio.Task[None]) -> None:
            entry.asking -= 1
            self._asking.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.end(None, error if isinstance(error, Exception) else RuntimeError(type(error).__name__))

        entry.asking += 1
        task = begin(self._get(entry, pause))
        self._asking.add(task)
        task.add_done_callback(done)
        return task

    async def _get(self, entry: Entry, pause: float) -> None:
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
            news = sent > entry.sent and not self.is_newborn(entry.pod_id)
            if isinstance(error, NotFoundError) and news:
                for watch in tuple(entry.watches):
                    if watch.since < sent:
                        watch.tell(Sighting("gone", error=error))
        else:
            self._slowdown = 0.0
            entry.tell(pod, self._note(entry, pod.status, sent, pod))

    def _note(self, entry: Entry, text: str | None, sent: int, source: Listing | Pod, index: int = 0) -> Wanting:
        """Note how an answer shows a pod, and return who wants to be told, and whether it has moved for them."""
        wanting: Wanting = []
        if sent < entry.sent:
            return wanting  # a slow answer, overtaken by a later one
        entry.sent, entry.source, entry.index = sent, source, index
        entry.looks += 1
        if self._born:
            self._born.pop(entry.pod_id, None)  # once it was seen, its absence is news
        if text == entry.status and not entry.fresh and not entry.every:
            return wanting
        status = (_STATUSES.get(text) or PodStatus(text)) if text else None
        if status != entry.status:
            entry.status = status
            self._plan.arrived(status)
        entry.fresh = False
        now = self._clock.time()
        for watch in entry.watches:
            if watch.since >= sent:
                entry.fresh = True
                continue
            moved = watch.note(status, now)
            if watch.wants(status, moved):
                wanting.append((watch, moved))
        return wanting

    def end(self, entry: Entry | None, error: Exception, *, closing: bool = False) -> None:
        """Tell the watchers of this pod, or for None everyone, that there is no use in watching."""
        for each in [entry] if entry else list(self.entries.values()):
            for watch in tuple(each.watches):
                watch.tell(Sighting("over", error=error))
                watch.close()
        for survey in () if entry else tuple(self.surveys):
            if not (closing and survey.to_the_end):
                survey.over(error)
                survey.close()

    def _slow_down(self, error: YottaError, pause: float) -> None:
        """Let everybody wait as long as the API asks, or ever longer while it says that there are too many requests."""
        asked = error.retry_after if isinstance(error, APIError | ProtocolError) else None
        if asked is None and not isinstance(error, RateLimitError):
            return
        if asked is None:
            self._slowdown = min(_MAX_SLOWDOWN, max(pause, self._slowdown * 2))
        seconds = min(asked or self._slowdown, _LONGEST)
        self.not_before = max(self.not_before, self._clock.time() + seconds)
