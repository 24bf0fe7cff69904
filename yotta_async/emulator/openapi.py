"""The OpenAPI document of the emulator's routes, in all versions of the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from yotta_async._version import __version__
from yotta_async.emulator.schema import Envelope
from yotta_async.emulator.statuses import STATUS_NAMES, STATUS_NUMBERS


class Route(NamedTuple):
    """A route of the API.

    `endpoint` is the name for faults, `version` the prefix of its operation id; `data` is the type of the envelope's
    data on success, and `body` that of the request's body, or None. A route with `has_filters` is a list of pods.
    """

    method: str
    path: str
    version: str
    endpoint: str
    summary: str
    data: Any
    body: Any = None
    has_filters: bool = False
    status_names: tuple[str, ...] = STATUS_NAMES

    @property
    def name(self) -> str:
        """The operation id, which is unique among all routes."""
        return f"{self.version}.{self.endpoint}"


_ERROR_STATUSES = {
    400: "The request is wrong (10001); the message names the field",
    401: "The API key is missing or wrong",
    403: "The request comes from a web page or another machine",
}
_POD_ID_PARAMETER = {
    "name": "podId",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**63 - 1},
}


def _build_filter(name: str, items: dict[str, Any], description: str) -> dict[str, Any]:
    schema = {"type": "array", "items": items}
    return {"name": name, "in": "query", "schema": schema, "description": f"{description}; also joined by commas"}


def _build_parameters(route: Route) -> list[dict[str, Any]]:
    if "{podId}" in route.path:
        return [_POD_ID_PARAMETER]
    if "{clusterId}" in route.path:
        return [{"name": "clusterId", "in": "path", "required": True, "schema": {"type": "string"}}]
    if route.endpoint == "check_key":
        return [{"name": "orgId", "in": "query", "required": True, "schema": {"type": "string"}}]
    if not route.has_filters:
        return []
    statuses = {"anyOf": [{"type": "integer", "enum": [*STATUS_NUMBERS]}, {"enum": [*route.status_names]}]}
    return [
        _build_filter("regionList", {"type": "string"}, "Any of these regions"),
        _build_filter("statusList", statuses, "Any of these statuses, as numbers or names"),
    ]


def build_openapi_document(routes: Iterable[Route]) -> bytes:
    """Return the OpenAPI document of these routes, as JSON."""
    routes = tuple(routes)
    types = [Envelope[None], *(_wrap(route.data) for route in routes), *(route.body for route in routes)]
    (failure, *schemas), components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    successes, bodies = schemas[: len(routes)], schemas[len(routes) :]
    errors = {str(status): _build_response(text, failure) for status, text in _ERROR_STATUSES.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route, success, body in zip(routes, successes, bodies, strict=True):
        description = "Success (10000), or an error with another code"
        operation: dict[str, Any] = {
            "operationId": route.name,
            "summary": route.summary,
            "parameters": _build_parameters(route),
            "responses": {"200": _build_response(description, {"anyOf": [success, failure]}), **errors},
        }
        if route.body is not None:
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
            operation["responses"]["413"] = _build_response("The body is larger than 1 MiB", failure)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Yotta Labs pods, emulated", "version": __version__},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }
    return msgspec.json.encode(document)


def _wrap(data: Any) -> Any:
    return Envelope[data]


def _build_response(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
