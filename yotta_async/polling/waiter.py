"""Waiting: conditions and deadlines on the hub, and errors that tell what was seen."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeAlias

import attrs

from yotta_async.errors import (
    InvalidRequestError,
    PodFailedError,
    PodGoneError,
    WaitError,
    WaitTimeoutError,
    YottaError,
)
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus, can_reach
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import Observation, Subscription

OnChange: TypeAlias = Callable[[Pod], Awaitable[object] | object]
"""Called with the pod when a status is first seen and whenever it is another; it may be a coroutine function."""

Targets: TypeAlias = frozenset[PodStatus]


class StatusWaiter(Subscription):
    """A watch that one coroutine drives: `next` returns the pod, or raises what ends the wait."""

    __slots__ = ("_on_change", "_told", "_wakeup", "action_error", "stuck", "targets", "timeout")

    def __init__(
        self,
        poller: StatusPoller,
        pod_id: str,
        targets: Targets,
        *,
        timeout: float,
        interval: float,
        on_change: OnChange | None = None,
        notify_every_poll: bool = False,
    ) -> None:
        if on_change is not None and not callable(on_change):
            raise InvalidRequestError(f"on_change must be a function, not {type(on_change).__name__}")
        self.targets = targets
        self.timeout = timeout
        self.stuck = ""  # what is still missing, for the error of a deadline
        self.action_error: YottaError | None = None
        self._on_change = on_change
        self._told: tuple[Observation, ...] = ()
        self._wakeup: asyncio.Future[None] | None = None
        super().__init__(poller, pod_id, interval=interval, timeout=timeout, notify_every_poll=notify_every_poll)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def is_interested_in(self, status: PodStatus | None, status_changed: bool) -> bool:  # noqa: FBT001  # as it is asked
        """Want what ends the wait, with `on_change` every change, and with `every` every look."""
        if self.notify_every_poll or (status_changed and self._on_change is not None):
            return True
        return status in self.targets or not self._is_possible(status)

    def _is_possible(self, status: PodStatus | None) -> bool:
        for target in self.targets:  # noqa: SIM110  # a generator costs more than all of it
            if can_reach(status, target):
                return True
        return False

    def tell(self, observation: Observation) -> None:
        """Keep it for the coroutine; of looks that showed nothing new the last one is enough."""
        if (
            self._told
            and self._told[-1].kind == "seen"
            and not observation.status_changed
            and observation.kind == "seen"
        ):
            observation = observation._replace(status_changed=self._told[-1].status_changed)
            self._told = self._told[:-1]
        self._told += (observation,)
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def told(self) -> asyncio.Future[None]:
        """Return what is done when there is something to be taken by `next` or `reached`.

        Whoever waits on this first keeps none of their frames while waiting, of which there may be ten thousand.
        """
        self._wakeup = asyncio.get_running_loop().create_future()
        if self._told:
            self._wakeup.set_result(None)
        return self._wakeup

    async def next(self) -> Pod:
        """Return the pod when something about it is to be known; raise the error that ends the wait."""
        if not self._told:
            await self.told()
        observation, self._told = self._told[0], self._told[1:]
        if observation.pod is not None and observation.status_changed and self._on_change is not None:
            result = self._on_change(observation.pod)
            if inspect.isawaitable(result):
                await result
        return self.verdict(observation)

    async def reached(self) -> Pod:
        """Return the pod when its status is one of the targets, or raise what `next` does."""
        while True:
            pod = await self.next()
            if pod.status in self.targets:
                return pod

    def verdict(self, observation: Observation) -> Pod:
        """Return the pod that was seen, or raise what ends the wait."""
        if observation.pod is None:
            return self._last(observation)
        if not self._is_possible(observation.pod.status):
            raise self._failed(observation.pod.status)
        return observation.pod

    def _failed(self, status: PodStatus | None) -> WaitError:
        why = " (no capacity for it, or an image that does not start)" if status == PodStatus.FAILED else ""
        return self.error(PodFailedError, f"it is {status}{why}, from where {self._goal} cannot come")

    def _last(self, observation: Observation) -> Pod:
        """Return or raise what ends a wait without the pod."""
        if observation.kind == "gone":
            if PodStatus.TERMINATED in self.targets:
                return self.terminated()
            error = self.error(PodGoneError, f"it is not there any more, and was waited for to be {self._goal}")
            raise error from copy.copy(observation.error)
        if observation.error is not None:
            raise copy.copy(observation.error)  # one that all waiters raised would hold the frames of all of them
        raise self.error(WaitTimeoutError, self.stuck or f"it was not {self._goal} within {self.timeout:g} s")

    async def next_within(self, seconds: float, poller: StatusPoller) -> Pod | None:
        """Return what `next` does, or None when nothing was seen for so many seconds."""
        if not self._told:
            sleeper = asyncio.ensure_future(poller.clock.sleep(seconds))
            try:
                await asyncio.wait({self.told(), sleeper}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeper.cancel()
        return await self.next() if self._told else None

    @property
    def _goal(self) -> str:
        return " or ".join(sorted(self.targets))

    def terminated(self) -> Pod:
        """Return the pod that is gone as its last self, TERMINATED."""
        last = self.last_pod or Pod(id=self.entry.pod_id)
        return attrs.evolve(last, status=PodStatus.TERMINATED)

    def error(self, kind: type[WaitError], what: str) -> WaitError:
        """Make an error that tells all that was seen."""
        seen = ", ".join(f"{status} at {seconds:.1f} s" for status, seconds in self.history) or "nothing"
        text = f"pod {self.entry.pod_id}: {what}. Seen: {seen}; {self.looks} polls, {self.errors} of them failed"
        last_error = self.action_error or self.last_error
        if last_error is not None:
            text += f"; the last error was {type(last_error).__name__}: {last_error}"
        last_pod = self.last_pod
        return kind(
            text,
            pod_id=self.entry.pod_id,
            last_pod=last_pod.redacted() if last_pod else None,
            history=self.history,
            last_error=last_error,
        )
