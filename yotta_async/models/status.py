"""The statuses of a pod: their names, their numbers on the wire, the sets of them, and which can follow which.

Whatever depends on a status is here, so that a status that the API adds is a change to this file alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self, TypeAlias

from yotta_async.errors import InvalidRequestError
from yotta_async.models.enums import OpenStrEnum


class PodStatus(OpenStrEnum):
    """The status of a pod; a value that this version does not know is kept as text.

    INITIALIZING and STOPPED are other words for INITIALIZE and PAUSED, wherever a status is given or read.

    Source: `PodStatusEnum` of the API's OpenAPI document; the first five meanings are the guide's, and the last two
    names those of some documents of v2. Billing starts at RUNNING.

    Attributes:
        INITIALIZE: Created or resumed; the API prepares the machine. RUNNING or FAILED follows.
        RUNNING: Available.
        PAUSING: Being paused; PAUSED follows.
        PAUSED: Stopped, with its volumes kept; it can be resumed.
        TERMINATING: Being deleted; TERMINATED follows.
        TERMINATED: Deleted for good. Lists show it for about a day.
        FAILED: Does not run, such as for lack of a GPU or because of its image. It can only be deleted.
        PENDING: Not documented; treated as starting, like INITIALIZE.
        PREPARING: Not documented; treated as starting, like INITIALIZE.
        INITIALIZING: INITIALIZE.
        STOPPED: PAUSED.

    Example:
        ```python
        assert PodStatus("running") is PodStatus.RUNNING
        ```
    """

    INITIALIZE = "INITIALIZE"
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    FAILED = "FAILED"
    PENDING = "PENDING"
    PREPARING = "PREPARING"
    # What some documents of API v2 call two of them.
    INITIALIZING = "INITIALIZE"
    STOPPED = "PAUSED"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if isinstance(value, str) and value in _NUMBER_TEXTS:
            return cls(_NUMBER_TEXTS[value])
        return super()._missing_(value)

    @property
    def is_terminal(self) -> bool:
        """True for the statuses that a pod does not leave by itself and cannot be brought back from."""
        return self in (PodStatus.TERMINATED, PodStatus.FAILED)

    @property
    def is_being_deleted(self) -> bool:
        """True for TERMINATING and TERMINATED: the pod was deleted and does not come back."""
        return self in ENDING


STATUS_SYNONYMS = PodStatus.__members__.keys() - set(PodStatus)
"""The API's other words for statuses."""

Statuses: TypeAlias = PodStatus | str | int | Iterable[PodStatus | str | int]
"""One status or several, each as the enumeration, its name in any case, or its number in `statusList`."""

# The numbers of `statusList`. 0 to 4 are the guide's; 6 is what the vendor's own client sends. The others have none.
STATUS_NUMBERS = {
    PodStatus.INITIALIZE: 0,
    PodStatus.RUNNING: 1,
    PodStatus.PAUSING: 2,
    PodStatus.PAUSED: 3,
    PodStatus.TERMINATING: 4,
    PodStatus.FAILED: 6,
}
STATUS_BY_NUMBER = {number: status for status, number in STATUS_NUMBERS.items()}
_NUMBER_TEXTS = {str(number): str(status) for number, status in STATUS_BY_NUMBER.items()}

STARTING = frozenset({PodStatus.INITIALIZE, PodStatus.PENDING, PodStatus.PREPARING})
RESUMED = STARTING | {PodStatus.RUNNING}
"""What a pod is in after a resume took effect."""
PAUSED = frozenset({PodStatus.PAUSING, PodStatus.PAUSED})
"""What a pod is in after a pause took effect."""
ENDING = frozenset({PodStatus.TERMINATING, PodStatus.TERMINATED})
"""What a pod is in after a delete took effect."""
NOT_BILLED = ENDING | {PodStatus.FAILED}
"""What costs nothing and will not cost anything. Every other status counts, unknown ones included."""
_ALIVE = RESUMED | PAUSED | {PodStatus.FAILED}

# What can follow a status, by any actor: another program may resume a paused pod; a failed pod can only be deleted. A
# status that is not in the table is unknown, and may lead to any other.
_REACHABLE = {
    **dict.fromkeys(_ALIVE - {PodStatus.FAILED}, _ALIVE | ENDING),
    PodStatus.FAILED: ENDING,
    PodStatus.TERMINATING: frozenset({PodStatus.TERMINATED}),
    PodStatus.TERMINATED: frozenset[PodStatus](),
}


def can_reach(now: PodStatus | None, target: PodStatus) -> bool:
    """Say whether a pod with status `now` (None: unknown) can have status `target`, now or later."""
    if now is None or now == target or now not in _REACHABLE:
        return True
    return target in _REACHABLE[now] or target not in _REACHABLE


def status_of(value: PodStatus | str | int) -> PodStatus:
    """Return a status as users write it: the enumeration, its name in any case, or its number in `statusList`.

    Raises:
        InvalidRequestError: it is none of these.
    """
    if isinstance(value, str) and value:
        status = PodStatus(value)
        if status not in PodStatus.__members__ and not isinstance(value, PodStatus):
            import difflib  # for a mistake only; it would slow every start

            near = difflib.get_close_matches(value.upper(), PodStatus.__members__, n=1, cutoff=0.75)
            if near:
                raise InvalidRequestError(
                    f"{value!r} is not a pod status; did you mean {near[0]}? (PodStatus({value!r}) is taken as it is)"
                )
        return status
    if isinstance(value, int) and not isinstance(value, bool):
        if value in STATUS_BY_NUMBER:
            return STATUS_BY_NUMBER[value]
        known = ", ".join(f"{number} {status}" for number, status in sorted(STATUS_BY_NUMBER.items()))
        raise InvalidRequestError(f"{value} is not the number of a pod status; the numbers are {known}")
    raise InvalidRequestError(f"a pod status is a PodStatus, its name or its number, not {type(value).__name__}")


# Built once: nearly every wait is for one status.
_SINGLE_STATUS_SETS = {status: frozenset((status,)) for status in PodStatus}


def statuses_of(value: Statuses) -> frozenset[PodStatus]:
    """Return one status or several as a set.

    Raises:
        InvalidRequestError: one of them is not a status, or there is none at all.
    """
    if isinstance(value, PodStatus):
        return _SINGLE_STATUS_SETS.get(value) or frozenset((value,))
    is_single = isinstance(value, str) or not isinstance(value, Iterable)
    found = frozenset({status_of(value)}) if is_single else frozenset(status_of(each) for each in value)  # type: ignore[arg-type,union-attr]  # told apart above
    if not found:
        raise InvalidRequestError("a wait needs at least one status to wait for")
    return found
