"""The states of a pod: their names, their numbers on the wire, and which can follow which."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Self, TypeAlias

from yotta_async.errors import InvalidRequestError


class OpenStrEnum(StrEnum):
    """A text enumeration that keeps a value it does not know, as the API may add values at any time."""

    # The same as the enumeration's own, which is written in Python and asked for with every look at every pod.
    __hash__ = str.__hash__

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or not value:
            return None
        known = cls.__members__.get(value.upper())
        if known is not None:
            return known
        # Not registered with the class: a server could fill the memory with new names.
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member

    # Until Python 3.11.4 the enumeration's own ways look a member up by name, which fails for an unknown value.
    def __reduce_ex__(self, _: object) -> tuple[type[Self], tuple[str]]:
        return type(self), (self._value_,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


class PodStatus(OpenStrEnum):
    """The state of a pod; a value that this version does not know is kept as text.

    Source: `PodStatusEnum` of the API's OpenAPI document.
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

    @property
    def is_terminal(self) -> bool:
        """True for the states that a pod does not leave by itself and cannot be brought back from."""
        return self in (PodStatus.TERMINATED, PodStatus.FAILED)

    @property
    def is_being_deleted(self) -> bool:
        """True for TERMINATING and TERMINATED: the pod was deleted and does not come back."""
        return self in (PodStatus.TERMINATING, PodStatus.TERMINATED)


Statuses: TypeAlias = PodStatus | str | int | Iterable[PodStatus | str | int]
"""One status or several, each as the enumeration, its name in any case, or its number in `statusList`."""

# Deleted, or about to be.
ENDING = frozenset({PodStatus.TERMINATING, PodStatus.TERMINATED})

# The numbers of `statusList`. 0 to 4 are the guide's; 6 is what the vendor's own client sends. The others have none.
STATUS_NUMBERS = {
    PodStatus.INITIALIZE: 0,
    PodStatus.RUNNING: 1,
    PodStatus.PAUSING: 2,
    PodStatus.PAUSED: 3,
    PodStatus.TERMINATING: 4,
    PodStatus.FAILED: 6,
}
_BY_NUMBER = {number: status for status, number in STATUS_NUMBERS.items()}

_STARTING = frozenset({PodStatus.INITIALIZE, PodStatus.PENDING, PodStatus.PREPARING})
_ENDING = frozenset({PodStatus.TERMINATING, PodStatus.TERMINATED})
_ALIVE = _STARTING | {PodStatus.RUNNING, PodStatus.PAUSING, PodStatus.PAUSED, PodStatus.FAILED}

# What can ever be seen after a state, whoever acts on the pod: a paused pod may be resumed by someone else, a failed
# one can only be deleted. A state that is not in the table is unknown, and counts as on the way to everything.
_LATER = {
    **dict.fromkeys(_ALIVE - {PodStatus.FAILED}, _ALIVE | _ENDING),
    PodStatus.FAILED: _ENDING,
    PodStatus.TERMINATING: frozenset({PodStatus.TERMINATED}),
    PodStatus.TERMINATED: frozenset[PodStatus](),
}


def can_reach(now: PodStatus | None, target: PodStatus) -> bool:
    """Whether a pod that is in state `now` (None: not told) can be in state `target` now or later."""
    if now is None or now == target or now not in _LATER:
        return True
    return target in _LATER[now] or target not in _LATER


def status_of(value: PodStatus | str | int) -> PodStatus:
    """Read a status as users write it: the enumeration, its name in any case, or its number in `statusList`.

    Raises InvalidRequestError for anything else.
    """
    if isinstance(value, str) and value:
        status = PodStatus(value)
        if status not in PodStatus.__members__ and not isinstance(value, PodStatus):
            import difflib  # for a mistake only; it would be a part of every start

            near = difflib.get_close_matches(value.upper(), PodStatus.__members__, n=1, cutoff=0.75)
            if near:
                raise InvalidRequestError(
                    f"{value!r} is not a pod status; did you mean {near[0]}? (PodStatus({value!r}) is taken as it is)"
                )
        return status
    if isinstance(value, int) and not isinstance(value, bool):
        if value in _BY_NUMBER:
            return _BY_NUMBER[value]
        known = ", ".join(f"{number} {status}" for number, status in sorted(_BY_NUMBER.items()))
        raise InvalidRequestError(f"{value} is not the number of a pod status; the numbers are {known}")
    raise InvalidRequestError(f"a pod status is a PodStatus, its name or its number, not {type(value).__name__}")


# Made once: a wait for one status is what ten thousand waits are.
_ALONE = {status: frozenset((status,)) for status in PodStatus}


def statuses_of(value: Statuses) -> frozenset[PodStatus]:
    """Read one status or several. Raises InvalidRequestError for anything else, and for none at all."""
    if isinstance(value, PodStatus):
        return _ALONE.get(value) or frozenset((value,))
    several = isinstance(value, Iterable) and not isinstance(value, str)
    found = frozenset(status_of(each) for each in value) if several else frozenset({status_of(value)})  # type: ignore[union-attr,arg-type]  # told apart above
    if not found:
        raise InvalidRequestError("a wait needs at least one status to wait for")
    return found
