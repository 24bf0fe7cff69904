"""Looking for the pods of creates whose answers were lost, by one list for all of them."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.errors import YottaError
from yotta_async.models.pod import CLIENT_TOKEN_VARIABLE, Pod
from yotta_async.models.status import ENDING, PodStatus
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import ListSubscription

# The longest between two looks: there is a minute for them, and lists lag by some seconds.
_INTERVAL = 5.0


class CreateRecovery:
    """The tokens of one client that are looked for. The lists are the hub's own, which waiters share."""

    def __init__(self, endpoints: Endpoints, poller: StatusPoller, *, seconds: float, interval: float) -> None:
        self._endpoints = endpoints
        self._poller = poller
        self._seconds = seconds
        self._interval = min(interval, _INTERVAL)
        self._wanted: dict[str, asyncio.Future[list[str]]] = {}
        self._survey: ListSubscription | None = None

    async def find(self, token: str) -> list[str]:
        """Return the ids of the pods that bear the token, the one to keep first, as soon as a list shows any.

        Returns none when none has shown within the time for it; raises what makes looking on useless.
        """
        shown = self._wanted[token] = asyncio.get_running_loop().create_future()
        if self._survey is None:
            self._survey = self._poller.subscribe_list(
                interval=self._interval, on_list=self._see, on_error=self._over, until_closed=True
            )
        sleeper = asyncio.ensure_future(self._poller.clock.sleep(self._seconds))
        try:
            await asyncio.wait({shown, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            return shown.result() if shown.done() else []
        finally:
            sleeper.cancel()
            del self._wanted[token]
            if not self._wanted and self._survey is not None:
                self._poller.unsubscribe_list(self._survey)
                self._survey = None

    async def look(self, token: str) -> list[str]:
        """Look once, by a list of its own, and return what `find` does."""
        return _in_order(find_by_token(await self._endpoints.snapshot()).get(token, []))

    @property
    def trouble(self) -> str:
        """What was wrong with the last list, if anything was."""
        error = self._poller.last_list_error
        # Its name alone: a server's words may repeat what the create held.
        return f" The last list that failed: {type(error).__name__}." if error is not None else ""

    def _see(self, snapshot: PodListSnapshot) -> None:
        for token, pods in find_by_token(snapshot).items():
            if token in self._wanted and not self._wanted[token].done():
                self._wanted[token].set_result(_in_order(pods))

    def _over(self, error: Exception) -> None:
        self._survey = None
        for shown in self._wanted.values():
            if not shown.done():
                shown.set_exception(error if isinstance(error, YottaError) else YottaError(type(error).__name__))


class TokenMatch(NamedTuple):
    """A pod in a list that has a token: its id and status, and its place in the list."""

    pod_id: str
    status: PodStatus | None
    position: int


def find_by_token(snapshot: PodListSnapshot) -> dict[str, list[TokenMatch]]:
    """Return the pods that have a client token, by token."""
    found: dict[str, list[TokenMatch]] = {}
    for token, index in snapshot.find_variable(CLIENT_TOKEN_VARIABLE):
        summary = snapshot.summaries[index]
        if summary is not None:
            found.setdefault(token, []).append(TokenMatch(summary.id, summary.status, index))
    return found


def has_client_token(pod: Pod, token: str) -> bool:
    """Say whether a pod was made by the create with this token."""
    return any(item.key == CLIENT_TOKEN_VARIABLE and item.value == token for item in pod.environment_vars)


def _in_order(pods: list[TokenMatch]) -> list[str]:
    """Put the pod to keep first: one that is not on its way out, and of several the lowest id, for all who look."""
    return [pod.pod_id for pod in sorted(pods, key=lambda pod: (pod.status in ENDING, len(pod.pod_id), pod.pod_id))]
