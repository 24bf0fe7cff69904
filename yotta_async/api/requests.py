"""Requests of the API, built without any I/O.

Source: `pods-v1` OpenAPI document and guide of the API.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote, urlencode

import msgspec

from yotta_async.api.converter import unstructure_spec
from yotta_async.models.pod import CLIENT_TOKEN_VARIABLE
from yotta_async.models.redaction import secret_texts
from yotta_async.models.spec import PodSpec
from yotta_async.models.status import STATUS_NUMBERS, PodStatus
from yotta_async.support.secrets import Secret, strip_traceback_frames
from yotta_async.transport.messages import Request

# Room for 200,000 pods of 5 KB each. A pod takes about 1.6 KB as JSON, and one with a long environment a few KB.
MAX_LIST_BYTES = 2**30
_ROOT = "/openapi/v1/pods"
CREATE_PATH = f"{_ROOT}/create"


@strip_traceback_frames
def build_create_request(spec: PodSpec, client_token: str | None) -> Request:
    """Build a create whose pod has `client_token` in its environment (None: no token)."""
    body = unstructure_spec(spec)
    if client_token is not None:
        # A token left over from a copied spec would make two pods look like one.
        others = [item for item in body.get("environmentVars", ()) if item["key"] != CLIENT_TOKEN_VARIABLE]
        body["environmentVars"] = [*others, {"key": CLIENT_TOKEN_VARIABLE, "value": client_token}]
    return Request(
        "POST",
        CREATE_PATH,
        body=Secret(msgspec.json.encode(body)),
        secrets=tuple(Secret(text) for text in secret_texts(spec)),
    )


def build_get_request(pod_id: str) -> Request:
    """Build a get."""
    return Request("GET", f"{_ROOT}/{pod_id}")


def build_list_request(regions: Collection[str], statuses: Collection[PodStatus]) -> Request:
    """Build a list. Statuses go out as numbers when the wire has one for each of them, else not at all."""
    query = [("regionList", region) for region in regions]
    if all(status in STATUS_NUMBERS for status in statuses):
        query += [("statusList", str(STATUS_NUMBERS[status])) for status in statuses]
    return Request(
        "GET",
        f"{_ROOT}/list",
        urlencode(query, quote_via=quote),
        max_bytes=MAX_LIST_BYTES,
        too_large_advice='. List fewer pods at a time: give `statuses=`, such as ["RUNNING"], or `regions=`',
    )


def build_pause_request(pod_id: str) -> Request:
    """Build a pause."""
    return Request("POST", f"{_ROOT}/pause/{pod_id}")


def build_resume_request(pod_id: str) -> Request:
    """Build a resume."""
    return Request("POST", f"{_ROOT}/resume/{pod_id}")


def build_delete_request(pod_id: str) -> Request:
    """Build a delete."""
    return Request("DELETE", f"{_ROOT}/{pod_id}")
