"""JSON ↔ models: one set of type rules, and for each version of the API a cattrs converter with its names (no I/O).

A rule belongs to a type and not to a field, so a new line in a model is a typed field. A pod that is exactly as
documented is decoded by msgspec into a struct of the model's fields; anything else takes the converter.
"""

from __future__ import annotations

import functools
import sys
import typing
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import attrs
import msgspec
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from yotta_async.api.versions import DEFAULT_VERSION, ApiVersion
from yotta_async.models.enums import OpenStrEnum
from yotta_async.models.pod import EnvironmentVariable, Id, Pod
from yotta_async.models.spec import PersistentVolumeRequest, PodSpec, PortRequest
from yotta_async.models.status import STATUS_BY_NUMBER, STATUS_SYNONYMS, PodStatus

# What msgspec raises for bytes that are not JSON, or not of the type that was asked for.
DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# 1e11 seconds are the year 5138, and 1e11 milliseconds are 1973: no time of a pod is between.
_MIN_EPOCH_MS = 1e11
_GUIDE_TIME_LENGTH = len("2025-07-04 10:29:56")
Rule: TypeAlias = Callable[[Any, Any], Any]  # of a JSON value and, as cattrs calls it, a type
_OUR_FIELDS = frozenset({"extra", "unreadable"})  # fields of our models that are not the wire's


class StructureError(ValueError):
    """A JSON value cannot be read as its type. The text names types and no value; `readable` is what stands for it."""

    def __init__(self, expected: str, value: Any = None, *, readable: Any = None) -> None:
        super().__init__(f"expected {expected}, got {'empty text' if value == '' else type(value).__name__}")
        self.readable = readable


def wire_name(name: str, version: ApiVersion = DEFAULT_VERSION) -> str:
    """Return what the wire calls one of our snake_case names: camelCase, or what the version's table says."""
    head, *rest = name.split("_")
    return version.names.get(name) or head + "".join(part.capitalize() for part in rest)


# The rules by type. Null and empty text are "not there". What a rule cannot read is a StructureError.


def parse_text(value: Any, _: Any = None) -> str | None:
    """Read text, or a number as its text."""
    if type(value) is str or value is None:
        return value or None
    if type(value) in (int, float):
        return str(value)
    raise StructureError("text", value)


def parse_number(value: Any, _: Any = None) -> float | None:
    """Read a finite number, also one that comes as text."""
    number = _read_number(value)
    if number is None:
        return None
    if type(number) in (int, float) and abs(number) <= sys.float_info.max:
        return float(number)
    raise StructureError("a number", value)


def parse_integer(value: Any, _: Any = None) -> int | None:
    """Read a whole number, also one that comes as text or with a fraction of zero."""
    number = _read_number(value)
    if type(number) is int or number is None:
        return number
    if type(number) is float and number.is_integer():
        return int(number)
    raise StructureError("a whole number", value)


def _read_number(value: Any) -> Any:
    """Return the number in a text, None for an empty text, and any other value as it is."""
    if type(value) is not str:
        return value
    if value.isascii() and "_" not in value:  # Python reads figures of other scripts and underscores, too
        for kind in (float,) if "." in value else (int, float):  # a failure is slow
            try:
                return kind(value)
            except ValueError:
                pass
    return value or None


def parse_flag(value: Any, _: Any = None) -> bool | None:
    """Read true or false, also as 1 or 0 and as text."""
    flags = {"true": True, "1": True, "false": False, "0": False, "": None}
    if value is None or str(value).lower() in flags:
        return None if value is None else flags[str(value).lower()]
    raise StructureError("true or false", value)


def parse_id(value: Any, _: Any = None) -> str:
    """Read an id: text in the guide's examples, int64 in the schema. A fraction would be a rounded id."""
    if type(value) is str and value:
        return value
    if type(value) is int and 0 <= value < 10**64:
        return str(value)
    raise StructureError("an id", value)


