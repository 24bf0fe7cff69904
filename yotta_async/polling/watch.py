"""Watching pods: what is added, changed and removed, as a stream that a slow reader cannot make grow."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import AsyncGenerator, Collection
from typing import Literal

import attrs

from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import ListSubscription, Observation, Subscription


@attrs.frozen
class PodEvent:
    """What became of a pod.

    "added": `pod` is there, `previous` is None. "changed": any field of it; `previous` is how the reader saw it last.
    "removed": it is not there any more, and both are how it was last seen.
    """

    kind: Literal["added", "changed", "removed"]
    pod: Pod
    previous: Pod | None = None


class _Stream:
    """What a reader knows, and what it is still to be told: at most one event for each pod."""

    def __init__(self, poller: StatusPoller, interval: float) -> None:
        self._poller = poller
        self._interval = interval
        self._watches: dict[str, Subscription] = {}
        self._survey: ListSubscription | None = None
        self._raw: dict[str, int] = {}  # a hash of the JSON of each pod that the last list showed
        self._known: dict[str, Pod] = {}  # as the reader saw them
        self._pending: dict[str, Pod | None] = {}  # as they are; None is removed
        self._wakeup: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    def follow(self, pod_id: str) -> None:
        """Watch one pod."""
        if pod_id not in self._watches:
            self._watches[pod_id] = _PodWatch(self, self._poller, pod_id, self._interval)

    def follow_all(self) -> None:
        """Watch every pod of the account, those still to come included."""
        self._survey = self._poller.subscribe_list(interval=self._interval, see=self._listed, over=self._over)

    def close(self) -> None:
        """Watch no more."""
        for watch in tuple(self._watches.values()):
            watch.close()
        if self._survey is not None:
            self._survey.close()

    def told(self, pod_id: str, observation: Observation) -> None:
        """Take what was seen of one pod."""
        if observation.kind == "over" and observation.error is not None:
            self._over(observation.error)
            return
        self._show(pod_id, observation.pod)
        if self._survey is not None and observation.kind == "gone":
            self._watches.pop(pod_id).close()

    def _listed(self, snapshot: PodListSnapshot) -> None:
        seen: dict[str, int] = {}
        for index, view in enumerate(snapshot.summaries):
            if view is None:
                continue
            pod_id = view.id
            seen[pod_id] = hash(bytes(snapshot.raws[index]))
            if seen[pod_id] != self._raw.get(pod_id) and (pod := snapshot.pod(index)) is not None:
                self._show(pod_id, pod)
        # What a list has lost is watched by itself until it is in a list again, or gone.
        for pod_id in self._raw.keys() - seen.keys():
            self.follow(pod_id)
        for pod_id in self._watches.keys() & seen.keys():
            self._watches.pop(pod_id).close()
        self._raw = seen

    def _over(self, error: Exception) -> None:
        self._error = error
        self._wake()

    def _show(self, pod_id: str, pod: Pod | None) -> None:
        """Note how a pod is now, or that it is gone."""
        self._pending.pop(pod_id, None)
        if pod != self._known.get(pod_id):
            self._pending[pod_id] = pod
            self._wake()

    def _wake(self) -> None:
        """Let the reader look."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def next(self) -> PodEvent:
        """Return the oldest event that is pending."""
        while not self._pending:
            if self._error is not None:
                raise copy.copy(self._error)
            self._wakeup = asyncio.get_running_loop().create_future()
            await self._wakeup
        pod_id = next(iter(self._pending))
        pod, previous = self._pending.pop(pod_id), self._known.pop(pod_id, None)
        if pod is None:
            assert previous is not None  # noqa: S101  # what was never shown is never pending as removed
            return PodEvent("removed", previous, previous)
        self._known[pod_id] = pod
        return PodEvent("changed" if previous else "added", pod, previous)


class _PodWatch(Subscription):
    """Feeds a stream with every look at one pod."""

    __slots__ = ("_stream",)

    def __init__(self, stream: _Stream, poller: StatusPoller, pod_id: str, interval: float) -> None:
        self._stream = stream
        super().__init__(poller, pod_id, interval=interval, timeout=math.inf, notify_every_poll=True)

    def is_interested_in(self, status: PodStatus | None, status_changed: bool) -> bool:  # noqa: ARG002, FBT001  # as it is asked
        """Want all of it: any field may have changed."""
        return True

    def tell(self, observation: Observation) -> None:
        """Pass it on."""
        self._stream.told(self.entry.pod_id, observation)


async def watch(
    poller: StatusPoller, pod_ids: Collection[str] | None, *, interval: float
) -> AsyncGenerator[PodEvent, None]:
    """Yield what becomes of these pods, or for None of all; see `Pods.watch`."""
    stream = _Stream(poller, interval)
    try:
        if pod_ids is None:
            stream.follow_all()
        for pod_id in pod_ids or ():
            stream.follow(pod_id)
        while True:
            yield await stream.next()
    finally:
        stream.close()
