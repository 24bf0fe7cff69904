"""Lists of pods: split exactly, ids and statuses first, and pods built in batches with the event loop free in between.

An account may list 200,000 pods, as deleted ones stay in lists for a day. A poll reads ids and statuses, for which
msgspec skips the rest of each pod; a pod is built from its part of the response when someone asks for it.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import msgspec

from yotta_async.api.converter import DECODE_ERRORS, StructureError, parse_pod_json, structure
from yotta_async.api.responses import Envelope, UnreadableLog, explain, invalid_response, open_envelope
from yotta_async.models.pod import Id, Pod
from yotta_async.models.status import PodStatus
from yotta_async.support.secrets import strip_traceback_frames
from yotta_async.transport.messages import Request, Response

# Some 1.5 ms. Between two batches the event loop runs what else is ready.
_BATCH_SIZE = 100


class PodSummary(msgspec.Struct, gc=False):
    """What a poll needs of a pod."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    status: PodStatus | None = None


class _LooseSummary(msgspec.Struct):
    id: Any = None
    status: Any = None


class _Variable(msgspec.Struct, gc=False):
    key: str
    value: str


class _Variables(msgspec.Struct, rename="camel", gc=False):
    environment_vars: list[_Variable] | None = None


class PodList(NamedTuple):
    """The pods of a list, and how many items are left out because no id can be read in them."""

    pods: list[Pod]
    unreadable_items: int


class PodListSnapshot:
    """The items of one list, in its order. `summaries` has None for an item without an id that can be read."""

    def __init__(self, request: Request, response: Response, log: UnreadableLog) -> None:
        self._request = request
        self._response = response
        self._log = log
        summaries: list[PodSummary | None] | None = _decode_list(response, PodSummary)
        self.summaries = [_parse_summary(raw) for raw in self.raws] if summaries is None else summaries
        self.unreadable_items = self.summaries.count(None)

    @cached_property
    def raws(self) -> list[msgspec.Raw]:
        """The JSON of every item."""
        return _split(self._request, self._response)

    def pod(self, index: int) -> Pod | None:
        """Build one pod, or return None for an item that has no id or is not JSON."""
        try:
            pod = parse_pod_json(self.raws[index])
        except (*DECODE_ERRORS, StructureError):
            return None
        self._log.note_fields(self._request, pod)
        return pod

    def find_variable(self, key: str) -> list[tuple[str, int]]:
        """Return the values of an environment variable, each with the index of its pod."""
        items: list[Any] | None = _decode_list(self._response, _Variables)
        if items is None:  # one of them is not exactly as documented
            items = [self.pod(index) for index in range(len(self.summaries))]
        variables = [(item.environment_vars or (), index) for index, item in enumerate(items) if item is not None]
        return [(each.value, index) for some, index in variables for each in some if each.key == key]


@strip_traceback_frames
def parse_snapshot(request: Request, response: Response, log: UnreadableLog) -> PodListSnapshot:
    """Return the ids and statuses of a list. Raises what `open_envelope` raises, and ProtocolError for no list."""
    snapshot = PodListSnapshot(request, response, log)
    log.note_items(request, snapshot.unreadable_items, is_poll=True)
    return snapshot


async def parse_pods(request: Request, response: Response, log: UnreadableLog) -> PodList:
    """Return every pod of a list. Raises as `parse_snapshot` raises, and ProtocolError for an item that is not JSON."""
    response.body  # noqa: B018  # joins its chunks, which takes as long as some batches
    await asyncio.sleep(0)
    raws = _split(request, response)
    pods: list[Pod] = []
    for first in range(0, len(raws), _BATCH_SIZE):
        await asyncio.sleep(0)
        pods += _build_batch(request, response, raws[first : first + _BATCH_SIZE], log)
    log.note_items(request, len(raws) - len(pods))
    return PodList(pods, len(raws) - len(pods))


@strip_traceback_frames
def _build_batch(request: Request, response: Response, raws: list[msgspec.Raw], log: UnreadableLog) -> list[Pod]:
    pods: list[Pod] = []
    for raw in raws:
        try:
            pods.append(parse_pod_json(raw))
        except StructureError:
            continue  # it has no id; the caller counts it
        except DECODE_ERRORS as error:
            raise invalid_response(request, response, explain(error)) from None
        log.note_fields(request, pods[-1])
    return pods


@strip_traceback_frames
def _split(request: Request, response: Response) -> list[msgspec.Raw]:
    """Return the JSON of each item of the list."""
    raws: list[msgspec.Raw] | None = _decode_list(response, msgspec.Raw)
    if raws is not None:
        return raws
    open_envelope(request, response)
    raise invalid_response(request, response, "data is not a list")


def _decode_list(response: Response, kind: Any) -> list[Any] | None:
    """Return the items as `kind`, or None for any response that is not exactly a list of these."""
    try:
        envelope = msgspec.json.decode(response.body, type=Envelope[list[kind]])
    except DECODE_ERRORS:
        return None
    if 200 <= response.status < 300 and envelope.is_success and envelope.data is not msgspec.UNSET:
        return envelope.data
    return None


def _parse_summary(raw: msgspec.Raw) -> PodSummary | None:
    """Return the summary of an item in a list that is not exactly as documented; None when its id cannot be read."""
    summary = None
    try:
        item = msgspec.json.decode(raw, type=_LooseSummary)
        summary = PodSummary(structure(item.id, Id))
        summary.status = structure(item.status, PodStatus | None)
    except (*DECODE_ERRORS, StructureError):
        pass  # of the id, and there is no summary; of the status, and it is None
    return summary
