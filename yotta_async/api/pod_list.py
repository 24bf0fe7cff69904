"""Lists of pods: split exactly, ids and statuses first, and pods built in batches with the event loop free in between.

An account may list 200,000 pods, as deleted ones stay in lists for a day. A poll reads ids and statuses, for which
msgspec skips the rest of each pod; a pod is built from its part of the response when someone asks for it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import msgspec

from yotta_async.api.converter import DECODE_ERRORS, StructureError, parse_pod_json, structure, wire_name
from yotta_async.api.responses import Envelope, UnreadableLog, explain, invalid_response, open_envelope
from yotta_async.api.versions import DEFAULT_VERSION, ApiVersion
from yotta_async.models.client_tokens import Variable, hides_token_variable, read_token_in_name, read_tokens
from yotta_async.models.pod import Id, Pod
from yotta_async.models.status import ENDING, PodStatus
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
    value: str | None = None


@functools.cache  # defined on first use, for the names of the version
def _token_carrier(version: ApiVersion) -> Any:
    """Return the struct of what can carry the client token of a pod.

    A server that mixes the versions is understood, as it is where whole pods are read.
    """
    names = {"environment_vars": wire_name("environment_vars", version), "pod_name": wire_name("pod_name", version)}
    if wire_name("pod_name") not in names.values():
        names["other_name"] = wire_name("pod_name")
    kinds: dict[str, Any] = {"environment_vars": list[_Variable] | None}
    fields = [(name, kinds.get(name, str | None), None) for name in names]
    return msgspec.defstruct("TokenCarrier", fields, rename=names, gc=False)


class PodList(NamedTuple):
    """The pods of a list, and how many items are left out because no id can be read in them."""

    pods: list[Pod]
    unreadable_items: int


class PodListSnapshot:
    """The items of one list, in its order. `summaries` has None for an item without an id that can be read."""

    def __init__(self, request: Request, response: Response, log: UnreadableLog, version: ApiVersion) -> None:
        self._request = request
        self._response = response
        self._log = log
        self._version = version
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
            pod = parse_pod_json(self.raws[index], self._version)
        except (*DECODE_ERRORS, StructureError):
            return None
        self._log.note_fields(self._request, pod)
        return pod

    def find_tokens(self) -> list[tuple[str, int]]:
        """Return the client tokens of pods, each with the index of its pod.

        The environment decides. A pod of which the list shows none may have a drawn name, which carries the token.
        """
        carriers = enumerate(self._token_carriers)
        return [(token, index) for index, carrier in carriers for token in read_tokens(*carrier)]

    @property
    def may_hide_tokens(self) -> bool:
        """Whether a pod in this list may have a client token that the list does not show.

        That is one with neither an environment nor a drawn name, in a version whose documents show no environment.
        """
        return any(read_token_in_name(name) is None for name in self._names_without_environment)

    @property
    def may_hide_names(self) -> bool:
        """Whether that may also be a pod whose name carries the token, as the list does not show every name."""
        return not all(self._names_without_environment)

    @cached_property
    def _names_without_environment(self) -> list[str | None]:
        """The names of the pods whose token the list would hide if it is in their environment."""
        if self._version.documents_variables:
            return []
        return [
            name
            for summary, (variables, name) in zip(self.summaries, self._token_carriers, strict=True)
            if hides_token_variable(variables) and (summary is None or summary.status not in ENDING)
        ]

    @cached_property
    def _token_carriers(self) -> list[tuple[Sequence[Variable], str | None]]:
        """The environment (empty: not shown) and the name of each item."""
        items: list[Any] | None = _decode_list(self._response, _token_carrier(self._version))
        if items is not None:
            return [(item.environment_vars or (), item.pod_name or getattr(item, "other_name", None)) for item in items]
        # One of them is not exactly as documented.
        pods = [self.pod(index) for index in range(len(self.summaries))]
        return [((), None) if pod is None else (pod.environment_vars, pod.pod_name) for pod in pods]


def parse_snapshot(
    request: Request, response: Response, log: UnreadableLog, version: ApiVersion = DEFAULT_VERSION
) -> PodListSnapshot:
    """Return the ids and statuses of a list. Raises what `open_envelope` raises, and ProtocolError for no list."""
    snapshot = PodListSnapshot(request, response, log, version)
    log.note_items(request, snapshot.unreadable_items, is_poll=True)
    return snapshot


async def parse_pods(
    request: Request, response: Response, log: UnreadableLog, version: ApiVersion = DEFAULT_VERSION
) -> PodList:
    """Return every pod of a list. Raises as `parse_snapshot` raises, and ProtocolError for an item that is not JSON."""
    response.body  # noqa: B018  # joins its chunks, which takes as long as some batches
    await asyncio.sleep(0)
    raws = _split(request, response)
    pods: list[Pod] = []
    for first in range(0, len(raws), _BATCH_SIZE):
        await asyncio.sleep(0)
        pods += _build_batch(request, response, raws[first : first + _BATCH_SIZE], log, version)
    log.note_items(request, len(raws) - len(pods))
    return PodList(pods, len(raws) - len(pods))


@strip_traceback_frames
def _build_batch(
    request: Request, response: Response, raws: list[msgspec.Raw], log: UnreadableLog, version: ApiVersion
) -> list[Pod]:
    pods: list[Pod] = []
    for raw in raws:
        try:
            pods.append(parse_pod_json(raw, version))
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
