"""How long emulated pods stay in their states."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

Seconds: TypeAlias = float | tuple[float, float]


def _duration(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    least, most = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
    for part in (least, most):
        if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part < float("inf"):
            raise ValueError(f"Timings.{field.name} must be a number of seconds, or a (least, most) pair of them")
    if least > most:
        raise ValueError(f"Timings.{field.name} must have the least first")


@attrs.frozen(kw_only=True)
class Timings:
    """How many seconds a pod stays in the states that it leaves by itself: a number, or (least, most) to draw from.

    `terminated` is how long a deleted pod can still be seen. Raises ValueError for what is no span of time.
    """

    initialize: Seconds = attrs.field(default=(1.0, 3.0), validator=_duration)
    pausing: Seconds = attrs.field(default=(0.2, 0.9), validator=_duration)
    terminating: Seconds = attrs.field(default=(0.2, 0.9), validator=_duration)
    terminated: Seconds = attrs.field(default=86_400.0, validator=_duration)
