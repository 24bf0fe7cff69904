"""Watching pods: what is added, changed and removed, as a stream that a slow reader cannot make grow."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import AsyncGenerator, Collection
from functools import partial
from typing import Literal

import attrs

from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.models.pod import Pod
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import ListSubscription, Observation, ObservationKind, Subscription


@attrs.frozen
class PodEvent:
    """What became of a pod, as `Pods.watch` yields it.

    Attributes:
        kind: "added" for a pod that exists, "changed" when any field has changed, "removed" when it no longer exists.
        pod: the pod as it is; when it is removed, as it was last seen.
        previous: the pod as the reader saw it last; None when it is added.

    """

    kind: Literal["added", "changed", "removed"]
    pod: Pod
    previous: Pod | None = None


class _Stream:
    """What a reader knows, and what is pending for it: at most one event for each pod."""

    def __init__(self, poller: StatusPoller, interval: float) -> None:
        self._poller = poller
        self._interval = interval
        self._subscriptions: dict[str, Subscription] = {}
        self._list_subscription: ListSubscription | None = None
        self._hashes: dict[str, int] = {}  # of the JSON of each pod that the last list showed
        self._known: dict[str, Pod] = {}  # as the reader saw them
        self._pending: dict[str, Pod | None] = {}  # as they are; None is removed
        self._has_news = asyncio.Event()
        self._error: Exception | None = None

    def follow(self, pod_id: str) -> None:
        """Watch one pod."""
        self._subscriptions[pod_id] = self._poller.subscribe(
            pod_id, partial(self._take, pod_id), interval=self._interval, timeout=math.inf
        )

    def follow_all(self) -> None:
        """Watch every pod of the account, future ones included."""
        self._list_subscription = self._poller.subscribe_list(
            interval=self._interval, on_list=self._take_list, on_error=self._fail
        )

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions.values():
            self._poller.unsubscribe(subscription)
        if self._list_subscription is not None:
            self._poller.unsubscribe_list(self._list_subscription)

    def _take(self, pod_id: str, observation: Observation) -> None:
        """Take an observation of one pod."""
        if observation.error is not None and observation.kind is ObservationKind.CLOSED:
            self._fail(observation.error)
            return
        self._note(pod_id, observation.pod)
        if self._list_subscription is not None and observation.kind is ObservationKind.NOT_FOUND:
            self._unfollow(pod_id)

    def _unfollow(self, pod_id: str) -> None:
        self._poller.unsubscribe(self._subscriptions.pop(pod_id))

    def _take_list(self, snapshot: PodListSnapshot) -> None:
        hashes: dict[str, int] = {}
        for index, summary in enumerate(snapshot.summaries):
            if summary is None:
                continue
            hashes[summary.id] = hash(bytes(snapshot.raws[index]))
            if hashes[summary.id] != self._hashes.get(summary.id) and (pod := snapshot.pod(index)) is not None:
                self._note(summary.id, pod)
        # A pod that is missing from a list is polled by itself until it is in a list again, or gone.
        for pod_id in self._hashes.keys() - hashes.keys():
            self.follow(pod_id)
        for pod_id in self._subscriptions.keys() & hashes.keys():
            self._unfollow(pod_id)
        self._hashes = hashes

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._has_news.set()

    def _note(self, pod_id: str, pod: Pod | None) -> None:
        """Note how a pod is now, or with None that it is gone."""
        self._pending.pop(pod_id, None)
        if pod != self._known.get(pod_id):
            self._pending[pod_id] = pod
            self._has_news.set()

    async def next(self) -> PodEvent:
        """Return the oldest pending event."""
        while not self._pending:
            if self._error is not None:
                raise copy.copy(self._error)
            self._has_news.clear()
            await self._has_news.wait()
        pod_id = next(iter(self._pending))
        pod, previous = self._pending.pop(pod_id), self._known.pop(pod_id, None)
        if pod is None:
            assert previous is not None  # noqa: S101  # a pod that was never shown is never pending as removed
            return PodEvent("removed", previous, previous)
        self._known[pod_id] = pod
        return PodEvent("changed" if previous else "added", pod, previous)


async def watch(
    poller: StatusPoller, pod_ids: Collection[str] | None, *, interval: float
) -> AsyncGenerator[PodEvent, None]:
    """Yield the events of these pods, or for None of all; see `Pods.watch`."""
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
