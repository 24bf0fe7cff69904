"""Waiting for a pod's status: a condition, a deadline, and an account of what was seen."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs

from yotta_async._clock import Clock
from yotta_async._hub import Hub
from yotta_async.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    PodFailedError,
    PodGoneError,
    WaitError,
    WaitTimeoutError,
    YottaError,
)
from yotta_async.models import Pod
from yotta_async.status import PodStatus, can_reach

OnChange: TypeAlias = Callable[[Pod], Awaitable[object] | object]
"""Called with the pod when a status is first seen and whenever it is another; it may be a coroutine function."""

# A look at the pod is taken this long before the deadline, or a tenth of the wait if that is less.
_LAST_LOOK = 0.5
_PERMANENT = (BadRequestError, AuthenticationError, PermissionDeniedError, ConfigurationError)


@attrs.define
class _Account:
    """What one wait saw."""

    pod_id: str
    target: PodStatus
    began: float
    last_pod: Pod | None = None
    history: list[tuple[PodStatus | None, float]] = attrs.Factory(list)
    last_error: YottaError | None = None
    looks: int = 0
    errors: int = 0

    def error(self, kind: type[WaitError], what: str) -> WaitError:
        """Make the error that tells it all."""
        seen = ", ".join(f"{status} at {seconds:.1f} s" for status, seconds in self.history) or "nothing"
        text = f"pod {self.pod_id}: {what}. Seen: {seen}; {self.looks} looks, {self.errors} of them failed"
        if self.last_error is not None:
            text += f", the last with {type(self.last_error).__name__}: {self.last_error}"
        last_pod = self.last_pod.without_values() if self.last_pod else None
        return kind(text, pod_id=self.pod_id, last_pod=last_pod, history=self.history, last_error=self.last_error)


async def wait_until(
    hub: Hub,
    clock: Clock,
    pod_id: str,
    *,
    status: PodStatus,
    timeout: float,
    poll_interval: float,
    on_change: OnChange | None = None,
) -> Pod:
    """Look at the pod every `poll_interval` seconds until its status is `status`; see `Pods.wait_until`."""
    account = _Account(pod_id, status, clock.time())
    deadline = account.began + timeout
    last_look = min(_LAST_LOOK, timeout / 10)
    while True:
        account.looks += 1
        try:
            pod = await hub.look(pod_id, seconds=deadline - clock.time())
        except NotFoundError as error:
            account.errors += 1
            account.last_error = error
            if status == PodStatus.TERMINATED:
                return _terminated(account)
            gone = account.error(PodGoneError, f"it is not there any more, and was waited for to be {status}")
            raise gone from error
        except _PERMANENT:
            raise
        except YottaError as error:
            account.errors += 1
            account.last_error = error
        else:
            changed = account.last_pod is None or pod.status != account.last_pod.status
            account.last_pod = pod
            if changed:
                account.history.append((pod.status, clock.time() - account.began))
                if on_change is not None:
                    result = on_change(pod)
                    if inspect.isawaitable(result):
                        await result
            if pod.status == status:
                return pod
            if not can_reach(pod.status, status):
                why = " (no capacity for it, or an image that does not start)" if pod.status == "FAILED" else ""
                raise account.error(PodFailedError, f"it is {pod.status}{why}, from where {status} cannot come")
        left = deadline - clock.time()
        if left <= 0:
            raise account.error(WaitTimeoutError, f"it was not {status} within {timeout:g} s")
        await clock.sleep(min(poll_interval, left - last_look if left > last_look else left))
        if clock.time() >= deadline:
            raise account.error(WaitTimeoutError, f"it was not {status} within {timeout:g} s")


def _terminated(account: _Account) -> Pod:
    """Return the pod that is gone as its last self, TERMINATED."""
    if account.last_pod is None:
        return Pod(id=account.pod_id, status=PodStatus.TERMINATED)
    return attrs.evolve(account.last_pod, status=PodStatus.TERMINATED)
