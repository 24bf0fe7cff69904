"""Requests of the API, built without any I/O. Paths, names and forms are those of the version's table."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote, urlencode

import msgspec

from yotta_async.api.converter import unstructure_spec, wire_name
from yotta_async.api.versions import DEFAULT_VERSION, GPU_TYPES_PATH, ApiVersion
from yotta_async.errors import InvalidRequestError
from yotta_async.models.client_tokens import CLIENT_TOKEN_VARIABLE, build_pod_name, read_token_in_name
from yotta_async.models.gpu_names import gpu_type_in
from yotta_async.models.redaction import secret_texts
from yotta_async.models.spec import PodSpec
from yotta_async.models.status import STATUS_NUMBERS, PodStatus
from yotta_async.support.secrets import Secret, strip_traceback_frames
from yotta_async.transport.messages import Request

# Room for 200,000 pods of 5 KB each. A pod takes about 1.6 KB as JSON, and one with a long environment a few KB.
MAX_LIST_BYTES = 2**30


def check_spec(spec: PodSpec, version: ApiVersion) -> None:
    """Raise InvalidRequestError for a spec that this version of the API cannot express."""
    for index, volume in enumerate(spec.persistent_volumes):
        where = f"PodSpec.persistent_volumes[{index}]"
        for name in sorted(version.required_volume_fields):
            if getattr(volume, name) is None:
                raise InvalidRequestError(f"{where} needs {name}: API {version.name} creates no pod without it")
        for name in sorted(version.refused_volume_fields):
            if getattr(volume, name) is not None:
                raise InvalidRequestError(f"{where} has {name}, which API {version.name} does not know")


def draws_name(spec: PodSpec, version: ApiVersion) -> bool:
    """Return whether the client draws the pod's name, which then carries the client token.

    A name that was drawn for another pod does not count as given: with it two pods would look like one.
    """
    return version.requires_name and (not spec.pod_name or read_token_in_name(spec.pod_name) is not None)


@strip_traceback_frames
def build_create_request(spec: PodSpec, client_token: str | None, version: ApiVersion = DEFAULT_VERSION) -> Request:
    """Build a create whose pod has `client_token` in its environment (None: no token), and in a drawn name.

    A GPU type is sent by the name that it has in the version.
    """
    body = unstructure_spec(spec, version)
    body["gpuType"] = gpu_type_in(version.name, spec.gpu_type)
    if client_token is not None:
        # A token left over from a copied spec would make two pods look like one.
        others = [item for item in body.get("environmentVars", ()) if item["key"] != CLIENT_TOKEN_VARIABLE]
        body["environmentVars"] = [*others, {"key": CLIENT_TOKEN_VARIABLE, "value": client_token}]
    if draws_name(spec, version):
        body[wire_name("pod_name", version)] = build_pod_name(client_token)
    if version.requires_name:
        body.setdefault("gpuCount", 1)
    return Request(
        "POST",
        version.create_path,
        body=Secret(msgspec.json.encode(body)),
        secrets=tuple(Secret(text) for text in secret_texts(spec)),
    )


def build_get_request(pod_id: str, version: ApiVersion = DEFAULT_VERSION) -> Request:
    """Build a get."""
    return Request("GET", version.pod_path.format(pod_id))


def build_list_request(
    regions: Collection[str], statuses: Collection[PodStatus], version: ApiVersion = DEFAULT_VERSION
) -> Request:
    """Build a list. Statuses go out as numbers when the wire has one for each of them, else not at all."""
    query = [("regionList", region) for region in regions]
    if all(status in STATUS_NUMBERS for status in statuses):
        query += [("statusList", str(STATUS_NUMBERS[status])) for status in statuses]
    if version.joins_query:
        query = [(key, ",".join(value for each, value in query if each == key)) for key in dict(query)]
    return Request(
        "GET",
        version.list_path,
        urlencode(query, quote_via=quote, safe="," if version.joins_query else ""),
        max_bytes=MAX_LIST_BYTES,
        too_large_advice='. List fewer pods at a time: give `statuses=`, such as ["RUNNING"], or `regions=`',
    )


def build_gpu_types_request() -> Request:
    """Build a list of GPU types. Only v2 has one; its path is the same for clients of both versions."""
    return Request("GET", GPU_TYPES_PATH)


def build_pause_request(pod_id: str, version: ApiVersion = DEFAULT_VERSION) -> Request:
    """Build a pause."""
    return Request("POST", version.pause_path.format(pod_id))


def build_resume_request(pod_id: str, version: ApiVersion = DEFAULT_VERSION) -> Request:
    """Build a resume."""
    return Request("POST", version.resume_path.format(pod_id))


def build_delete_request(pod_id: str, version: ApiVersion = DEFAULT_VERSION) -> Request:
    """Build a delete."""
    return Request("DELETE", version.pod_path.format(pod_id))
