"""Validators of what users ask for. An error names field and limit, and never quotes a text, which may be a secret."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import attrs

from yotta_async.errors import InvalidRequestError
from yotta_async.support.secrets import strip_traceback_frames

T = TypeVar("T")
Field: TypeAlias = "attrs.Attribute[Any]"
Validator: TypeAlias = Callable[[Any, Field, Any], None]

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1
MAX_SECONDS = 1e9


def build_refusal(owner: object, field: Field, problem: str) -> InvalidRequestError:
    """Return the error that says what is wrong with a field."""
    return InvalidRequestError(f"{type(owner).__name__}.{field.name} {problem}")


def name_type(value: object) -> str:
    """Name the type of a value that is not what it should be."""
    return "None" if value is None else type(value).__name__


def is_unicode(value: str) -> bool:
    """Say whether the text can be sent: half of a surrogate pair cannot."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def string(min_length: int = 0, max_length: int | None = None, *, optional: bool = True) -> Validator:
    """Validate a text by its number of characters."""

    def validate(owner: object, field: Field, value: object) -> None:
        if value is None and optional:
            return
        if not isinstance(value, str):
            raise build_refusal(owner, field, f"must be text, not {name_type(value)}")
        if len(value) < min_length:
            raise build_refusal(owner, field, f"must be at least {min_length} character long, and is empty")
        if max_length is not None and len(value) > max_length:
            raise build_refusal(owner, field, f"must be at most {max_length} characters long, not {len(value)}")
        if not is_unicode(value):
            raise build_refusal(owner, field, "holds half of a surrogate pair, which no JSON text can carry")

    return validate


def integer(minimum: int, maximum: int = MAX_INT32, *, optional: bool = True) -> Validator:
    """Validate a whole number by its limits, both included."""

    def validate(owner: object, field: Field, value: object) -> None:
        if value is None and optional:
            return
        if not isinstance(value, int) or isinstance(value, bool):
            raise build_refusal(owner, field, f"must be a whole number, not {name_type(value)}")
        if not minimum <= value <= maximum:
            given = value if abs(value) <= MAX_INT64 else "a larger one"
            raise build_refusal(owner, field, f"must be between {minimum} and {maximum}, not {given}")

    return validate


def power_of_two(owner: object, field: Field, value: Any) -> None:
    """Validate 1, 2, 4, 8, … as the vendor's own clients do; the schema does not say it."""
    integer(1)(owner, field, value)
    if value is not None and value & (value - 1):
        raise build_refusal(owner, field, f"must be a power of two (1, 2, 4, 8, …), not {value}")


def finite_number(owner: object, field: Field, value: object) -> None:
    """Validate a finite number, or None."""
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise build_refusal(owner, field, "must be a finite number")


def flag(owner: object, field: Field, value: object) -> None:
    """Validate True, False, or None."""
    if value is not None and not isinstance(value, bool):
        raise build_refusal(owner, field, f"must be True or False, not {name_type(value)}")


def int64_text(owner: object, field: Field, value: object) -> None:
    """Validate an id that the wire wants as an int64 and that we hold as text, or None."""
    if value is None:
        return
    is_whole = isinstance(value, str) and value.isascii() and value.isdigit()
    if not is_whole or len(str(value)) > len(str(MAX_INT64)) or int(str(value)) > MAX_INT64:
        raise build_refusal(owner, field, "must be an id: a whole number of at most 64 bits, as an int or as text")


def enum_text(owner: object, field: Field, value: object) -> None:
    """Validate an enumeration's member, its text, or None."""
    if value is not None and not (isinstance(value, str) and value):
        found = "empty" if value == "" else name_type(value)
        raise build_refusal(owner, field, f"must be one of the enumeration's values, not {found}")


def seconds(name: str, value: float) -> float:
    """Return a duration that a caller gave, in seconds; infinity is one. Raises InvalidRequestError."""
    if type(value) is float and value > 0 and (value <= MAX_SECONDS or value == math.inf):
        return value  # the usual case first: ten thousand waiters call this
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (not 0 < value <= MAX_SECONDS and value != math.inf)
    ):
        raise InvalidRequestError(f"{name} must be a number of seconds above 0, at most a billion, or math.inf")
    return float(value)


def whole_number(name: str, value: int) -> int:
    """Return a number of at least 1 that a caller gave. Raises InvalidRequestError."""
    if type(value) is not int or value < 1:
        raise InvalidRequestError(f"{name} must be a whole number of at least 1")
    return value


def port_number(value: int) -> int:
    """Return a port that a caller gave. Raises InvalidRequestError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise InvalidRequestError("a port must be a whole number between 0 and 65535")
    return value


def refuses_clearly(cls: type[T]) -> type[T]:
    """Make the attrs class's constructor refuse with InvalidRequestError and leave no argument in a traceback.

    The constructor keeps the signature that attrs gave it, for `help()` and for completion in notebooks.
    """
    fields = attrs.fields(cls)  # type: ignore[arg-type]  # every caller is an attrs class
    names = [field.name for field in fields]
    required = [field.name for field in fields if field.default is attrs.NOTHING]
    generated_init = cls.__init__

    @functools.wraps(generated_init)
    def __init__(self: T, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes the class's own
        if args:
            raise InvalidRequestError(f"{cls.__name__} takes its fields by name, as in {cls.__name__}({names[0]}=…)")
        for name in kwargs:
            if name not in names:
                import difflib  # for a mistake only; it would slow every start

                near = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; its fields are {', '.join(names)}"
                raise InvalidRequestError(f"{cls.__name__} has no field {name!r}{hint}")
        missing = [name for name in required if name not in kwargs]
        if missing:
            raise InvalidRequestError(f"{cls.__name__} needs {' and '.join(missing)}")
        generated_init(self, **kwargs)

    cls.__init__ = strip_traceback_frames(__init__)  # type: ignore[arg-type,method-assign]  # in place of attrs' own
    return cls
