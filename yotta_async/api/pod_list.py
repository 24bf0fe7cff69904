"""A list of which only ids and statuses are read until someone asks for a pod.

Whoever waits for 10,000 pods wants to know each second which of them moved, not what all of them are. msgspec skips
over the rest of a pod in a twentieth of the time that building it takes.
"""

from __future__ import annotations

import gc
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from yotta_async.api import strict_json
from yotta_async.api.converter import StructureError
from yotta_async.api.decode import UNREADABLE, pod_from_json, pods_in
from yotta_async.api.wire import invalid_response, parse_data
from yotta_async.errors import ProtocolError
from yotta_async.models.pod import Pod
from yotta_async.support.secrets import strip_traceback_frames
from yotta_async.transport.messages import Request, Response

T = TypeVar("T")

logger = logging.getLogger("yotta_async")


class PodSummary(msgspec.Struct, gc=False):
    """What a tick needs of a pod."""

    id: str | int
    status: str | None = None


class Variable(msgspec.Struct, gc=False):
    """An environment variable of a pod."""

    key: Any = None
    value: Any = None


class Marked(msgspec.Struct, gc=False):
    """What tells whose create made a pod."""

    environmentVars: list[Variable] | None = None  # noqa: N815  # the wire's name


_DATA = re.compile(rb'"data"\s*:\s*\[')
# What stands for the list while the rest is read: no server can guess it, so it is the envelope's own `data`.
PLACE = b'"' + os.urandom(16).hex().encode() + b'"'
_VIEWS = msgspec.json.Decoder(list[PodSummary])
_VIEW = msgspec.json.Decoder(PodSummary)
_MARKS = msgspec.json.Decoder(list[Marked])
_MARK = msgspec.json.Decoder(Marked)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])


class PodListSnapshot:
    """The pods of one answer, in its order."""

    def __init__(self, body: bytes, start: int, end: int, path: str) -> None:
        self._body, self._start, self._end = body, start, end  # the answer, and where in it the list stands
        self._path = path
        self._read, self._cut = 0, start + 1  # how many pods were made at once, and where the next one begins
        self._made: dict[int, Pod] = {}
        self.summaries: list[PodSummary | None] = []
        try:
            self.summaries += _VIEWS.decode(memoryview(body)[start:end])
        except UNREADABLE:
            # One of them cannot be read: it is left out, and whoever waits for it asks for it by itself and is told.
            self.summaries += [_decoded(_VIEW, raw) for raw in self.raws]

    @cached_property
    def raws(self) -> list[msgspec.Raw]:
        """The JSON of every pod."""
        return raws_in(memoryview(self._body)[self._start : self._end])

    def prepare(self, indices: Sequence[int]) -> None:
        """Make these pods, in ascending order, all at once, which takes two thirds of the time of one by one.

        Those that moved come first in a list, so all up to the last of them are made, unless these are so many more
        that splitting the list, at a tenth of the cost, is the better way.
        """
        count = indices[-1] + 1 - self._read
        if count - len(indices) > len(self.summaries) // 10:
            return
        end = self._end_of(indices[-1])
        pods = pods_in(b"[%b]" % self._body[self._cut : end]) if end else None
        if pods is not None and len(pods) == count:
            self._made = {index: pods[index - self._read] for index in indices}
            self._read, self._cut = indices[-1] + 1, end + 1

    def _end_of(self, index: int) -> int:
        """Return where a pod ends, or 0 when that is not known.

        It is guessed from where the next one's id stands. What ends inside a pod is no JSON, and what is too short or
        too long has not as many pods as it should, so a guess cannot be wrong unnoticed.
        """
        if index + 1 >= len(self.summaries):
            return self._end - 1
        following = self.summaries[index + 1]
        if following is None or not isinstance(following.id, str):
            return 0
        place = self._body.find(b'"%b"' % following.id.encode(), self._cut, self._end)
        return self._body.rfind(b"},", self._cut, max(place, self._cut)) + 1

    def pod(self, index: int) -> Pod | None:
        """Return one pod whole, or None, with a warning, when it cannot be read."""
        return self._made.pop(index, None) or structure_or_warn(self.raws[index], index, self._path)

    def bearers(self, key: str) -> list[tuple[str, int]]:
        """Return the value of this environment variable, with the pod's index, for every pod that has it."""
        marks: list[Marked | None] = []
        try:
            marks += _MARKS.decode(memoryview(self._body)[self._start : self._end])
        except UNREADABLE:
            marks += [_decoded(_MARK, raw) for raw in self.raws]
        return [
            (variable.value, index)
            for index, send_state in enumerate(marks)
            if send_state is not None
            for variable in send_state.environmentVars or ()
            if variable.key == key and isinstance(variable.value, str)
        ]


def structure_or_warn(raw: msgspec.Raw, index: int, path: str) -> Pod | None:
    """Return the pod at this place of a list, or None, with a warning, when it cannot be read."""
    try:
        return pod_from_json(raw, f"data[{index}]")
    except StructureError as error:
        problem = str(error)
    try:
        # Only what is an id by its form: anything else may be any part of a pod.
        name = repr(_VIEW.decode(raw).id)[:80]
    except UNREADABLE:
        name = "without an id"
    logger.warning("pod %s in the answer to GET %s is left out: %s", name, path, problem)
    return None


@contextmanager
def collector_off() -> Iterator[None]:
    """Keep the garbage collector from going over pods again and again while they are made and none can be garbage.

    It would take a third of the time, and hold the loop for long. For a stretch without an await; then it may run.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def raws_in(text: bytes | memoryview) -> list[msgspec.Raw]:
    """Return the JSON of every item of a list."""
    return _RAWS.decode(text)


def _decoded(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        return None


@strip_traceback_frames
def parse_snapshot(request: Request, response: Response) -> PodListSnapshot:
    """Return the listing in an answer. Raises what `read_data` raises, and ProtocolError when it is not a list."""
    guessed = without_list(response.body, response.body)
    if guessed is not None:
        start, end, envelope = guessed
        try:
            if parse_data(
                request, Response(response.status, response.headers, [envelope], response.key)
            ) == strict_json.loads(PLACE):
                return PodListSnapshot(response.body, start, end, request.path)
        except (ProtocolError, *UNREADABLE):
            pass  # a wrong guess, or an answer that is refused below
    whole = parse_data(request, response)
    if not isinstance(whole, list | None):
        raise invalid_response(request, response, "data is not a list")
    body = strict_json.dumps(whole or [])
    return PodListSnapshot(body, 0, len(body), request.path)


def without_list(head: bytes, tail: bytes) -> tuple[int, int, bytes] | None:
    """Return where the list in `data` begins in the head of an answer and ends in its tail, and the answer without it.

    A mark stands in its place, for the strict reader. Where the list stands is guessed, as reading all of it only to
    find its end takes as long as reading it. A wrong guess leaves a list or a rest that is no JSON. None for no guess.
    """
    match = _DATA.search(head)
    end = tail.rfind(b"]") + 1
    if match is None or not end or (head is tail and end < match.end()):
        return None
    start = match.end() - 1
    return start, end, head[:start] + PLACE + tail[end:]
