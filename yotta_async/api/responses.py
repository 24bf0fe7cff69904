"""From a response (status, headers, body) to a result or an error, without any I/O.

Source: OpenAPI documents and guides of the API. Every response is `{"message": str, "code": int, "data": …}` in both
versions, and HTTP 200 with a code other than 10000 is an error. The names are the wire's; unknown ones are ignored.
"""

from __future__ import annotations

import functools
import json
import logging
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from yotta_async.api.converter import DECODE_ERRORS, StructureError, pod_reader, structure
from yotta_async.api.refusals import names_lack_of_capacity, names_lack_of_funds
from yotta_async.api.versions import DEFAULT_VERSION, VERSIONS, ApiVersion
from yotta_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CapacityError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from yotta_async.models.ids import is_pod_id
from yotta_async.models.pod import Pod
from yotta_async.support.secrets import redact, strip_traceback_frames
from yotta_async.transport.headers import read_request_id, read_retry_after
from yotta_async.transport.messages import Request, Response

T = TypeVar("T")

logger = logging.getLogger("yotta_async")

SUCCESS = 10000
_MAX_MESSAGE_LENGTH = 2000
_CREATES = frozenset(("POST", version.create_path) for version in VERSIONS.values())
_LISTS = frozenset(("GET", version.list_path) for version in VERSIONS.values())
_CHECK_VERSION = "This host does not have this version of the API: check base_url and api_version."
_ADD_FUNDS = "Add funds to the account, and try again."

_ERROR_BY_CODE = {
    10001: BadRequestError,
    10002: ServerError,
    10007: NotFoundError,
    12001: InvalidStateError,
    13000: NotFoundError,
}
_ERROR_BY_STATUS = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: InvalidStateError,
    429: RateLimitError,
}
# What a gateway in front of the API says about the key or the rate counts in any form of body. Its other statuses do
# not: a gateway's 404 is not the API's word that a pod is gone.
_GATEWAY_STATUSES = frozenset({401, 403, 429})


class Envelope(msgspec.Struct, Generic[T]):
    """What every response is. `data` is of the type that its decoder was made for."""

    message: Any = None
    code: Any = None
    data: T | msgspec.UnsetType = msgspec.UNSET

    @property
    def problem(self) -> str | None:
        """What is not as documented, or None."""
        if type(self.code) is not int:
            return "it has no whole number as code"
        if not isinstance(self.message, str | None):
            return "its message is not text"
        return None

    @property
    def is_success(self) -> bool:
        """Whether the API says that the call succeeded."""
        return type(self.code) is int and self.code == SUCCESS and isinstance(self.message, str | None)


_ENVELOPE = msgspec.json.Decoder(Envelope[msgspec.Raw])


class UnreadableLog:
    """What one client could not read in responses. It warns once of each field, and of pods without an id."""

    def __init__(self) -> None:
        self.unreadable_items = 0  # in the last list
        self._field_names: set[str] = set()  # of documented fields only, so it stays small

    def note_fields(self, request: Request, pod: Pod) -> None:
        """Warn of fields of a pod that cannot be read, each name once. Values may be secrets, and are not shown."""
        for name in pod.unreadable:
            if name not in self._field_names:
                self._field_names.add(name)
                logger.warning(
                    "%s: the field %r of a pod (%r) has a value of another type than documented: Pod.unreadable names "
                    "it, and Pod.extra has its JSON. This is the only warning about this field from this client.",
                    request.path, name, pod.id[:64],
                )  # fmt: skip

    def note_items(self, request: Request, count: int, *, is_poll: bool = False) -> None:
        """Note how many items of a list have no id that can be read, and warn. Polls warn when their number changes."""
        has_changed = count != self.unreadable_items
        self.unreadable_items = count
        if count and (has_changed or not is_poll):
            logger.warning(
                "%s: items left out of the list: %d, as no pod id can be read in them. They may be pods: a SpendLimit "
                "refuses creates while there are any.",
                request.path, count,
            )  # fmt: skip


@functools.cache  # the struct of a pod is defined on first use
def _documented_decoder(version: ApiVersion) -> msgspec.json.Decoder[Envelope[Any]]:
    return msgspec.json.Decoder(Envelope[pod_reader(version).struct])  # type: ignore[misc]  # defined at run time


def parse_pod(
    request: Request, response: Response, pod_id: str, log: UnreadableLog, version: ApiVersion = DEFAULT_VERSION
) -> Pod:
    """Return the pod that was asked for.

    Raises:
        APIError: the API refused.
        ProtocolError: it is not the documented envelope, or about another pod.
    """
    pod = _parse_documented_pod(response, pod_id, version)
    if pod is None:
        pod = _parse_other_pod(request, response, pod_id, version)
        log.note_fields(request, pod)
    return pod


def _parse_documented_pod(response: Response, pod_id: str, version: ApiVersion) -> Pod | None:
    """Return the pod of a response that is exactly as documented, or None for any other."""
    pod: Pod | None = None
    if response.status == 200:
        try:
            envelope = _documented_decoder(version).decode(response.body)
            if envelope.is_success and envelope.data is not msgspec.UNSET and envelope.data.id == pod_id:
                pod = pod_reader(version).build(envelope.data)
        except (*DECODE_ERRORS, StructureError):
            pass
    return pod


@strip_traceback_frames
def _parse_other_pod(request: Request, response: Response, pod_id: str, version: ApiVersion) -> Pod:
    data = parse_data(request, response)
    if type(data) is dict and data.get("id") in (None, ""):
        data["id"] = pod_id  # any field may be null or missing, and this one is known
    try:
        pod: Pod = structure(data, Pod, version)
    except StructureError as error:
        problem = f"data: {error}"
    else:
        if pod.id.lstrip("0") == pod_id.lstrip("0"):  # the wire's ids are numbers
            return pod
        problem = "it is about another pod"
    raise invalid_response(request, response, problem)


