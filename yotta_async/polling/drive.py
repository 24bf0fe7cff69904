"""Driving a pod to a state from any other: act where its status allows it, wait in between, and poll after each act."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from yotta_async.api.endpoints import Endpoints
from yotta_async.errors import InvalidRequestError, InvalidStateError, NotFoundError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus
from yotta_async.polling.poller import PERMANENT_ERRORS, StatusPoller
from yotta_async.polling.waiter import StatusWaiter, WaitOptions

Action: TypeAlias = Callable[[str], Awaitable[None]]


async def drive(
    poller: StatusPoller,
    endpoints: Endpoints,
    pod_id: str,
    to: PodStatus,
    options: WaitOptions,
) -> Pod:
    """Bring the pod to `to`; see `Pods.drive`."""
    if to not in (PodStatus.RUNNING, PodStatus.PAUSED, PodStatus.TERMINATED):
        raise InvalidRequestError(f"a pod can be driven to RUNNING, PAUSED or TERMINATED, not to {to}")
    acted_at = -math.inf
    with StatusWaiter(poller, pod_id, frozenset({to}), options, every_poll=True) as waiter:
        deadline = waiter.subscription.deadline
        acted_in: PodStatus | None = None
        while True:
            pod = await waiter.next()
            if pod.status == to:
                return pod
            action = _choose_action(endpoints, pod.status, to, deadline)
            # An action takes a moment to show, so the same status is acted upon again only half an interval later.
            too_soon = pod.status == acted_in and poller.clock.time() - acted_at < waiter.subscription.interval / 2
            if action is None or too_soon or poller.clock.time() >= deadline:
                continue
            try:
                await action(pod_id)
            except InvalidStateError as error:
                waiter.action_error = error  # another client, or our own lost attempt, was faster
            except NotFoundError as error:
                waiter.action_error = error
                poller.note_deleted(pod_id)
            except PERMANENT_ERRORS:
                raise
            except YottaError as error:
                waiter.action_error = error
            else:
                waiter.action_error = None
                if to == PodStatus.TERMINATED:
                    poller.note_deleted(pod_id)
            acted_in, acted_at = pod.status, poller.clock.time()
            waiter.poll_again()


def _choose_action(endpoints: Endpoints, status: PodStatus | None, to: PodStatus, deadline: float) -> Action | None:
    """Return what brings a pod in `status` nearer to `to`, or None where only waiting does."""
    if to == PodStatus.TERMINATED:
        if status in (PodStatus.TERMINATING, PodStatus.TERMINATED):
            return None
        return lambda pod_id: endpoints.delete(pod_id, deadline=deadline)
    if to == PodStatus.RUNNING and status == PodStatus.PAUSED:
        return lambda pod_id: endpoints.resume(pod_id, deadline=deadline)
    if to == PodStatus.PAUSED and status == PodStatus.RUNNING:
        return lambda pod_id: endpoints.pause(pod_id, deadline=deadline)
    return None
