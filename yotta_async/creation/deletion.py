"""Deleting a pod until it is known to be gone."""

from __future__ import annotations

from collections.abc import Container

from yotta_async.api.endpoints import Endpoints
from yotta_async.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    YottaError,
)
from yotta_async.models.pod import Pod
from yotta_async.models.status import ENDING
from yotta_async.polling.wait_errors import WaitTimeoutError
from yotta_async.support.clock import Clock
from yotta_async.transport.retry import may_have_been_processed

# Within this time a pod is gone, or an error says that it is left.
DELETION_TIMEOUT_S = 30.0
_FIRST_INTERVAL_S = 0.25
_MAX_INTERVAL_S = 4.0
# How long a recently created pod must be absent, by its id and from lists, before its deletion is believed.
_ABSENCE_CONFIRMATION_S = 3.0


async def delete_until_gone(
    endpoints: Endpoints, clock: Clock, pod_id: str, *, recently_created: Container[str] = ()
) -> None:
    """Delete the pod and get it, and repeat both until it is TERMINATING, TERMINATED or gone.

    One "not found" does not mean that it is gone: a second request must say so too. A pod in `recently_created` may
    be unknown to the API for a moment.

    Raises:
        WaitTimeoutError: it is not gone after `DELETION_TIMEOUT_S`.
        AuthenticationError, PermissionDeniedError, ConfigurationError: at once, as no retry would succeed.

    """
    began = clock.time()
    deadline = began + DELETION_TIMEOUT_S
    may_be_deleted = False  # the response to a delete was lost
    absent_since: float | None = None
    last_error: YottaError | None = None
    last_pod: Pod | None = None
    interval = _FIRST_INTERVAL_S
    while True:
        is_new = last_pod is None and pod_id in recently_created
        is_deleted = False
        try:
            try:
                await endpoints.delete(pod_id, recently_created=is_new, deadline=deadline)
                is_deleted = True
            except InvalidStateError:
                pass  # the get shows whether it is being deleted
            except NotFoundError as error:
                if not is_new:
                    return
                may_be_deleted |= error.__cause__ is not None
                is_absent = may_be_deleted and await _is_absent_from_list(endpoints, pod_id)
                absent_since = (absent_since or clock.time()) if is_absent else None
                if absent_since is not None and clock.time() - absent_since >= _ABSENCE_CONFIRMATION_S:
                    return
                raise
            last_pod = await endpoints.get(pod_id, deadline=deadline, fresh_connection=True)
            if last_pod.is_being_deleted:
                return
            last_error = None
        except NotFoundError as error:
            if is_deleted:
                return
            last_error = error
        except (AuthenticationError, PermissionDeniedError, ConfigurationError) as error:
            error.add_note(f"Pod {pod_id} is left, and may bill: delete it.")
            raise
        except YottaError as error:
            may_be_deleted |= may_have_been_processed(error)
            last_error = error
        if clock.time() + interval >= deadline:
            break
        await clock.sleep(interval)
        interval = min(_MAX_INTERVAL_S, interval * 2)
    if isinstance(last_error, NotFoundError) and await _is_absent_from_list(endpoints, pod_id):
        return  # no request has found it in all this time
    seen = f"it is {last_pod.status}" if last_pod and last_error is None else f"the last error was {last_error}"
    raise WaitTimeoutError(
        f"pod {pod_id} is left, and may bill: deleting it for {clock.time() - began:.0f} s had no effect, {seen}. "
        f"Delete it with `pods.delete({pod_id!r})`",
        pod_id=pod_id,
        last_pod=last_pod.redacted() if last_pod else None,
        history=((last_pod.status, clock.time() - began),) if last_pod else (),
        last_error=last_error,
    )


async def _is_absent_from_list(endpoints: Endpoints, pod_id: str) -> bool:
    """Return whether a list shows no such pod, or shows it being deleted; False when that cannot be known."""
    try:
        snapshot = await endpoints.snapshot()
    except YottaError:
        return False
    return all(
        summary is not None and (summary.id != pod_id or summary.status in ENDING) for summary in snapshot.summaries
    )
