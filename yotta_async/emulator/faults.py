"""Fault injection: which requests or pods a fault affects, how often, and how it changes a response."""

from __future__ import annotations

import asyncio
import fnmatch
import math
import random
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypedDict, Unpack, get_args

import msgspec
from aiohttp import web
from msgspec import Meta

from yotta_async.emulator.schema import Envelope, Int32, name_field
from yotta_async.emulator.statuses import NEXT_STATUS, STATUS_NAMES

UnprocessedKind: TypeAlias = Literal["status", "html_502", "rate_limited", "redirect", "reset_before_commit"]
ProcessedKind: TypeAlias = Literal["delay", "answer_lost_after_commit", "cut_body", "bad_json", "endless_body"]
ListKind: TypeAlias = Literal["list_lag", "missing_from_list"]
PodKind: TypeAlias = Literal["stuck", "failed", "unhealthy_port", "unknown_status"]
FaultKind: TypeAlias = Literal[UnprocessedKind, ProcessedKind, ListKind, PodKind]
"""What a fault does; `Faults` lists the kinds."""
FaultTarget: TypeAlias = Literal["create", "list", "get", "pause", "resume", "delete", "gpus", "any"]
"""The endpoint whose requests a fault affects, in every version of the API."""
FromOne: TypeAlias = Annotated[int, Meta(ge=1)]

_LIST_KINDS, _POD_KINDS = get_args(ListKind), get_args(PodKind)
_RESET_KINDS = ("reset_before_commit", "answer_lost_after_commit")
_DEFAULT_SECONDS = {"rate_limited": 1.0, "delay": 60.0, "list_lag": 60.0}
# The kinds that use a parameter; any other combination is refused, as it would have no effect.
_KINDS_BY_PARAMETER = {
    "http_status": ("status",),
    "code": ("status",),
    "message": ("status",),
    "seconds": tuple(_DEFAULT_SECONDS),
    "location": ("redirect",),
    "state": ("stuck", "unknown_status"),
    "status": ("unknown_status",),
}
_COUNTERS = ("id", "calls", "fired", "is_active")
_FIRED = web.RequestKey("fired", tuple["Fault", ...])
_HTTP_STATUSES_WITHOUT_BODY = (204, 205, 304)
_HTML = (
    "<html><head><title>502 Bad Gateway</title></head>"
    "<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>"
)
_ENDLESS_CHUNK = b" " * 2**16
_ENDLESS_CHUNKS = 2**20  # 64 GiB in total


class FaultOptions(TypedDict, total=False):
    """The arguments of `Faults.add`; the same names are used over HTTP and in the pytest marker.

    Without `nth` and `probability`, a fault affects every matching request. The options from `http_status` on belong to
    the kinds that `Faults` names with them.

    Attributes:
        kind: what the fault does. Required.
        on: the endpoint, in every version of the API; by default "create" for the kinds that act on a pod, "list" for
            those of lists, and "any" for the others.
        nth: which of the matching requests it affects, one number or several; 1 is the first from now on.
        probability: the chance that it affects a matching request, from 0 to 1, drawn with the emulator's seed. Not
            together with `nth`.
        times: how many requests it affects at most.
        pod_name: the names of the pods that it affects; * and ? are wildcards. By default all.
        http_status: the HTTP status, from 200 to 599, but not 204, 205 or 304, which have no body.
        code: the code in the API's envelope, a 32-bit integer.
        message: the message in the API's envelope; printable text.
        seconds: seconds of the emulator's clock, at least 0.
        location: the URL of the redirect.
        state: the status of the pod in which the fault acts.
        status: the status that the pod shows; printable text.

    """

    kind: FaultKind
    on: FaultTarget
    nth: int | Sequence[int]
    probability: float
    times: int
    pod_name: str
    http_status: int
    code: int
    message: str
    seconds: float
    location: str
    state: str
    status: str


