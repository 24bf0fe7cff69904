"""One pod from its JSON: the quick way, and the thorough way for whatever the quick one cannot vouch for.

The quick way decodes with msgspec into structs that have exactly the documented fields, in their documented types. An
unknown field, another type or a key that stands twice sends the pod down the thorough way, which keeps, explains or
refuses it. What the fields are called and become stays the codec's to know.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from yotta_async import _json
from yotta_async._codec import HOOKS, IDS, MalformedError, pod_from, wire_name
from yotta_async.models import EnvironmentVariable, ExposedPort, PersistentVolume, Pod

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# What is the same in JSON and in a model; everything else goes through the codec's hooks.
_SAME = (str | None, int | None, float | None, bool | None)


class _Quick:
    """The struct of one model, and the way from it to the model."""

    def __init__(self, cls: type[Any], **parts: _Quick) -> None:
        fields: list[tuple[str, Any, Any]] = []
        self._cls = cls
        self._put = []  # how each field is set; a frozen class's own constructor takes as long as all the rest
        self._conversions: list[tuple[int, Callable[[Any], Any]]] = []
        for name, model_type in typing.get_type_hints(cls).items():
            if name == "extra":
                continue
            if name in parts:
                json_type: Any = list[parts[name].struct] | None  # type: ignore[misc]  # made at run time
                self._conversions.append((len(fields), functools.partial(_each, parts[name].make)))
            elif name in IDS:
                json_type = str | int if model_type is str else str | int | None
                self._conversions.append((len(fields), _id_text))
            elif model_type is str:
                json_type = model_type
                self._conversions.append((len(fields), _required))
            elif model_type in _SAME:
                json_type = model_type
            else:
                json_type = str | int | float | None
                convert = functools.partial(HOOKS[model_type], _=None)  # type: ignore[call-arg]  # all hooks call it so
                self._conversions.append((len(fields), convert))
            fields.append((wire_name(name), json_type | msgspec.UnsetType, msgspec.UNSET))
            self._put.append(vars(cls)[name].__set__)
        self._put_extra = vars(cls)["extra"].__set__ if "extra" in vars(cls) else None
        self.struct: Any = msgspec.defstruct(
            cls.__name__, fields, forbid_unknown_fields=True, omit_defaults=True, gc=False
        )
        self._values = attrgetter(*(name for name, *_ in fields))

    def make(self, struct: Any) -> Any:
        """Return the model."""
        values = list(self._values(struct))
        if msgspec.UNSET in values:
            values = [None if value is msgspec.UNSET else value for value in values]
        for place, convert in self._conversions:
            values[place] = convert(values[place])
        made = object.__new__(self._cls)
        for put, value in zip(self._put, values, strict=True):
            put(made, value)
        if self._put_extra is not None:
            self._put_extra(made, {})
        return made


def _each(make: Callable[[Any], Any], structs: Any) -> tuple[Any, ...]:
    return tuple([make(struct) for struct in structs]) if structs else ()


def _required(value: Any) -> Any:
    if value is None:
        raise TypeError("it is missing")
    return value


def _id_text(value: Any) -> str | None:
    if type(value) is int:
        return str(value)
    if value == "":
        raise TypeError("an id is never empty")
    return value  # type: ignore[no-any-return]  # text or None, by the struct


@functools.cache  # made on first use, as the codec is
def _quick() -> tuple[_Quick, msgspec.json.Decoder[Any]]:
    pod = _Quick(
        Pod,
        environment_vars=_Quick(EnvironmentVariable),
        expose=_Quick(ExposedPort),
        persistent_volumes=_Quick(PersistentVolume),
    )
    return pod, msgspec.json.Decoder(pod.struct)


def pod_from_json(raw: bytes | msgspec.Raw, path: str) -> Pod:
    """Return the pod. Raises MalformedError with the path to each wrong field, below `path`, and no value."""
    pod, decoder = _quick()
    try:
        struct = decoder.decode(raw)
        if struct.id is not msgspec.UNSET and _has_unique_keys(bytes(raw), struct):
            return pod.make(struct)  # type: ignore[no-any-return]  # a Pod
    except (*_UNREADABLE, TypeError):
        pass
    try:
        value = _json.loads(bytes(raw))
    except ValueError as error:
        problem = f"{path}: {error}"
    else:
        return pod_from(value, path)
    raise MalformedError(problem)


def _has_unique_keys(raw: bytes, struct: Any) -> bool:
    """Whether no key stands twice, of which msgspec would silently take the last.

    Every key has one colon, and of a key that stands twice the struct has but one. So had one been dropped, writing the
    struct again would give fewer colons; unless a text had them escaped, and then nothing is said.
    """
    escaped = b"\\" in raw and b"\\u" in raw
    return not escaped and raw.count(b":") == msgspec.json.encode(struct).count(b":")