def parse_time(value: Any, _: Any = None) -> datetime | None:
    """Read the forms that the sources name: date-time, the guide's without a zone (UTC), epoch seconds and ms."""
    try:
        if type(value) is str and len(value) == _GUIDE_TIME_LENGTH and value[10] == " ":
            return datetime.fromisoformat(value + "Z")  # an eighth of the cost of `replace`
        number = _read_number(value)
        if number is None:
            return None
        if type(number) is str:
            time = datetime.fromisoformat(number)
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        if type(number) in (int, float):
            return datetime.fromtimestamp(number / 1000 if abs(number) >= _MIN_EPOCH_MS else number, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise StructureError("a time", value)


@functools.cache
def _build_enum_hook(kind: Any) -> Rule:
    """Return the rule for `Enumeration | None`; a status may come as its number in `statusList`, too."""
    enumeration = _enum_in(kind)

    def parse_enum(value: Any, _: Any = None) -> Any:
        if type(value) is str or value is None:
            return enumeration(value) if value else None
        if enumeration is PodStatus and type(value) is int and value in STATUS_BY_NUMBER:
            return STATUS_BY_NUMBER[value]
        raise StructureError("text", value)

    return parse_enum


def _keep_status_word(word: object) -> dict[str, Any]:
    """Return what `extra` keeps of a status: the API's own word, where the enumeration has another."""
    return {"status": word} if type(word) is str and word.upper() in STATUS_SYNONYMS else {}


def parse_variable(value: Any, _: Any = None) -> EnvironmentVariable:
    """Read an environment variable, whose key and value are text and never None."""
    if type(value) is dict and "key" in value:
        return EnvironmentVariable(parse_text(value["key"]) or "", parse_text(value.get("value")) or "")
    raise StructureError("an object with a key", value)


def _build_parts_hook(kind: Any, converter: Converter) -> Rule:
    """Return the rule for `tuple[Part, ...]`: one object instead of a list is a list of one, and nulls are left out."""
    structure_part = converter.get_structure_hook(_part_in(kind))

    def parse_parts(value: Any, _: Any) -> tuple[Any, ...]:
        if value in (None, "", {}):
            return ()
        items = [value] if type(value) is dict else value
        if type(items) is not list:
            raise StructureError("a list", value, readable=())
        parts, is_readable = [], True
        for item in items:
            try:
                parts.append(None if item in (None, "") else structure_part(item, None))
            except StructureError as error:
                is_readable = False
                parts.append(error.readable)
        readable = tuple([part for part in parts if part is not None])
        if not is_readable:
            raise StructureError("a list of documented items", value, readable=readable)
        return readable

    return parse_parts


@functools.cache  # built on first use: generating its functions costs more than importing this package
def _converter(version: ApiVersion) -> Converter:
    converter = Converter()
    name_field = functools.partial(wire_name, version=version)
    rules: dict[Any, Rule] = {
        str | None: parse_text,
        float | None: parse_number,
        int | None: parse_integer,
        bool | None: parse_flag,
        datetime | None: parse_time,
        Id: parse_id,
        Id | None: lambda value, _: None if value in (None, "") else parse_id(value),
        EnvironmentVariable: parse_variable,
    }
    converter.register_structure_hook_factory(rules.__contains__, lambda kind: rules[kind])
    converter.register_structure_hook_factory(_enum_in, _build_enum_hook)
    converter.register_structure_hook_factory(_part_in, _build_parts_hook)
    build_response_hook = functools.partial(_build_response_hook, name_field=name_field)
    converter.register_structure_hook_factory(_is_response, build_response_hook)
    for request in (EnvironmentVariable, PortRequest, PersistentVolumeRequest, PodSpec):
        hooks = dict.fromkeys(("id", "credential_id"), int)  # int64 in the schema; Python writes every digit
        is_volume = request is PersistentVolumeRequest
        names = version.volume_names if is_volume else {}
        omitted = version.omitted_volume_fields if is_volume else ()
        renamed = {
            name: override(
                rename=names.get(name) or name_field(name), omit=name in omitted, unstruct_hook=hooks.get(name)
            )
            for name in [field.name for field in attrs.fields(request)]
        }
        unstructure = make_dict_unstructure_fn(request, converter, _cattrs_omit_if_default=True, **renamed)  # type: ignore[arg-type]  # overrides, no options
        converter.register_unstructure_hook(request, unstructure)
    return converter


def _enum_in(kind: Any) -> Any:
    """Return the enumeration in `Enumeration | None`, or None for another type."""
    parts = (part for part in typing.get_args(kind) if isinstance(part, type) and issubclass(part, OpenStrEnum))
    return next(parts, None)


def _part_in(kind: Any) -> Any:
    """Return the class in `tuple[Part, ...]`, or None for another type."""
    parts = typing.get_args(kind)
    return parts[0] if parts[1:] == (...,) else None


def _is_response(kind: Any) -> bool:
    """Return whether a class is one of responses: it keeps what it does not know in `extra`."""
    return attrs.has(kind) and "extra" in attrs.fields_dict(kind)


def _build_response_hook(cls: Any, converter: Converter, name_field: Callable[[str], str]) -> Rule:
    """Return the function that structures a class of responses. What it does not know or cannot read is in `extra`.

    It raises StructureError for what is not an object, or has no id where one is required. A part (a class without
    `unreadable`) with a field that cannot be read is an error whose `readable` is the part, so that its pod names it.
    """
    fields = attrs.fields_dict(cls)
    names = {name_field(name): name for name in fields if name not in _OUR_FIELDS}
    # A server that mixes the versions is understood, too.
    other_names = {wire_name(name): wire for wire, name in names.items() if wire_name(name) != wire}
    overrides = {name: override(rename=name_field(name), omit=name in _OUR_FIELDS) for name in fields}
    structure_fields = make_dict_structure_fn(cls, converter, _cattrs_detailed_validation=True, **overrides)  # type: ignore[arg-type]  # overrides, no options

    def structure_response(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise StructureError("an object", value)
        for other, wire in other_names.items():
            if other in value and wire not in value:
                value = {wire if name == other else name: item for name, item in value.items()}
        unreadable: dict[str, Any] = {}  # what stands for each field that cannot be read
        try:
            structured = structure_fields(value, cls)
        except ClassValidationError as group:
            unreadable = {note.name: getattr(error, "readable", None) for error, note in group.group_exceptions()[0]}
            for name in unreadable:
                if fields[name].default is attrs.NOTHING:
                    raise StructureError("an id", value.get(name_field(name))) from None
            rest = {wire: item for wire, item in value.items() if names.get(wire) not in unreadable}
            if "unreadable" in fields:
                unreadable["unreadable"] = tuple(wire for wire, name in names.items() if name in unreadable)
            structured = attrs.evolve(structure_fields(rest, cls), **unreadable)
        if unreadable or not value.keys() <= names.keys():
            kept = {None, *unreadable}
            # A new dict of its own, and not shared yet.
            structured.extra.update({wire: item for wire, item in value.items() if names.get(wire) in kept})
        if "status" in fields:
            structured.extra.update(_keep_status_word(value.get("status")))
        if unreadable and "unreadable" not in fields:
            raise StructureError("documented fields", value, readable=structured)
        return structured

    return structure_response


def structure(value: object, kind: Any, version: ApiVersion = DEFAULT_VERSION) -> Any:
    """Return a decoded JSON value as a type of the models. Raises StructureError when no rule can read it.

    A Pod can be read whenever its id can.
    """
    return _converter(version).structure(value, kind)


def unstructure_spec(spec: PodSpec, version: ApiVersion = DEFAULT_VERSION) -> dict[str, Any]:
    """Return the body of a create: the wire's names, and nothing that was left to the API."""
    body = typing.cast("dict[str, Any]", _converter(version).unstructure(spec))
    if version.merges_region and (region := body.pop("region", None)):
        regions = wire_name("region_list", version)
        body[regions] = list(dict.fromkeys((region, *body.get(regions, ()))))
    return body


class StructReader:
    """Reads JSON that is exactly as documented: a struct with the types of a model's fields, then the model.

    What the rules read besides, the struct refuses, so that both ways lead to the same model.
    """

    def __init__(self, cls: type[Any], version: ApiVersion) -> None:
        self._cls = cls
        self._parts: dict[str, StructReader] = {}
        self._rules: dict[str, Rule] = {}  # for fields whose documented JSON is not their type
        self._texts: list[str] = []  # fields of which an empty text means None
        fields: list[Any] = []
        for name, kind in typing.get_type_hints(cls, include_extras=True).items():
            if name in _OUR_FIELDS:
                continue
            if part := _part_in(kind):
                reader = self._parts[name] = StructReader(part, version)
                fields.append((name, list[reader.struct] | None, None))  # type: ignore[name-defined]  # defined at run time
            elif kind == datetime | None:
                self._rules[name] = parse_time
                fields.append((name, str | int | None, None))
            elif name in version.numbers_as_text:
                self._rules[name] = parse_number
                fields.append((name, str | kind, None))
            elif kind in (Id, str):  # never None: the id of a pod, key and value of a variable
                fields.append((name, Annotated[str, msgspec.Meta(min_length=1)]))
            else:
                if kind in (str | None, Id | None) or _enum_in(kind):
                    self._texts.append(name)
                # The status is text until the pod is built, which keeps its word.
                is_text = kind == Id | None or _enum_in(kind) is PodStatus
                fields.append((name, str | None if is_text else kind, None))
        options: dict[str, Any] = {"forbid_unknown_fields": True, "kw_only": True, "gc": False}
        # Read by `convert` as any attribute, which copies what is mutable: to find one missing costs more than a field.
        options["namespace"] = {name: {} if name == "extra" else () for name in _OUR_FIELDS}
        rename = functools.partial(wire_name, version=version)
        self.struct: Any = msgspec.defstruct(cls.__name__, fields, rename=rename, **options)
        self.decode = msgspec.json.Decoder(self.struct).decode

    def build(self, struct: Any) -> Any:
        """Return the pod. Raises StructureError for a text that is no time or no number."""
        word = struct.status
        self.apply_rules(struct)
        model = msgspec.convert(struct, self._cls, from_attributes=True)
        model.extra.update(_keep_status_word(word))  # a new dict of its own, and not shared yet
        return model

    def apply_rules(self, struct: Any) -> None:
        """Put into the struct what its model has where the documented JSON is something else."""
        for name in self._texts:
            if getattr(struct, name) == "":
                setattr(struct, name, None)
        for name, parse in self._rules.items():
            setattr(struct, name, parse(getattr(struct, name), None))
        for name, reader in self._parts.items():
            parts = getattr(struct, name)
            if parts is None:
                setattr(struct, name, ())
            else:
                for part in parts:
                    reader.apply_rules(part)


@functools.cache  # built on first use, as the converter is
def pod_reader(version: ApiVersion = DEFAULT_VERSION) -> StructReader:
    """Return the reader of pods that are exactly as documented."""
    return StructReader(Pod, version)


def parse_pod_json(raw: bytes | msgspec.Raw, version: ApiVersion = DEFAULT_VERSION) -> Pod:
    """Return the pod in a JSON text. Raises what `structure` raises, and DECODE_ERRORS for what is not JSON."""
    reader = pod_reader(version)
    try:
        pod: Pod = reader.build(reader.decode(raw))
    except (*DECODE_ERRORS, StructureError):
        pod = structure(msgspec.json.decode(raw), Pod, version)
    return pod
