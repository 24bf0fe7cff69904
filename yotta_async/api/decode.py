"""Pods from JSON: the quick way, and the thorough way for whatever the quick one cannot vouch for.

An unknown field, another type or a key that stands twice sends a pod down the thorough way, which keeps, explains or
refuses it. Fields that were unknown are known to the quick way from then on: the day the API adds one, nothing slows.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec

from yotta_async.api import strict_json
from yotta_async.api.converter import StructureError, pod_from
from yotta_async.api.quick import KEY_END, Quick
from yotta_async.models.pod import EnvironmentVariable, ExposedPort, PersistentVolume, Pod

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_UNFIT = (*UNREADABLE, TypeError, ValueError)
# So many names of unknown fields are learned, and none that is longer: a server may invent them without end.
_MOST_NAMES, _LONGEST_NAME = 64, 64


class _Ways:
    """The decoders of the documented fields, and of the unknown ones that were met so far."""

    def __init__(self, pod: tuple[str, ...] = (), port: tuple[str, ...] = (), volume: tuple[str, ...] = ()) -> None:
        self.learned = (pod, port, volume)
        self._pod = Quick(
            Pod,
            {
                "environment_vars": Quick(EnvironmentVariable, {}),
                "expose": Quick(ExposedPort, {}, port),
                "persistent_volumes": Quick(PersistentVolume, {}, volume),
            },
            pod,
        )
        fields: list[Any] = [("message", str | None | msgspec.UnsetType, msgspec.UNSET), ("code", int)]
        envelope = msgspec.defstruct(
            "Envelope", [*fields, ("data", self._pod.struct)], forbid_unknown_fields=True, kw_only=True, gc=False
        )
        self.make = self._pod.make
        self.pod: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._pod.struct)
        self.pods: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[self._pod.struct])  # type: ignore[name-defined]  # made at run time
        self.envelope: msgspec.json.Decoder[Any] = msgspec.json.Decoder(envelope)

    def with_fields_of(self, pod: Pod) -> _Ways:
        """Return the ways that know the fields of this pod too, as far as there is room for them."""
        parts: tuple[Sequence[Any], ...] = ([pod], pod.expose, pod.persistent_volumes)
        learned = []
        for known, group in zip(self.learned, parts, strict=True):
            names = dict.fromkeys([*known, *(name for part in group for name in part.extra)])
            learned.append(tuple(name for name in names if 0 < len(name) <= _LONGEST_NAME and name.isprintable()))
        if tuple(learned) == self.learned or sum(map(len, learned)) > _MOST_NAMES:
            return self
        return _Ways(*learned)


_lock = threading.Lock()
_current: _Ways | None = None  # made on first use, as the codec is


def _learn(pod: Pod | None) -> _Ways:
    global _current  # what the API sends is the same for all of a process
    with _lock:
        ways = _current or _Ways()
        _current = ways if pod is None else ways.with_fields_of(pod)
        return _current


def pod_in(body: bytes, code: int, pod_id: str) -> Pod | None:
    """Return this pod out of an answer with this code, or None when it takes the thorough way to say what it is."""
    ways = _current or _learn(None)
    try:
        envelope = ways.envelope.decode(body)
        struct = envelope.data
        if envelope.code == code and struct.id == pod_id:
            pod, keys = ways.make(struct)
            if _has_unique_keys(body, keys + 2 + (envelope.message is not msgspec.UNSET), envelope):
                return pod  # type: ignore[no-any-return]  # a Pod
    except _UNFIT:
        pass
    return None


def pods_in(text: bytes | bytearray) -> list[Pod] | None:
    """Return the pods of a JSON list, or None when they take the thorough way, each by itself."""
    ways = _current or _learn(None)
    try:
        structs = ways.pods.decode(text)
        made = list(map(ways.make, structs))
        if _has_unique_keys(text, sum(map(_COUNT, made)), structs):
            return list(map(_POD, made))
    except _UNFIT:
        pass
    return None


def pod_from_json(raw: bytes | msgspec.Raw, path: str) -> Pod:
    """Return the pod. Raises MalformedError with the path to each wrong field, below `path`, and no value."""
    ways = _current or _learn(None)
    text = bytes(raw)
    try:
        struct = ways.pod.decode(text)
        pod, keys = ways.make(struct)
        if _has_unique_keys(text, keys, struct):
            return pod  # type: ignore[no-any-return]  # a Pod
    except _UNFIT:
        pass
    try:
        value = strict_json.loads(text)
    except ValueError as error:
        problem = f"{path}: {error}"
    else:
        return pod_from_data(value, path)
    raise StructureError(problem)


def pod_from_data(value: object, path: str) -> Pod:
    """Return the pod in decoded JSON, and learn its fields. Raises MalformedError as `pod_from_json` does."""
    pod = pod_from(value, path)
    if pod.extra or any(port.extra for port in pod.expose) or any(each.extra for each in pod.persistent_volumes):
        _learn(pod)
    return pod


_ENCODER = msgspec.json.Encoder()
_POD, _COUNT = itemgetter(0), itemgetter(1)


def _has_unique_keys(text: bytes | bytearray, keys: int, decoded: Any) -> bool:
    """Whether no key stands twice, of which msgspec would silently take the last: `keys` are those that it took.

    Where no text is escaped and no white space stands before a colon, every key ends with a quote and a colon, and a
    text between quotes that begins with a colon can only make it more. Otherwise: every key has one colon, so had one
    been dropped, writing the structs again would give fewer of them; unless a text had them escaped, and then nothing
    is said.
    """
    plain = not (b"\\" in text or b"\n" in text or b"\t" in text or b"\r" in text)
    # From behind it takes half the time: a search looks for the end of what it seeks first, and colons are frequent.
    if plain and text.rfind(b" :") < 0 and text.count(KEY_END) == keys:
        return True
    if b"\\" in text and b"\\u" in text:
        return False
    again = bytearray(len(text))  # as much as it can need, or the encoder begins small and grows
    _ENCODER.encode_into(decoded, again)
    return text.count(b":") == again.count(b":")
