"""The statuses of a pod: their names and numbers on the wire, which one follows, and how long each lasts."""

from __future__ import annotations

from random import Random
from typing import Any, TypeAlias

import attrs

STATUS_NUMBERS = {0: "INITIALIZE", 1: "RUNNING", 2: "PAUSING", 3: "PAUSED", 4: "TERMINATING", 6: "FAILED"}
STATUS_NAMES = (*STATUS_NUMBERS.values(), "TERMINATED", "PENDING", "PREPARING")
# What a pod in each transient status becomes without a further request.
NEXT_STATUS = {"INITIALIZE": "RUNNING", "PAUSING": "PAUSED", "TERMINATING": "TERMINATED"}
DELETABLE = frozenset(STATUS_NAMES) - {"TERMINATING", "TERMINATED"}

Seconds: TypeAlias = float | tuple[float, float]


def _check_seconds(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    least, most = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
    for part in (least, most):
        if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part < float("inf"):
            raise ValueError(f"Timings.{field.name} must be a number of seconds, or a (least, most) pair of them")
    if least > most:
        raise ValueError(f"Timings.{field.name} must have the least first")


@attrs.frozen(kw_only=True)
class Timings:
    """How many seconds a pod stays in each transient status: a number, or a (least, most) pair to draw from.

    Args:
        initialize: seconds from a create or resume to RUNNING; by default 1 to 3.
        pausing: seconds from a pause to PAUSED; by default 0.2 to 0.9.
        terminating: seconds from a delete to TERMINATED; by default 0.2 to 0.9.
        terminated: seconds for which a TERMINATED pod remains visible; by default a day.

    Raises:
        ValueError: a value is not a finite, non-negative number of seconds or a pair of them.

    Example:
        ```python
        Emulator(clock="auto", timings=Timings(initialize=(30, 120), pausing=5))
        ```

    """

    initialize: Seconds = attrs.field(default=(1.0, 3.0), validator=_check_seconds)
    pausing: Seconds = attrs.field(default=(0.2, 0.9), validator=_check_seconds)
    terminating: Seconds = attrs.field(default=(0.2, 0.9), validator=_check_seconds)
    terminated: Seconds = attrs.field(default=86_400.0, validator=_check_seconds)

    def draw_seconds(self, status: str, random: Random) -> float | None:
        """Draw how long one pod stays in a status.

        Args:
            status: the name of the status, such as INITIALIZE.
            random: the source of the draw from a (least, most) pair.

        Returns:
            Seconds; None for a status that a pod leaves only by a request.

        """
        seconds: Seconds | None = getattr(self, status.lower(), None)
        return random.uniform(*seconds) if isinstance(seconds, tuple) else seconds