class Fault(msgspec.Struct, kw_only=True, eq=False, forbid_unknown_fields=True):
    """An active fault, as `Faults.add` returns it. Not constructed directly.

    Attributes:
        kind: what it does.
        on: the endpoint.
        nth: which of the matching requests it affects; None for all.
        probability: the chance of each matching request, from 0 to 1; None for all.
        times: how many requests it affects at most; None is unlimited.
        pod_name: the names of the pods that it affects, with the wildcards * and ?.
        http_status: the HTTP status of the kind "status".
        code: the envelope's code of the kind "status".
        message: the envelope's message of the kind "status".
        seconds: seconds of the emulator's clock, for "rate_limited", "delay" and "list_lag".
        location: the URL of the kind "redirect".
        state: the status in which "stuck" and "unknown_status" act.
        status: the status that "unknown_status" shows.
        id: its number; `Faults.remove` takes it.
        calls: how many requests have matched it.
        fired: how many requests it has affected.
        is_active: False once it is removed.

    """

    kind: FaultKind
    on: FaultTarget = "any"
    nth: FromOne | Annotated[tuple[FromOne, ...], Meta(min_length=1)] | None = None
    probability: Annotated[float, Meta(ge=0, le=1)] | None = None
    times: FromOne | None = None
    pod_name: str = "*"
    http_status: Annotated[int, Meta(ge=200, le=599)] = 500
    code: Int32 = 10002
    message: str = "system error"
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    location: Annotated[str, Meta(pattern="^[!-~]+$")] = "https://elsewhere.example.com/"
    state: str = "INITIALIZE"
    status: Annotated[str, Meta(min_length=1)] = "REBUILDING"
    id: int = 0
    calls: int = 0
    fired: int = 0
    is_active: bool = True

    def matches(self, pod_name: str) -> bool:
        """Check whether the fault applies to pods of a name. The emulator calls this.

        Args:
            pod_name: the name of a pod.

        Returns:
            Whether `pod_name` of the fault matches it.

        """
        return fnmatch.fnmatchcase(pod_name, self.pod_name)


