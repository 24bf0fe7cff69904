"""Deleting a pod until it is known to be gone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from yotta_async.api.endpoints import Endpoints
from yotta_async.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    WaitTimeoutError,
    YottaError,
)
from yotta_async.models.pod import Pod
from yotta_async.models.status import ENDING
from yotta_async.support.clock import Clock

# Within so many seconds a pod is gone, or an error says that it is left.
REMOVAL_SECONDS = 30.0
# How long a cancel is kept back while a pod is being deleted.
HOLD_SECONDS = 30.0
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 4.0


async def remove(
    endpoints: Endpoints, clock: Clock, pod_id: str, *, is_recently_created: Callable[[str], bool] = lambda _: False
) -> None:
    """Delete the pod, look whether it is on its way out, and do both again until it is.

    Raises WaitTimeoutError, with the pod's id, when that did not succeed within 30 s, and at once what no repeat will
    change: AuthenticationError, PermissionDeniedError, ConfigurationError. A pod for which `is_newborn` says yes was
    made a moment ago: that it is not found yet does not mean that it will not be there.
    """
    began = clock.time()
    deadline = began + REMOVAL_SECONDS
    accepted = False  # after which not to be found is to be gone
    last_error: YottaError | None = None
    last_pod: Pod | None = None
    pause = _FIRST_PAUSE
    while True:
        try:
            with suppress(InvalidStateError):  # it may be on its way out
                await endpoints.delete(pod_id, recently_created=is_recently_created(pod_id), deadline=deadline)
                accepted = True
            last_pod = await endpoints.get(pod_id, deadline=deadline, fresh_connection=True)
            if last_pod.status in ENDING:
                return
            last_error = None
        except NotFoundError as error:
            if accepted or not is_recently_created(pod_id):
                return
            last_error = error
        except (AuthenticationError, PermissionDeniedError, ConfigurationError) as error:
            error.add_note(f"Pod {pod_id} is left, and may bill: delete it.")
            raise
        except YottaError as error:
            last_error = error
        if clock.time() + pause >= deadline:
            break
        await clock.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 2)
    if isinstance(last_error, NotFoundError):
        return  # nobody has ever seen it, for as long as we could wait
    seen = f"it is {last_pod.status}" if last_pod and last_error is None else f"the last error was {last_error}"
    raise WaitTimeoutError(
        f"pod {pod_id} is left, and may bill: deleting it for {clock.time() - began:.0f} s had no effect, {seen}. "
        f"Delete it with `pods.delete({pod_id!r})`",
        pod_id=pod_id,
        last_pod=last_pod.redacted() if last_pod else None,
        history=((last_pod.status, clock.time() - began),) if last_pod else (),
        last_error=last_error,
    )


async def wait_deferring_cancel(
    task: asyncio.Task[Any], cancelled: asyncio.CancelledError | None = None
) -> asyncio.CancelledError | None:
    """Wait for a task of the client's, keep cancels back meanwhile, and return the first of them.

    From a first cancel on (`cancelled`, if there was one before) it waits for 30 s at most.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + HOLD_SECONDS if cancelled else math.inf
    while not task.done() and (left := until - loop.time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left if left < math.inf else None)
        except asyncio.CancelledError as error:
            if cancelled is None:
                cancelled, until = error, loop.time() + HOLD_SECONDS
    return cancelled
