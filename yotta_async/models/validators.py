"""Validators of what users ask for: each names field and limit, and never quotes a text, which may be a secret."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import attrs

from yotta_async.errors import InvalidRequestError
from yotta_async.support.secrets import strip_traceback_frames

T = TypeVar("T")
Field: TypeAlias = "attrs.Attribute[Any]"
Check: TypeAlias = Callable[[Any, Field, Any], None]

INT32 = 2**31 - 1
INT64 = 2**63 - 1


def refusal(owner: object, field: Field, what: str) -> InvalidRequestError:
    """Return the error that says what is wrong with a field."""
    return InvalidRequestError(f"{type(owner).__name__}.{field.name} {what}")


def kind(value: object) -> str:
    """Name the type of a value that is not what it should be."""
    return "None" if value is None else type(value).__name__


def text(at_least: int = 0, at_most: int | None = None, *, optional: bool = True) -> Check:
    """Check for a text of so many characters."""

    def check(owner: object, field: Field, value: object) -> None:
        if value is None and optional:
            return
        if not isinstance(value, str):
            raise refusal(owner, field, f"must be text, not {kind(value)}")
        if len(value) < at_least:
            raise refusal(owner, field, f"must be at least {at_least} character long, and is empty")
        if at_most is not None and len(value) > at_most:
            raise refusal(owner, field, f"must be at most {at_most} characters long, not {len(value)}")
        if not is_unicode(value):
            raise refusal(owner, field, "holds half of a surrogate pair, which no JSON text can carry")

    return check


def is_unicode(value: str) -> bool:
    """Whether the text can be sent at all."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def whole(at_least: int, at_most: int = INT32, *, optional: bool = True) -> Check:
    """Check for a whole number within limits, both included."""

    def check(owner: object, field: Field, value: object) -> None:
        if value is None and optional:
            return
        if not isinstance(value, int) or isinstance(value, bool):
            raise refusal(owner, field, f"must be a whole number, not {kind(value)}")
        if not at_least <= value <= at_most:
            given = value if abs(value) <= INT64 else "a larger one"
            raise refusal(owner, field, f"must be between {at_least} and {at_most}, not {given}")

    return check


def power_of_two(owner: object, field: Field, value: Any) -> None:
    """Check for 1, 2, 4, 8, … as the vendor's own clients do; the schema does not say it."""
    whole(1)(owner, field, value)
    if value is not None and value & (value - 1):
        raise refusal(owner, field, f"must be a power of two (1, 2, 4, 8, …), not {value}")


def number(owner: object, field: Field, value: object) -> None:
    """Check for a finite number."""
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise refusal(owner, field, "must be a finite number")


def whole_text(owner: object, field: Field, value: object) -> None:
    """Check for an id that the wire wants as an int64 and that we hold as text."""
    if value is None:
        return
    is_whole = isinstance(value, str) and value.isascii() and value.isdigit()
    if not is_whole or len(str(value)) > 19 or int(str(value)) > INT64:
        raise refusal(owner, field, "must be an id: a whole number of at most 64 bits, as an int or as text")


def filled(owner: object, field: Field, value: object) -> None:
    """Check for an enumeration's member, its text, or None."""
    if value is not None and not (isinstance(value, str) and value):
        found = "empty" if value == "" else kind(value)
        raise refusal(owner, field, f"must be one of the enumeration's values, not {found}")


def seconds(name: str, value: float) -> float:
    """Return a duration that a caller gave, in seconds; infinity is one. Raises InvalidRequestError."""
    if type(value) is float and value > 0 and (value <= 1e9 or value == math.inf):
        return value  # as it nearly always is, also for each of ten thousand waiters
    if isinstance(value, bool) or not isinstance(value, int | float) or (not 0 < value <= 1e9 and value != math.inf):
        raise InvalidRequestError(f"{name} must be a number of seconds above 0, at most a billion, or math.inf")
    return float(value)


def port_number(value: int) -> int:
    """Return a port that a caller gave. Raises InvalidRequestError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise InvalidRequestError("a port must be a whole number between 0 and 65535")
    return value


def refuses_clearly(cls: type[T]) -> type[T]:
    """Make the attrs class's constructor refuse with InvalidRequestError and leave no argument in a traceback."""
    names = [field.name for field in attrs.fields(cls)]  # type: ignore[arg-type]  # every caller is an attrs class
    needed = [field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING]  # type: ignore[arg-type]  # likewise
    fill = cls.__init__

    def __init__(self: T, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes the class's own
        if args:
            raise InvalidRequestError(f"{cls.__name__} takes its fields by name, as in {cls.__name__}({names[0]}=…)")
        for name in kwargs:
            if name not in names:
                import difflib  # for a mistake only; it would be a part of every start

                near = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; its fields are {', '.join(names)}"
                raise InvalidRequestError(f"{cls.__name__} has no field {name!r}{hint}")
        missing = [name for name in needed if name not in kwargs]
        if missing:
            raise InvalidRequestError(f"{cls.__name__} needs {' and '.join(missing)}")
        fill(self, **kwargs)

    cls.__init__ = strip_traceback_frames(__init__)  # type: ignore[arg-type,method-assign]  # in place of attrs' own
    return cls