class Faults:
    """The active faults of an emulator, as `Emulator.faults`. Not constructed directly.

    Iteration yields them, the oldest first, and `len` counts them. The kinds, with their own options and defaults; "not
    processed" means that the request changes nothing:

    - "status": an error with `http_status` (500), `code` (10002) and `message` in the API's envelope; not processed.
    - "html_502": a proxy's HTML page with status 502; not processed.
    - "rate_limited": status 429 with Retry-After: `seconds` (1); not processed.
    - "redirect": status 307 to `location` on another host; not processed.
    - "delay": the response takes `seconds` (60) of the emulator's clock longer.
    - "reset_before_commit": the connection is reset; not processed.
    - "answer_lost_after_commit": the request is processed, and the connection is reset instead of a response.
    - "cut_body", "bad_json", "endless_body": the request is processed; the body is truncated, not JSON, or never ends.
    - "list_lag": a list shows the pods as they were `seconds` (60) ago.
    - "missing_from_list": a list omits the pods that match `pod_name`.
    - "stuck": the created pod stays in `state` (INITIALIZE; PAUSING, TERMINATING).
    - "failed": the created pod becomes FAILED instead of RUNNING.
    - "unhealthy_port": the created pod runs, but its ports are unhealthy and accept no connection.
    - "unknown_status": the created pod shows `status` (REBUILDING) while it is in `state` (INITIALIZE).

    The last four fire on creates and act on the pod until the fault is removed. If several faults fire on one request,
    the first one that replaces the response counts.

    Attributes:
        on_removal: called with each fault that is removed; the emulator sets it.

    """

    def __init__(self, faults: Iterable[FaultOptions] = (), seed: int = 0) -> None:
        if isinstance(faults, str | Mapping) or not isinstance(faults, Iterable):
            raise TypeError("faults must be a list of faults, such as [{'kind': 'stuck', 'nth': 1}]")
        self.on_removal: Callable[[Fault], None] = _deactivate
        self._faults: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311  # repeats on purpose
        self._last_id = 0
        for options in faults:
            self.add_from_options(options)

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, **options: Unpack[FaultOptions]) -> Fault:
        """Add a fault.

        Args:
            options: the names and values of `FaultOptions`, such as `kind="stuck"`.

        Returns:
            The fault, which `remove` takes.

        Raises:
            ValueError: an option is unknown, has a wrong value, or has no effect for this kind.

        Example:
            ```python
            emulator.faults.add(kind="answer_lost_after_commit", on="create", nth=2)
            ```

        """
        return self.add_from_options(options)

    def add_from_options(self, options: Any) -> Fault:
        """Add a fault by a mapping of options, as JSON has them.

        Args:
            options: a mapping with the keys of `FaultOptions`.

        Returns:
            The fault, which `remove` takes.

        Raises:
            ValueError: as `add` does.

        """
        try:
            fault = msgspec.convert(options, Fault)
        except msgspec.ValidationError as error:
            raise ValueError(f"invalid fault: {name_field(error)}") from None
        _check(fault, given=set(options))
        if "on" not in options:
            fault.on = "list" if fault.kind in _LIST_KINDS else "create" if fault.kind in _POD_KINDS else "any"
        if "seconds" not in options:
            fault.seconds = _DEFAULT_SECONDS.get(fault.kind, 0.0)
        self._last_id += 1
        fault.id = self._last_id
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault | int) -> None:
        """Remove a fault and undo what it does to pods.

        It affects no further request. A pod that it holds in a status (`stuck`) leaves that status now, ports that it
        keeps closed (`unhealthy_port`) open, a status that it hides (`unknown_status`) shows, and a pod that it would
        fail later (`failed`) runs instead. What has happened stays: a pod that is FAILED, a response that was sent.

        Args:
            fault: the fault that `add` returned, or its id.

        Raises:
            ValueError: the fault is not active: it was removed before, or belongs to another emulator.

        """
        for active in self._faults:
            if active is fault or (type(fault) is int and active.id == fault):
                self.on_removal(active)
                self._faults.remove(active)
                return
        name = fault.id if isinstance(fault, Fault) else fault
        ids = ", ".join(str(active.id) for active in self._faults)
        raise ValueError(f"there is no such fault: {name!r}. Active faults by id: {ids or 'none'}")

    def clear(self) -> None:
        """Remove all faults."""
        for fault in self:
            self.remove(fault)

    def fire(self, endpoint: str, pod_name: str | None, *, is_refused: bool = False) -> tuple[Fault, ...]:
        """Find the faults that affect a request, and count it. The emulator calls this for each request.

        Args:
            endpoint: the endpoint, as `FaultTarget` names it.
            pod_name: the name of the pod that the request is about; None for none.
            is_refused: whether the request is a create that makes no pod, so that faults which act on a pod do not
                apply.

        Returns:
            The faults, the oldest first.

        """
        faults = [fault for fault in self._faults if not (is_refused and fault.kind in _POD_KINDS)]
        return tuple(fault for fault in faults if self._fires(fault, endpoint, pod_name))

    def _fires(self, fault: Fault, endpoint: str, pod_name: str | None) -> bool:
        if fault.on not in ("any", endpoint):
            return False
        if fault.kind != "missing_from_list" and fault.pod_name != "*" and not fault.matches(pod_name or ""):
            return False
        fault.calls += 1
        if fault.times is not None and fault.fired >= fault.times:
            return False
        if fault.nth is not None and fault.calls not in (fault.nth if isinstance(fault.nth, tuple) else (fault.nth,)):
            return False
        if fault.probability is not None and self._random.random() >= fault.probability:
            return False
        fault.fired += 1
        return True


def _deactivate(fault: Fault) -> None:
    fault.is_active = False


