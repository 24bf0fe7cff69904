"""Files that commands read: pods as YAML 1.2 or JSON, and variables as KEY=VALUE lines.

Errors name the file and the line, and quote no value, which may be a secret.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Set as AbstractSet
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import click
from dotenv.parser import parse_stream
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.constructor import DuplicateKeyError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError

Place: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the top of a document to an item of it."""

MAX_DEPTH = 20
# YAML 1.1, which many tools still read, takes these words for booleans; in YAML 1.2 they are text.
AMBIGUOUS_WORDS = frozenset(("yes", "no", "on", "off"))


@attrs.define
class PodFields:
    """The fields of one pod in a file, in snake_case, and the line of each."""

    path: str
    line: int | None = None
    values: dict[str, Any] = attrs.field(factory=dict, repr=False)
    lines: dict[str, int | None] = attrs.field(factory=dict)

    def build_error(self, problem: str, field: str = "") -> click.UsageError:
        """Return the error that names the file, and the line of the field or else of the pod."""
        return _build_error(self.path, self.lines.get(field, self.line), problem)


def read_pod_file(path: str, known_fields: AbstractSet[str]) -> list[PodFields]:
    """Return the fields of each pod in a file, those included that the file gives for all of its pods.

    The file has the fields of one pod, a list of pods, or `pods:` beside fields for all. Raises click.UsageError.
    """
    file = _File(path)
    shared, pods, place = PodFields(path), file.content, Place()
    if isinstance(pods, dict):
        if "pods" not in pods:
            return [_read_fields(file, pods, (), known_fields)]
        shared = _read_fields(file, {key: pods[key] for key in pods if key != "pods"}, (), known_fields)
        pods, place = pods["pods"], ("pods",)
    if not isinstance(pods, list) or not pods:
        raise file.build_error("the fields of a pod, or a list of pods, are wanted here", place)
    own = [_read_fields(file, pod, (*place, index), known_fields) for index, pod in enumerate(pods)]
    return [attrs.evolve(pod, values=shared.values | pod.values, lines=shared.lines | pod.lines) for pod in own]


