"""Finding pods by the client tokens of their creates, for creates whose responses were lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

import attrs

from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.errors import YottaError
from yotta_async.models.client_tokens import read_tokens
from yotta_async.models.pod import Pod
from yotta_async.models.status import ENDING, PodStatus
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import ListSubscription
from yotta_async.support.clock import wait_within

# The longest interval between two lists while a create is recovered: lists lag by some seconds.
_MAX_INTERVAL_S = 5.0


class TokenMatch(NamedTuple):
    """A pod in a list that has a token: its id and status, and its place in the list."""

    pod_id: str
    status: PodStatus | None
    position: int


def find_by_token(snapshot: PodListSnapshot) -> dict[str, list[TokenMatch]]:
    """Return the pods that have a client token, by token, the one to keep first.

    That is one that is not being deleted, and of several the one with the lowest id, so that all clients choose the
    same. A pod that the list shows twice is one pod.
    """
    found: dict[str, dict[str, TokenMatch]] = {}
    for token, index in snapshot.find_tokens():
        summary = snapshot.summaries[index]
        if summary is not None:
            match = TokenMatch(summary.id, summary.status, index)
            found.setdefault(token, {}).setdefault(match.pod_id, match)
    return {token: sorted(matches.values(), key=_rank) for token, matches in found.items()}


def _rank(match: TokenMatch) -> tuple[bool, int, str]:
    return match.status in ENDING, len(match.pod_id), match.pod_id


def has_client_token(pod: Pod, token: str) -> bool:
    """Return whether the pod was made by the create with this token."""
    return token in read_tokens(pod.environment_vars, pod.pod_name)


@attrs.define(eq=False)
class CreateRecovery:
    """Finds the pods of one client's creates. Waits for several tokens share the poller's lists.

    `may_hide_tokens`: the last list may show a pod without the token that it has; `may_hide_names`: also one whose
    name carries it.
    """

    _endpoints: Endpoints
    _poller: StatusPoller
    _timeout: float
    _interval: float
    waiting: dict[str, asyncio.Future[list[str]]] = attrs.field(init=False, factory=dict)
    may_hide_tokens: bool = attrs.field(init=False, default=False)
    may_hide_names: bool = attrs.field(init=False, default=False)
    _subscription: ListSubscription | None = attrs.field(init=False, default=None)

    async def wait_for(self, token: str) -> list[str]:
        """Return the ids of the pods with the token, the one to keep first, as soon as a list shows any.

        Returns none when no list has shown any within the timeout; raises what ends the polling.
        """
        found = self.waiting[token] = asyncio.get_running_loop().create_future()
        if self._subscription is None:
            self._subscription = self._poller.subscribe_list(
                interval=min(self._interval, _MAX_INTERVAL_S),
                on_list=self.on_list,
                on_error=self._on_error,
                until_closed=True,
            )
        try:
            await wait_within(self._poller.clock, self._timeout, found)
            return found.result() if found.done() else []
        finally:
            del self.waiting[token]
            if not self.waiting and self._subscription is not None:
                self._poller.unsubscribe_list(self._subscription)
                self._subscription = None

    async def find(self, token: str) -> list[str]:
        """Return what `wait_for` does, by one list now."""
        return _get_ids(find_by_token(await self._endpoints.snapshot()).get(token, ()))

    def on_list(self, snapshot: PodListSnapshot) -> None:
        """Give the pods in a list to those who wait for their tokens."""
        self.may_hide_tokens, self.may_hide_names = snapshot.may_hide_tokens, snapshot.may_hide_names
        for token, matches in find_by_token(snapshot).items():
            if token in self.waiting and not self.waiting[token].done():
                self.waiting[token].set_result(_get_ids(matches))

    def _on_error(self, error: Exception) -> None:
        self._subscription = None
        for found in self.waiting.values():
            if not found.done():
                found.set_exception(error if isinstance(error, YottaError) else YottaError(type(error).__name__))


def _get_ids(matches: Iterable[TokenMatch]) -> list[str]:
    return [match.pod_id for match in matches]