def _check(fault: Fault, given: set[str]) -> None:
    """Raise ValueError for what the types of the fields do not express."""
    for name in given.intersection(_COUNTERS):
        raise ValueError(f"{name} is set by the emulator and cannot be given")
    for name, kinds in _KINDS_BY_PARAMETER.items():
        if name in given and fault.kind not in kinds:
            raise ValueError(f"{name} has no effect for the kind {fault.kind!r}, only for {', '.join(kinds)}")
    for kinds, endpoint in ((_LIST_KINDS, "list"), (_POD_KINDS, "create")):
        if fault.kind in kinds and "on" in given and fault.on != endpoint:
            raise ValueError(f"the kind {fault.kind!r} applies to {endpoint!r} only, not to {fault.on!r}")
    states = tuple(NEXT_STATUS) if fault.kind == "stuck" else STATUS_NAMES
    if fault.state not in states:
        raise ValueError(f"state must be one of {', '.join(states)}, not {fault.state!r}")
    if fault.kind == "list_lag" and "pod_name" in given:
        raise ValueError("a list lags for all pods: omit pod_name")
    if not (fault.message + fault.status).isprintable():
        raise ValueError("status and message must be printable text")
    if fault.nth is not None and fault.probability is not None:
        raise ValueError("give nth or probability, not both")
    if not math.isfinite(fault.seconds):
        raise ValueError("seconds must be finite")
    if fault.http_status in _HTTP_STATUSES_WITHOUT_BODY:
        raise ValueError(f"http_status {fault.http_status} has no body for the envelope")


def set_fired(request: web.Request, faults: tuple[Fault, ...]) -> None:
    """Record which faults affect a request."""
    request[_FIRED] = faults


def get_fired(request: web.Request) -> tuple[Fault, ...]:
    """Return the faults that affect a request."""
    fired: tuple[Fault, ...] = request.get(_FIRED, ())
    return fired


def build_replacement(fault: Fault) -> web.Response | None:
    """Return the response that replaces the processing of a request, or None if the request is processed."""
    match fault.kind:
        case "status":
            return _build_error(fault.http_status, fault.code, fault.message)
        case "html_502":
            return web.Response(status=502, text=_HTML, content_type="text/html")
        case "rate_limited":
            response = _build_error(429, 429, "too many requests")
            response.headers["Retry-After"] = str(math.ceil(fault.seconds))
            return response
        case "redirect":
            return web.Response(status=307, headers={"Location": fault.location})
        case "reset_before_commit":
            return web.Response(status=500)  # never sent
        case _:
            return None


def _build_error(http_status: int, code: int, message: str) -> web.Response:
    body = msgspec.json.encode(Envelope[None](message, code, None))
    return web.Response(body=body, status=http_status, content_type="application/json")


async def damage_response(
    request: web.Request, response: web.StreamResponse, fired: Collection[Fault]
) -> web.StreamResponse:
    """Return a response as the faults leave it, or reset its connection."""
    kinds = {fault.kind for fault in fired}
    if not kinds.isdisjoint(_RESET_KINDS):
        _reset_connection(request)
    elif isinstance(response, web.Response) and isinstance(response.body, bytes):
        half = response.body[: len(response.body) // 2]
        if "bad_json" in kinds:
            response.body = half + b"\xff}{"
        elif "cut_body" in kinds:
            return await _send_truncated(request, response, half)
        elif "endless_body" in kinds:
            return await _send_endless(request, response, response.body[:-1])
    return response


def _reset_connection(request: web.Request) -> None:
    """Close the connection with a TCP reset, as a crash does."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


async def _send_truncated(request: web.Request, response: web.Response, start: bytes) -> web.StreamResponse:
    truncated = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
    truncated.content_length = response.content_length
    await truncated.prepare(request)
    await truncated.write(start)
    if request.transport is not None:
        request.transport.close()
    return truncated


async def _send_endless(request: web.Request, response: web.Response, start: bytes) -> web.StreamResponse:
    endless = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
    await endless.prepare(request)
    try:
        await endless.write(start)
        for _ in range(_ENDLESS_CHUNKS):
            await endless.write(_ENDLESS_CHUNK)
            await asyncio.sleep(0)
    except ConnectionError:
        pass  # the client has closed the connection
    return endless
