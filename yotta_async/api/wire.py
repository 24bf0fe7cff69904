"""The protocol without the network: requests as bytes, and from (status, headers, body) a result or an error.

Source: `pods-v1` OpenAPI document and guide of the API. Every answer is `{"message": str, "code": int, "data": …}`,
and HTTP 200 with a code other than 10000 is an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import quote, urlencode

from yotta_async.api import strict_json
from yotta_async.api.converter import StructureError, to_wire
from yotta_async.api.decode import pod_from_data, pod_in
from yotta_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from yotta_async.models.pod import CLIENT_TOKEN_VARIABLE, Pod
from yotta_async.models.spec import PodSpec
from yotta_async.models.status import STATUS_NUMBERS, PodStatus
from yotta_async.support.secrets import Secret, redact, strip_traceback_frames
from yotta_async.transport.headers import read_request_id, read_retry_after
from yotta_async.transport.messages import Request, Response

CLIENT_TOKEN = CLIENT_TOKEN_VARIABLE
SUCCESS = 10000
# Room for 40,000 pods in a list.
MAX_LIST_BYTES = 2**26
_ROOT = "/openapi/v1/pods"

_BY_CODE = {
    10001: BadRequestError,
    10002: ServerError,
    10007: NotFoundError,
    12001: InvalidStateError,
    13000: NotFoundError,
}
_BY_STATUS = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: InvalidStateError,
    429: RateLimitError,
}
# What a gateway in front of the API says about the key or the rate counts in any form of body. Its other statuses do
# not: a gateway's 404 is not the API's word that a pod is gone.
_GATEWAY = frozenset({401, 403, 429})


@strip_traceback_frames
def create_request(spec: PodSpec, client_token: str | None) -> Request:
    """Build a create whose pod bears `client_token` in its environment (None: no token)."""
    body = to_wire(spec)
    if client_token is not None:
        # A token left over from a copied spec would make two pods look like one.
        others = [item for item in body.get("environmentVars", ()) if item["key"] != CLIENT_TOKEN]
        body["environmentVars"] = [*others, {"key": CLIENT_TOKEN, "value": client_token}]
    secrets = [spec.image_registry_token, spec.initialization_command, *(item.value for item in spec.environment_vars)]
    return Request(
        "POST",
        f"{_ROOT}/create",
        body=Secret(strict_json.dumps(body)),
        secrets=tuple(Secret(text) for text in secrets if text),
    )


def get_request(pod_id: str) -> Request:
    """Build a get."""
    return Request("GET", f"{_ROOT}/{pod_id}")


def list_request(regions: Collection[str], statuses: Collection[PodStatus]) -> Request:
    """Build a list. Statuses go out as numbers when the wire has one for each of them, else not at all."""
    query = [("regionList", region) for region in regions]
    if all(status in STATUS_NUMBERS for status in statuses):
        query += [("statusList", str(STATUS_NUMBERS[status])) for status in statuses]
    return Request("GET", f"{_ROOT}/list", urlencode(query, quote_via=quote), max_bytes=MAX_LIST_BYTES)


def pause_request(pod_id: str) -> Request:
    """Build a pause."""
    return Request("POST", f"{_ROOT}/pause/{pod_id}")


def resume_request(pod_id: str) -> Request:
    """Build a resume."""
    return Request("POST", f"{_ROOT}/resume/{pod_id}")


def delete_request(pod_id: str) -> Request:
    """Build a delete."""
    return Request("DELETE", f"{_ROOT}/{pod_id}")


@strip_traceback_frames
def parse_created(request: Request, response: Response) -> str:
    """Return the id of the pod that a create made."""
    data = parse_data(request, response)
    # v1 answers with a JSON integer; text is read too, as in every other answer.
    if type(data) is int and 0 <= data < 10**64:
        return str(data)
    if type(data) is str and re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,63}", data):
        return data
    raise invalid_response(request, response, "data is not the id of the new pod")


def parse_pod(request: Request, response: Response, pod_id: str) -> Pod:
    """Return the pod that was asked for; an answer about another pod is none."""
    quickly = response.status == 200 and pod_in(response.body, SUCCESS, pod_id)
    return quickly or _read_thoroughly(request, response, pod_id)


@strip_traceback_frames
def _read_thoroughly(request: Request, response: Response, pod_id: str) -> Pod:
    data = parse_data(request, response)
    if type(data) is dict and data.get("id") is None:
        data["id"] = pod_id  # any field may be null or missing, and this one is known
    try:
        pod = pod_from_data(data, "data")
    except StructureError as error:
        problem = str(error)
    else:
        if pod.id.lstrip("0") == pod_id.lstrip("0"):  # the wire's ids are numbers
            return pod
        problem = "it is about another pod"
    raise invalid_response(request, response, problem)


@strip_traceback_frames
def parse_empty(request: Request, response: Response) -> None:
    """Check that a call without a result succeeded."""
    parse_data(request, response)


def parse_data(request: Request, response: Response) -> Any:
    """Return `data` of a successful envelope; raise the error that the answer is otherwise."""
    status = response.status
    if 300 <= status < 400:
        raise invalid_response(request, response, "it is a redirect, and those are not followed with a key")
    try:
        envelope = strict_json.loads(response.body)
        problem = _envelope_problem(envelope)
    except ValueError as error:
        envelope, problem = {}, str(error)
    if problem and status not in _GATEWAY:
        raise invalid_response(request, response, problem)
    code = None if problem else envelope["code"]
    if code == SUCCESS and 200 <= status < 300:
        return envelope.get("data")
    raise _error_class(status, code)(
        redact((not problem and envelope.get("message")) or "", (response.key, *request.secrets))[:2000],
        http_status=status,
        code=code,
        method=request.method,
        path=request.path,
        retry_after=read_retry_after(response.headers),
        request_id=_read_request_id(request, response),
    )


def _error_class(status: int, code: int | None) -> type[APIError]:
    if status >= 500:
        return ServerError
    if status in _GATEWAY:
        return _BY_STATUS[status]
    return _BY_CODE.get(code or 0) or _BY_STATUS.get(status) or APIError


def _envelope_problem(envelope: Any) -> str | None:
    if type(envelope) is not dict:
        return "it is not an object"
    if type(envelope.get("code")) is not int:
        return "it has no whole number as code"
    if not isinstance(envelope.get("message"), str | None):
        return "its message is not text"
    return None


def _read_request_id(request: Request, response: Response) -> str | None:
    found = read_request_id(response.headers)
    return None if found is None else redact(found, (response.key, *request.secrets))


def invalid_response(request: Request, response: Response, problem: str) -> ProtocolError:
    """Return the error for an answer that is not what the API documents."""
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
