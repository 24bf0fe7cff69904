"""JSON values ↔ models: the one place that knows how the wire's names and types map to ours (cattrs, no I/O)."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

import attrs
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from yotta_async.models.pod import (
    CloudType,
    EnvironmentVariable,
    ExposedPort,
    ImagePublicType,
    ImageSource,
    PersistentVolume,
    Pod,
    ResourceType,
)
from yotta_async.models.spec import PersistentVolumeRequest, PodSpec, PortRequest
from yotta_async.models.status import OpenStrEnum, PodStatus

E = TypeVar("E", bound=OpenStrEnum)
Hook: TypeAlias = Callable[..., Any]  # of a JSON value and, as cattrs calls it, a type


class StructureError(ValueError):
    """A part of an answer does not have the documented types; the text has the path to it and no value."""


def wire_name(name: str) -> str:
    """Return the wire's camelCase for one of our snake_case names."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


# Everything that JSON can hold.
_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


def _kind(value: object) -> str:
    return _KINDS[type(value)]


def _text(value: Any, _: Any = None) -> str | None:
    if value is None or type(value) is str:
        return value
    raise TypeError(f"expected text, got {_kind(value)}")


def _whole(value: Any, _: Any = None) -> int | None:
    if value is None or type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise TypeError(f"expected a whole number, got {_kind(value)}")


def _number(value: Any, _: Any = None) -> float | None:
    if value is None or type(value) is float:
        return value
    if type(value) is int and abs(value) < 2**1023:
        return float(value)
    raise TypeError(f"expected a number, got {_kind(value)}")


def _flag(value: Any, _: Any = None) -> bool | None:
    if value is None or type(value) is bool:
        return value
    raise TypeError(f"expected true or false, got {_kind(value)}")


def _id(value: Any, _: Any = None) -> str | None:
    # Ids come as text in the guide's examples and as int64 in the schema: both are read, and text is what comes out.
    if value is None or (type(value) is str and value):
        return value
    if type(value) is int and 0 <= value < 10**64:
        return str(value)
    raise TypeError(f"expected an id, got {'empty text' if value == '' else _kind(value)}")


def _required_id(value: Any, _: Any = None) -> str:
    made = _id(value, _)
    if made is None:
        raise TypeError("expected an id, got null")
    return made


def _text_or_empty(value: Any, _: Any = None) -> str:
    return _text(value, _) or ""


def _time(value: Any, _: Any = None) -> datetime | None:
    """Read the four forms that the sources name: date-time, the guide's without a zone (UTC), epoch s and ms."""
    if value is None:
        return None
    try:
        if type(value) is str:
            if len(value) == 19 and value[10] == " ":
                return datetime.fromisoformat(value + "Z")  # the guide's form, at an eighth of the cost of `replace`
            if not value.isdigit():
                made = datetime.fromisoformat(value)
                return made.replace(tzinfo=UTC) if made.tzinfo is None else made.astimezone(UTC)
            value = int(value)
        if type(value) in (int, float):
            # 1e11 seconds are the year 5138, 1e11 milliseconds are 1973: no time of a pod is between.
            return datetime.fromtimestamp(value / 1000 if abs(value) >= 1e11 else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise TypeError(f"expected a time, got {_kind(value)} that is none")


def _member(kind: type[E]) -> Hook:
    known = {str(member): member for member in kind}

    def read(value: Any, _: Any = None) -> E | None:
        member = known.get(value) if type(value) is str else None
        if member is None and value is not None:
            if type(value) is not str:
                raise TypeError(f"expected text, got {_kind(value)}")
            return kind(value) if value else None
        return member

    return read


HOOKS: dict[object, Hook] = {
    str | None: _text,
    int | None: _whole,
    float | None: _number,
    bool | None: _flag,
    datetime | None: _time,
    PodStatus | None: _member(PodStatus),
    ResourceType | None: _member(ResourceType),
    ImagePublicType | None: _member(ImagePublicType),
    ImageSource | None: _member(ImageSource),
    CloudType | None: _member(CloudType),
}
IDS = frozenset({"id", "org_id", "applicant_id", "image_id"})


def _variable(value: Any, _: Any = None) -> EnvironmentVariable:
    if type(value) is not dict:
        raise TypeError(f"expected an object, got {_kind(value)}")
    return EnvironmentVariable(_text(value.get("key"), _) or "", _text(value.get("value"), _) or "")


def _reader(cls: type[Any], converter: Converter) -> Hook:
    """Return the function that structures one class and keeps the fields that it does not know in `extra`."""

    def parts(value: Any, type_: Any) -> Any:
        if value is None:
            return ()
        if type(value) is not list:
            raise TypeError(f"expected a list, got {_kind(value)}")
        return converter.structure(value, type_)

    overrides = {"extra": override(omit=True)}
    for name, type_ in typing.get_type_hints(cls).items():
        if name in IDS:
            hook: Hook = _required_id if type_ is str else _id
        elif name != "extra":
            hook = HOOKS.get(type_, parts)
        else:
            continue
        overrides[name] = override(rename=wire_name(name), struct_hook=hook)
    structure = make_dict_structure_fn(cls, converter, **overrides)  # type: ignore[arg-type]  # overrides, no options
    known = {wire_name(name) for name in overrides if name != "extra"}

    def read(value: Any, _: Any = None) -> Any:
        if type(value) is not dict:
            raise TypeError(f"expected an object, got {_kind(value)}")
        made = structure(value, cls)
        if value.keys() <= known:
            return made
        return attrs.evolve(made, extra={name: item for name, item in value.items() if name not in known})

    return read


@functools.cache  # made on first use: generating the functions costs more than importing this package
def _converter(*, detailed: bool) -> Converter:
    converter = Converter(detailed_validation=detailed)
    converter.register_structure_hook(EnvironmentVariable, _variable)
    for response in (ExposedPort, PersistentVolume, Pod):
        converter.register_structure_hook(response, _reader(response, converter))
    for request in (PortRequest, PersistentVolumeRequest, PodSpec):
        renamed = {
            # The schema wants these ids as int64, and Python writes every digit.
            name: override(rename=wire_name(name), unstruct_hook=int if name in ("id", "credential_id") else None)
            for name in typing.get_type_hints(request)
        }
        unstructure = make_dict_unstructure_fn(request, converter, _cattrs_omit_if_default=True, **renamed)  # type: ignore[arg-type]  # likewise
        converter.register_unstructure_hook(request, unstructure)
    return converter


def pod_from(value: object, path: str) -> Pod:
    """Structure one pod. Raises MalformedError with the path to each wrong field, below `path`, and no value."""
    try:
        return _converter(detailed=False).structure(value, Pod)
    except Exception:  # noqa: BLE001, S110  # whatever it is, the detailed converter finds it again and says where
        pass
    try:
        return _converter(detailed=True).structure(value, Pod)
    except Exception as error:  # noqa: BLE001  # a converter's group of errors, or one error
        problems = transform_error(error, path, lambda problem, _: _words(problem))
    raise StructureError("; ".join(_in_wire_names(problem) for problem in problems))


def _words(problem: BaseException) -> str:
    return "a required field is missing" if isinstance(problem, KeyError) else str(problem)


def _in_wire_names(problem: str) -> str:
    what, _, where = problem.rpartition(" @ ")
    return f"{re.sub('_([a-z])', lambda letter: letter[1].upper(), where)}: {what}"


def to_wire(spec: PodSpec) -> dict[str, Any]:
    """Return the body of a create: the wire's names, and nothing that was left to the API."""
    body: dict[str, Any] = _converter(detailed=False).unstructure(spec)
    return body
