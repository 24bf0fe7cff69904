"""One pod from its JSON: the quick way, and the thorough way for whatever the quick one cannot vouch for.

The quick way decodes with msgspec into structs that have exactly the documented fields, in their documented types. An
unknown field, another type or a key that stands twice sends the pod down the thorough way, which keeps, explains or
refuses it. What the fields are called and become stays the codec's to know.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from yotta_async import _json
from yotta_async._codec import HOOKS, IDS, MalformedError, pod_from, wire_name
from yotta_async.models import EnvironmentVariable, ExposedPort, PersistentVolume, Pod

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# What is the same in JSON and in a model; everything else goes through the codec's hooks.
_SAME = (str | None, int | None, float | None, bool | None)


class _Quick:
    """The struct of one model, and the way from it to the model.

    The way is a function written out for the model, a line for each field, as attrs and cattrs do for theirs: a loop
    over forty fields takes twice as long, and a frozen class's own constructor three times.
    """

    def __init__(self, cls: type[Any], **parts: _Quick) -> None:
        fields: list[tuple[str, Any, Any]] = []
        names: dict[str, Any] = {"new": object.__new__, "cls": cls, "UNSET": msgspec.UNSET}
        lines = ["def make(struct):", " made = new(cls)"]
        for name, model_type in typing.get_type_hints(cls).items():
            names[f"put_{name}"] = vars(cls)[name].__set__
            if name == "extra":
                lines.append(" put_extra(made, {})")
                continue
            convert: Callable[[Any], Any] | None = None
            if name in parts:
                json_type: Any = list[parts[name].struct] | None  # type: ignore[misc]  # made at run time
                convert = parts[name].make
            elif name in IDS:
                json_type = str | int if model_type is str else str | int | None
                convert = _id_text
            elif model_type is str:
                json_type, convert = model_type, _required
            elif model_type in _SAME:
                json_type = model_type
            else:
                json_type = str | int | float | None
                convert = HOOKS[model_type]
            fields.append((wire_name(name), json_type | msgspec.UnsetType, msgspec.UNSET))
            lines += [f" value = struct.{wire_name(name)}", " if value is UNSET: value = None"]
            names[f"convert_{name}"] = convert
            value = f"convert_{name}(value)" if convert else "value"
            if name in parts:
                value = f"tuple([convert_{name}(each) for each in value]) if value else ()"
            lines.append(f" put_{name}(made, {value})")
        exec("\n".join([*lines, " return made"]), names)  # noqa: S102  # of our own fields' names alone
        self.make: Callable[[Any], Any] = names["make"]
        self.struct: Any = msgspec.defstruct(
            cls.__name__, fields, forbid_unknown_fields=True, omit_defaults=True, gc=False
        )


def _required(value: Any) -> Any:
    if value is None:
        raise TypeError("it is missing")
    return value


def _id_text(value: Any) -> str | None:
    if type(value) is int and 0 <= value < 10**64:
        return str(value)
    if type(value) is int or value == "":
        raise TypeError("no id")
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
