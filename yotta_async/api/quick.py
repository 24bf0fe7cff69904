"""JSON to models the quick way: msgspec decodes into a struct, and a function written out for the model fills it in.

A struct has exactly the documented fields, in their documented types, and those that answers turned out to have
besides. Whatever does not fit is left to the thorough way. What the fields are called and become the codec knows.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from yotta_async.api import strict_json
from yotta_async.api.converter import HOOKS, IDS, wire_name
from yotta_async.models.status import OpenStrEnum

# What is the same in JSON and in a model; everything else goes through the codec's hooks.
_SAME = (str | None, int | None, float | None, bool | None)


KEY_END = b'":'  # what follows every key, unless there is white space between


class Quick:
    """The struct of one model, and the way from it to the model.

    The way is a line for each field, as attrs and cattrs write theirs: a loop over forty fields takes twice as long. It
    fills an object of a twin with the same slots that is not frozen, and then makes it one of the model's: each of a
    frozen class's own ways to set a field takes ten times as long. It counts the keys that a struct was made of, too.
    `unknown` are names of fields that the model keeps in its `extra`.
    """

    def __init__(self, cls: type[Any], parts: Mapping[str, Quick], unknown: Collection[str] = ()) -> None:
        twin = type(cls.__name__, (), {"__slots__": cls.__slots__})
        names: dict[str, Any] = {"twin": twin, "cls": cls, "UNSET": msgspec.UNSET}
        names |= {"loads": strict_json.loads, "COLON": KEY_END}
        fields: list[tuple[str, Any, Any]] = []
        lines = ["def make(struct):", " made = twin()"]
        for name, model_type in typing.get_type_hints(cls).items():
            if name == "extra":
                lines.append(" made.extra = {}")
                continue
            json_type: Any = model_type
            convert = ""
            if name in parts:
                json_type = list[parts[name].struct] | None  # type: ignore[misc]  # made at run time
                names[f"make_{name}"] = parts[name].make
            elif name in IDS:
                json_type = str | int if model_type is str else str | int | None
                names[f"read_{name}"] = _required_id if model_type is str else _id
                convert = f"value if value.__class__ is str and value else read_{name}(value)"
            elif model_type is str:
                names[f"read_{name}"] = _required
                convert = f"read_{name}(value)"
            elif issubclass(kind := typing.get_args(model_type)[0], OpenStrEnum):
                json_type = str | None
                names[f"members_{name}"] = _Members(kind, HOOKS[model_type])
                convert = f"members_{name}[value]"
            elif model_type not in _SAME:
                json_type = str | int | float | None
                names[f"read_{name}"] = HOOKS[model_type]
                convert = f"read_{name}(value)"
            fields.append((wire_name(name), json_type | msgspec.UnsetType, msgspec.UNSET))
            lines += [f" value = struct.{wire_name(name)}", " if value is UNSET:", "  value = None", "  keys -= 1"]
            if name in parts:
                lines += [
                    " each = []",
                    " for part in value or ():",
                    f"  part, more = make_{name}(part)",
                    "  each.append(part)",
                    "  keys += more",
                    f" made.{name} = tuple(each)",
                ]
            else:
                lines.append(f" made.{name} = {convert or 'value'}")
        lines.insert(1, f" keys = {len(fields)}")
        # A server chose these names: they are values here, and never a part of what is executed.
        renamed = {f"unknown_{number}": name for number, name in enumerate(unknown)}
        for place in renamed:
            fields.append((place, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET))
            lines += [
                f" if struct.{place} is not UNSET:",
                f"  value = bytes(struct.{place})",
                f"  made.extra[{place}] = loads(value)",
                "  keys += 1 + value.count(COLON)",
            ]
        lines += [" made.__class__ = cls", " return made, keys"]
        names |= renamed
        exec("\n".join(lines), names)  # noqa: S102  # of our own fields' names alone
        self.make: Callable[[Any], tuple[Any, int]] = names["make"]
        self.struct: Any = msgspec.defstruct(
            cls.__name__, fields, forbid_unknown_fields=True, omit_defaults=True, gc=False, rename=renamed
        )


class _Members(dict[Any, OpenStrEnum | None]):
    """The members of one kind by their text; a text that is none of them takes the codec's way."""

    def __init__(self, kind: type[OpenStrEnum], read: Callable[[Any], Any]) -> None:
        super().__init__({str(member): member for member in kind} | {None: None})
        self._read = read

    def __missing__(self, text: str) -> Any:
        return self._read(text)


def _required(value: Any) -> Any:
    if type(value) is not str:
        raise TypeError("it is missing")
    return value


def _required_id(value: Any) -> str:
    if type(value) is int and 0 <= value < 10**64:
        return str(value)
    raise TypeError("no id")


def _id(value: Any) -> str | None:
    return None if value is None else _required_id(value)
