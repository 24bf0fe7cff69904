"""The errors of waits: they tell what was seen of the pod."""

from __future__ import annotations

from collections.abc import Sequence

from yotta_async.errors import YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus


class WaitError(YottaError):
    """A wait ended without the status that it was for.

    Attributes:
        pod_id: the pod's id.
        last_pod: the pod as last seen, without its secrets; None: it was never seen.
        history: (status, seconds since the wait began) for every status seen, in order.
        last_error: the last failure of a poll.

    """

    def __init__(
        self,
        message: str = "",
        *,
        pod_id: str = "",
        last_pod: Pod | None = None,
        history: Sequence[tuple[PodStatus | None, float]] = (),
        last_error: YottaError | None = None,
    ) -> None:
        super().__init__(message)
        self.pod_id = pod_id
        self.last_pod = last_pod
        self.history = tuple(history)
        self.last_error = last_error


class WaitTimeoutError(WaitError, TimeoutError):
    """The deadline of a wait passed."""


class PodFailedError(WaitError):
    """The pod reached FAILED, or another state from which the status waited for cannot be reached."""


class PodGoneError(WaitError):
    """The pod does not exist any more."""
