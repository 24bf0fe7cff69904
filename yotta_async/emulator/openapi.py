"""The emulator's OpenAPI document, made of its own routes and of the structs that it reads and writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from yotta_async._version import __version__
from yotta_async.emulator.schema import Create, Envelope
from yotta_async.emulator.validation import STATUS_NAMES, STATUS_NUMBERS

_TEMPLATE = "#/components/schemas/{name}"
_REFUSALS = {
    400: "The request is wrong (10001); the message names the field",
    401: "The API key is missing or wrong",
    403: "Asked from elsewhere than this machine",
}
_POD_ID = {
    "name": "podId",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**63 - 1},
}
_FILTERS = [
    {
        "name": "regionList",
        "in": "query",
        "schema": {"type": "array", "items": {"type": "string"}},
        "description": "Any of these regions; also joined by commas",
    },
    {
        "name": "statusList",
        "in": "query",
        "schema": {
            "type": "array",
            "items": {"anyOf": [{"type": "integer", "enum": [*STATUS_NUMBERS]}, {"enum": [*STATUS_NAMES]}]},
        },
        "description": "Any of these statuses, as numbers or names; also joined by commas",
    },
]


class Adder:
    """Adds routes to an application, and notes them for the document."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._noted: list[tuple[str, str, str, str, Any]] = []

    def __call__(
        self,
        method: str,
        path: str,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        name: str,
        summary: str,
        answer: Any,
    ) -> None:
        """Add one route; `answer` is the type of what it answers."""
        self._app.router.add_route(method, path, handler, name=name)
        self._noted.append((method.lower(), path, name, summary, answer))

    def document(self) -> bytes:
        """Return the OpenAPI document of all routes that were added, as JSON."""
        error = Envelope[None]
        types = [Create, error, *(answer for *_, answer in self._noted)]
        references, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
        create, refusal, *answers = references
        paths: dict[str, dict[str, Any]] = {}
        for (method, path, name, summary, _), answer in zip(self._noted, answers, strict=True):
            success = _response("Done (10000), or refused by another code", {"anyOf": [answer, refusal]})
            operation: dict[str, Any] = {
                "operationId": name,
                "summary": summary,
                "responses": {"200": success}
                | {str(status): _response(text, refusal) for status, text in _REFUSALS.items()},
            }
            if "{podId}" in path:
                operation["parameters"] = [_POD_ID]
            if name == "list":
                operation["parameters"] = _FILTERS
            if name == "create":
                operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": create}}}
                operation["responses"]["413"] = _response("The body is larger than 1 MiB", refusal)
            paths.setdefault(path, {})[method] = operation
        return msgspec.json.encode(
            {
                "openapi": "3.1.0",
                "info": {"title": "Yotta Labs pods, emulated", "version": __version__},
                "security": [{"key": []}],
                "paths": paths,
                "components": {
                    "schemas": components,
                    "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
                },
            }
        )


def _response(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