class NewPod(NamedTuple):
    """What a create is answered with: the id of its pod, and in some versions of the API the pod itself."""

    id: str
    pod: Pod | None = None


@strip_traceback_frames
def parse_created(
    request: Request,
    response: Response,
    client_token: str | None = None,
    log: UnreadableLog | None = None,
    version: ApiVersion = DEFAULT_VERSION,
) -> NewPod:
    """Return the pod that a create with this token made.

    An envelope with a key that stands twice has two meanings, of which one may be that there is a pod: ProtocolError.
    So is a pod that shows the token of another create.
    """
    if response.status not in _GATEWAY_STATUSES and _has_duplicate_keys(response.body):
        raise invalid_response(request, response, "an object in it has a key twice")
    data = parse_data(request, response)
    pod: Pod | None = None
    if version.create_returns_pod and type(data) is dict:
        try:
            pod = structure(data, Pod, version)
        except StructureError:
            pass  # it has no id
        else:
            data = pod.id
            if pod.client_token not in (None, client_token):
                raise invalid_response(request, response, "it is about the pod of another create")
    # v1 answers with a JSON integer; text is read too, as in every other response.
    if type(data) is int and 0 <= data < 10**64:
        return NewPod(str(data))
    if type(data) is str and is_pod_id(data):
        if pod is not None and log is not None:
            log.note_fields(request, pod)
        return NewPod(data, pod)
    raise invalid_response(request, response, "data is not the id of the new pod")


class _DuplicateKeyError(Exception):
    pass


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise _DuplicateKeyError


def _has_duplicate_keys(body: bytes) -> bool:
    """Say whether an object in the document has a key twice, of which every reader takes the last."""
    try:
        json.loads(body, object_pairs_hook=_refuse_duplicate_keys)
    except _DuplicateKeyError:
        return True
    except (ValueError, RecursionError):
        pass  # not JSON, which is said elsewhere
    return False


@strip_traceback_frames
def parse_empty(request: Request, response: Response) -> None:
    """Check that a call without a result succeeded."""
    open_envelope(request, response)


def parse_data(request: Request, response: Response) -> Any:
    """Return `data` of a successful envelope, decoded, or None; raise what `open_envelope` raises."""
    data = open_envelope(request, response).data
    if data is msgspec.UNSET:
        return None
    try:
        return msgspec.json.decode(data)
    except DECODE_ERRORS as error:
        problem = explain(error)
    raise invalid_response(request, response, problem)


def open_envelope(request: Request, response: Response) -> Envelope[msgspec.Raw]:
    """Return the envelope of a call that succeeded, with `data` still as JSON.

    Raises:
        APIError: the API refused.
        ProtocolError: it is not the documented envelope.
    """
    if 300 <= response.status < 400:
        raise invalid_response(request, response, "it is a redirect, and those are not followed with a key")
    envelope = None
    try:
        envelope = _ENVELOPE.decode(response.body)
        problem = envelope.problem
    except DECODE_ERRORS as error:
        problem = explain(error)
    if problem and response.status not in _GATEWAY_STATUSES:
        raise invalid_response(request, response, problem)
    if envelope is not None and envelope.is_success and 200 <= response.status < 300:
        return envelope
    raise _build_api_error(request, response, None if problem else envelope)


def explain(error: Exception) -> str:
    """Say why bytes are not JSON, or not of the documented type. msgspec's words quote none of them."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return f"it cannot be read ({error})"


def _build_api_error(request: Request, response: Response, envelope: Envelope[msgspec.Raw] | None) -> APIError:
    code = None if envelope is None else envelope.code
    message = "" if envelope is None else envelope.message or ""
    kind = _error_class(response.status, code)
    is_refused_create = (request.method, request.path) in _CREATES and kind in (
        BadRequestError,
        InvalidStateError,
        APIError,
    )
    if is_refused_create and names_lack_of_capacity(message):
        kind = CapacityError
    error = kind(
        redact(message, (response.key, *request.secrets))[:_MAX_MESSAGE_LENGTH],
        http_status=response.status,
        code=code,
        method=request.method,
        path=request.path,
        retry_after=read_retry_after(response.headers),
        request_id=_read_request_id(request, response),
    )
    if kind is NotFoundError and (request.method, request.path) in _CREATES | _LISTS:
        error.advice = _CHECK_VERSION  # no pod can be missing
    if kind not in (AuthenticationError, RateLimitError, ServerError) and names_lack_of_funds(message):
        error.advice = _ADD_FUNDS
    return error


def _error_class(status: int, code: int | None) -> type[APIError]:
    if status >= 500:
        return ServerError
    if status in _GATEWAY_STATUSES:
        return _ERROR_BY_STATUS[status]
    return _ERROR_BY_CODE.get(code or 0) or _ERROR_BY_STATUS.get(status) or APIError


def _read_request_id(request: Request, response: Response) -> str | None:
    found = read_request_id(response.headers)
    return None if found is None else redact(found, (response.key, *request.secrets))


def invalid_response(request: Request, response: Response, problem: str) -> ProtocolError:
    """Return the error for a response that is not what the API documents."""
    kind = redact(response.headers.get("Content-Type", "no content type"), (response.key, *request.secrets))[:80]
    request_id = _read_request_id(request, response)
    named = "" if request_id is None else f", request id {request_id!r}"
    return ProtocolError(
        f"{request}: the response is not what the API documents: {problem} "
        f"(HTTP {response.status}, {kind!r}, {response.size} bytes{named}). Check base_url and any proxy before it.",
        method=request.method,
        path=request.path,
        retry_after=read_retry_after(response.headers),
        request_id=request_id,
    )
