"""Waiting for statuses: conditions and deadlines over the poller, and errors that tell what was observed."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeAlias

import attrs

from yotta_async.errors import InvalidRequestError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus, can_reach
from yotta_async.models.validators import seconds
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import Observation, ObservationKind, PollInterval, check_interval
from yotta_async.polling.wait_errors import PodFailedError, PodGoneError, WaitError, WaitTimeoutError
from yotta_async.support.clock import wait_within

OnChange: TypeAlias = Callable[[Pod], Awaitable[object] | object]
"""Called with the pod when a status is first seen and whenever it changes; it may be a coroutine function."""

Targets: TypeAlias = frozenset[PodStatus]


def _check_timeout(timeout: float) -> float:
    return seconds("timeout", timeout)


@attrs.frozen
class WaitOptions:
    """How long a caller waits, how often the pod is polled meanwhile, and what is called with each change.

    Raises InvalidRequestError.
    """

    timeout: float = attrs.field(converter=_check_timeout)
    interval: PollInterval = attrs.field(converter=check_interval)
    on_change: OnChange | None = attrs.field(default=None)

    @on_change.validator
    def _check_on_change(self, _: object, value: object) -> None:
        if value is not None and not callable(value):
            raise InvalidRequestError(f"on_change must be a function, not {type(value).__name__}")


class StatusWaiter:
    """A subscriber that one coroutine drives: `next` returns the pod, or raises what ends the wait.

    With `every_poll` each observation counts, and not only changes. With `on_observation`, observations go to that
    function instead, and no coroutine waits.
    """

    __slots__ = (
        "_observations",
        "_options",
        "_poller",
        "_wakeup",
        "action_error",
        "missing",
        "subscription",
        "targets",
    )

    def __init__(
        self,
        poller: StatusPoller,
        pod_id: str,
        targets: Targets,
        options: WaitOptions,
        *,
        every_poll: bool = False,
        on_observation: Callable[[Observation], None] | None = None,
    ) -> None:
        self.targets = targets
        self.missing = ""  # what the wait still lacks, for the error of its deadline
        self.action_error: YottaError | None = None
        self._poller = poller
        self._options = options
        self._observations: tuple[Observation, ...] = ()
        self._wakeup: asyncio.Future[None] | None = None
        self.subscription = poller.subscribe(
            pod_id,
            on_observation or self._notify,
            None if every_poll else self._is_interested_in,
            interval=options.interval,
            timeout=options.timeout,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the subscription."""
        self._poller.unsubscribe(self.subscription)

    # As a subscriber

    def _is_interested_in(self, status: PodStatus | None) -> bool:
        """Want what ends the wait and, with `on_change`, every change."""
        return self._options.on_change is not None or status in self.targets or not self._is_possible(status)

    def _notify(self, observation: Observation) -> None:
        """Keep an observation for the coroutine. Of those without news the last one is enough."""
        if self._observations and observation.kind is ObservationKind.OBSERVED and not observation.status_changed:
            last = self._observations[-1]
            if last.kind is ObservationKind.OBSERVED:
                observation = observation._replace(status_changed=last.status_changed)
                self._observations = self._observations[:-1]
        self._observations += (observation,)
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def _is_possible(self, status: PodStatus | None) -> bool:
        return any(can_reach(status, target) for target in self.targets)

    # As a coroutine's

    def wait_for_observation(self) -> asyncio.Future[None]:
        """Return what is done when `next` or `wait` has something to take.

        A coroutine that awaits this first keeps none of their frames while it waits, and thousands may wait.
        """
        self._wakeup = asyncio.get_running_loop().create_future()
        if self._observations:
            self._wakeup.set_result(None)
        return self._wakeup

    async def wait(self) -> Pod:
        """Return the pod when its status is one of the targets, or raise what `next` does."""
        while True:
            pod = await self.next()
            if pod.status in self.targets:
                return pod

    async def next(self) -> Pod:
        """Return the pod when there is news of it; raise the error that ends the wait."""
        await self.wait_for_observation()
        observation, self._observations = self._observations[0], self._observations[1:]
        if observation.pod is not None and observation.status_changed and self._options.on_change is not None:
            result = self._options.on_change(observation.pod)
            if inspect.isawaitable(result):
                await result
        return self.judge(observation)

    async def next_within(self, limit: float) -> Pod | None:
        """Return what `next` does, or None when nothing was observed for so long."""
        await wait_within(self._poller.clock, limit, self.wait_for_observation())
        return await self.next() if self._observations else None

    def poll_again(self) -> None:
        """Take only responses to requests that start from now on, and poll soon."""
        self._poller.poll_again(self.subscription)

    # What it means

    def judge(self, observation: Observation) -> Pod:
        """Return the pod that was observed, or raise what ends the wait."""
        if observation.kind is ObservationKind.OBSERVED and observation.pod is not None:
            status = observation.pod.status
            if self._is_possible(status):
                return observation.pod
            why = " (no capacity for it, or an image that does not start)" if status == PodStatus.FAILED else ""
            raise self.build_error(PodFailedError, f"it is {status}{why}, and cannot become {self._goal} from there")
        if observation.kind is ObservationKind.NOT_FOUND:
            if PodStatus.TERMINATED in self.targets:
                return self.build_terminated_pod()
            error = self.build_error(PodGoneError, f"it does not exist any more, and was to become {self._goal}")
            raise error from copy.copy(observation.error)
        if observation.error is not None:
            raise copy.copy(observation.error)  # one that all waits raised would hold the frames of all of them
        raise self.build_error(
            WaitTimeoutError, self.missing or f"it was not {self._goal} within {self._options.timeout:g} s"
        )

    @property
    def _goal(self) -> str:
        return " or ".join(sorted(self.targets))

    def build_terminated_pod(self) -> Pod:
        """Return the pod that is gone: as it was last observed, with the status TERMINATED."""
        last = self.subscription.last_pod or Pod(id=self.subscription.tracked.pod_id)
        return attrs.evolve(last, status=PodStatus.TERMINATED)

    def build_error(self, kind: type[WaitError], problem: str) -> WaitError:
        """Build an error that tells all that was observed."""
        subscription = self.subscription
        pod_id, last_pod = subscription.tracked.pod_id, subscription.last_pod
        seen = ", ".join(f"{status} at {seconds:.1f} s" for status, seconds in subscription.history) or "nothing"
        text = (
            f"pod {pod_id}: {problem}. Seen: {seen}; {subscription.polls} polls, {subscription.failures} of them failed"
        )
        if subscription.unanswered:
            text += f", {subscription.unanswered} more requests are unanswered"
        last_error = self.action_error or subscription.last_error
        if last_error is not None:
            text += f"; the last error was {type(last_error).__name__}: {last_error}"
        return kind(
            text,
            pod_id=pod_id,
            last_pod=last_pod.redacted() if last_pod else None,
            history=subscription.history,
            last_error=last_error,
        )
