"""What a recorded request calls, in either version of the API."""

from __future__ import annotations

from typing import Protocol


class HasPath(Protocol):
    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...


def is_v2(request: HasPath) -> bool:
    """Say whether a request is one of API v2."""
    return request.path.startswith("/v2/")


def name_call(request: HasPath) -> str:
    """Return create, list, pause or resume, or the method of a request for one pod."""
    words = request.path.removeprefix("/openapi/v1").removeprefix("/v2").split("/")[2:]
    if not words:
        return "create" if request.method == "POST" else "list"
    return next((word for word in words if word in ("create", "list", "pause", "resume")), request.method)


def name_target(request: HasPath) -> str:
    """Return create or list, or else the id of the pod."""
    call = name_call(request)
    if call in ("create", "list"):
        return call
    return next(word for word in reversed(request.path.split("/")) if word not in ("pause", "resume"))