def _read_fields(file: _File, pod: Any, place: Place, known_fields: AbstractSet[str]) -> PodFields:
    if not isinstance(pod, dict):
        raise file.build_error("a pod is a mapping of fields to values", place)
    fields = PodFields(file.path, file.find_line(place))
    for key, value in pod.items():
        name = to_snake_case(str(key))
        if name not in known_fields:
            near = difflib.get_close_matches(name, known_fields, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise file.build_error(f"no pod has the field {str(key)[:80]!r}{hint}", (*place, key))
        if name in fields.values:
            raise file.build_error(f"the field {name} is there twice", (*place, key))
        fields.values[name], fields.lines[name] = value, file.find_line((*place, key))
    return fields


class _File:
    """The content of a YAML or JSON file as plain Python, and the line of each item."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lines: dict[Place, int] = {}
        self._converted: dict[int, Any] = {}
        text = _read_text(path)
        self.content = self._load_json(text)
        if self.content is None:
            self.content = self._load_yaml(text)
        else:
            self._load_yaml(text.replace("\t", " "))  # for lines and repeated keys: but for tabs, JSON is YAML

    def find_line(self, place: Place) -> int | None:
        """Return the line of an item, or of what holds it."""
        while place and place not in self._lines:  # it came by an alias
            place = place[:-1]
        return self._lines.get(place)

    def build_error(self, problem: str, place: Place) -> click.UsageError:
        """Return the error that names the file and the line of an item."""
        return _build_error(self.path, self.find_line(place), problem)

    def _load_json(self, text: str) -> Any:
        """Return the content of a JSON file; None if it is YAML, whose flow style begins in the same way."""
        is_json = self.path.lower().endswith(".json")
        if not is_json and text.lstrip()[:1] not in ("{", "["):
            return None
        try:
            return json.loads(text, parse_float=_parse_float)
        except json.JSONDecodeError as error:
            if is_json:
                raise _build_error(self.path, error.lineno, f"this is not JSON: {error.msg}") from None
        except (ValueError, RecursionError):  # a number with too many digits; too many levels
            raise _build_error(self.path, None, "this cannot be read as JSON") from None
        return None

    def _load_yaml(self, text: str) -> Any:
        try:
            return self._convert(_YAML_1_2.load(text), ())
        except (YAMLError, ValueError, RecursionError) as error:
            mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
            problem = "this is not YAML"
            if isinstance(error, DuplicateKeyError):  # its text has the values too
                key = re.match(r'found duplicate key "(.*?)" with value', error.problem or "", re.DOTALL)
                problem = f"the key {key[1] if key else ''!r} is there twice"
            raise _build_error(self.path, mark and mark.line + 1, problem) from None

    def _convert(self, value: Any, place: Place) -> Any:
        """Return what ruamel.yaml read as plain Python, and note the line of each item."""
        if id(value) in self._converted:
            return self._converted[id(value)]  # an alias stays one object, so that a few cannot become millions
        if len(place) > MAX_DEPTH:
            raise self.build_error("this is nested too deeply", place)
        if not isinstance(value, CommentedMap | CommentedSeq):
            return self._convert_scalar(value, place)
        items = dict(value if isinstance(value, CommentedMap) else enumerate(value))
        self._lines |= {(*place, key): value.lc.data[key][0] + 1 for key in items if key in value.lc.data}
        plain = {key: self._convert(item, (*place, key)) for key, item in items.items()}
        self._converted[id(value)] = plain if isinstance(value, CommentedMap) else list(plain.values())
        return self._converted[id(value)]

    def _convert_scalar(self, value: Any, place: Place) -> Any:
        if type(value) is str and value.lower() in AMBIGUOUS_WORDS:  # one in quotes has a type of its own
            raise self.build_error(f"write {value!r} in quotes, or true or false", place)
        if isinstance(value, TaggedScalar) and str(value.tag.value).endswith(":str"):
            return str(value.value)
        if value is None or isinstance(value, bool):
            return value
        for kind, convert in ((str, str), (int, int), (float, _parse_float)):
            if isinstance(value, kind):
                return convert(value)
        raise self.build_error("a value of this type means nothing here", place)


def read_env_file(path: str) -> dict[str, str]:
    """Return the variables of a file of KEY=VALUE lines; KEY alone takes its value from this process's environment."""
    variables: dict[str, str] = {}
    for statement in parse_stream(StringIO(_read_text(path))):
        text, key = statement.original.string, statement.key
        line = statement.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        value = os.environ.get(key or "") if statement.value is None else statement.value
        if statement.error:
            raise _build_error(path, line, "this is not KEY=VALUE with quotes around all of the value or none of it")
        if key is None:
            continue  # a comment
        if key in variables:
            raise _build_error(path, line, f"the variable {key} is there twice")
        if not value:
            raise _build_error(path, line, f"the variable {key} {'is not set here' if value is None else 'is empty'}")
        variables[key] = value
    return variables


def to_snake_case(name: str) -> str:
    """Return a field's name as PodSpec has it, from that name or from the API's own."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise _build_error(path, None, "this is not UTF-8") from None


def _build_error(path: str, line: int | None, problem: str) -> click.UsageError:
    return click.UsageError(f"{path}{'' if line is None else f', line {line}'}: {problem}")


def _parse_float(number: str | float) -> float:
    """Return a number, a whole one such as 1e2 as an int."""
    value = float(number)
    return int(value) if value.is_integer() else value


class _Constructor(RoundTripConstructor):
    """Reads dates as text, as YAML 1.2's core schema does."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", RoundTripConstructor.construct_scalar)
_YAML_1_2 = YAML()  # the round-trip reader, which knows lines
_YAML_1_2.Constructor = _Constructor
_YAML_1_2.preserve_quotes = True
