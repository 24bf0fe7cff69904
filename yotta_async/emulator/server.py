"""The emulator's HTTP server: the API's routes, the envelope, and the checks of the key and the sender."""

from __future__ import annotations

import difflib
import functools
import hmac
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import attrs
import msgspec
from aiohttp import web

from yotta_async.emulator.account import Account
from yotta_async.emulator.bodies import build_envelope, read_body
from yotta_async.emulator.catalogue import CATALOGUE
from yotta_async.emulator.clock import EmulatorClock
from yotta_async.emulator.faults import Fault, Faults, build_replacement, damage_response, get_fired, set_fired
from yotta_async.emulator.openapi import Route, build_openapi_document
from yotta_async.emulator.schema import (
    MAX_SHOWN_TEXT,
    Create,
    ErrorResponse,
    InvalidRequestError,
    VmRegion,
    VmType,
    parse_create,
    parse_status_list,
)
from yotta_async.emulator.skypilot import SkyPilot
from yotta_async.emulator.versions import ApiVersion

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
VersionHandler: TypeAlias = Callable[[ApiVersion, web.Request], Awaitable[web.StreamResponse]]

CONTROL_ROOT = "/_emulator/"
_DOCUMENT_PATH = "/openapi.json"
# The host names of this machine in requests from it. A web page whose own name resolves to this machine (DNS rebinding)
# sends that name and is refused.
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_MAX_RECORDED_REQUESTS = 100_000
_MAX_BODY_BYTES = 2**20

logger = logging.getLogger("yotta_async.emulator")


@attrs.frozen
class RecordedRequest:
    """One API request, as `Emulator.requests` lists them.

    Attributes:
        time: when it was answered, in seconds by `emulator.clock.time()`.
        method: the HTTP method.
        path: the path without the query.
        query: the query as sent, still encoded.
        http_status: the status of the response, before a fault drops or damages it.
        faults: the kinds of the faults that fired.

    """

    time: float
    method: str
    path: str
    query: str
    http_status: int
    faults: tuple[str, ...] = ()


class Server:
    """The API's routes over one account."""

    def __init__(
        self,
        account: Account,
        clock: EmulatorClock,
        faults: Faults,
        *,
        api_key: str,
        host: str,
        versions: Sequence[ApiVersion],
        strict: bool,
    ) -> None:
        self.account = account
        self.clock = clock
        self.faults = faults
        self.requests: deque[RecordedRequest] = deque(maxlen=_MAX_RECORDED_REQUESTS)
        self._hosts = _LOOPBACK_HOSTS | {f"[{host}]" if ":" in host else host}
        self._api_key = api_key.encode()
        self._versions = {version.name: version for version in versions}
        self._is_strict = strict
        self._skypilot = SkyPilot(account, clock)

    def build_app(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self._handle], client_max_size=_MAX_BODY_BYTES)
        change = self._build_handler
        handlers: dict[str, VersionHandler] = {
            "create": self._create,
            "list": self._list,
            "get": self._get,
            "pause": change(self.account.pause),
            "resume": change(self.account.resume),
            "delete": change(self.account.delete),
            "gpus": self._list_gpus,
        }
        routes: list[tuple[Route, Handler]] = [
            (route, functools.partial(handlers[route.endpoint], version))
            for version in self._versions.values()
            for route in version.build_routes()
        ]
        routes += self._skypilot.list_routes()
        for route, handler in routes:
            app.router.add_route(route.method, route.path, handler, name=route.name)
        document = build_openapi_document(route for route, _ in routes)
        app.router.add_get(_DOCUMENT_PATH, functools.partial(_get_document, document), allow_head=False)
        return app

    def clear(self) -> None:
        """Forget the recorded requests and SkyPilot's clusters."""
        self.requests.clear()
        self._skypilot.clear()

    @web.middleware
    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check who asks, inject faults, turn every error into an envelope, and record the request."""
        is_control = request.path.startswith(CONTROL_ROOT)
        try:
            self._check_sender(request)
            response = await (self._handle_with_faults(request, handler) if self.faults else handler(request))
        except ErrorResponse as error:
            response = build_envelope(code=error.code, message=str(error), status=error.http_status)
        except web.HTTPException as error:
            message = _explain_routing(request) if error.status in (404, 405) else error.reason
            if is_control:
                response = web.json_response({"error": message}, status=error.status)
            else:
                response = build_envelope(code=error.status, message=message, status=error.status)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except Exception:  # such as a full disk: the API's error for it; the cause is for the emulator's user
            logger.exception("%s %s failed", request.method, request.path)
            response = build_envelope(code=10002, message="system error", status=500)
        fired = get_fired(request)
        if not is_control:
            self.requests.append(
                RecordedRequest(
                    self.clock.time(),
                    request.method,
                    request.path,
                    request.rel_url.raw_query_string,
                    response.status,
                    tuple([fault.kind for fault in fired]),
                )
            )
        return await damage_response(request, response, fired) if fired else response

    def _check_sender(self, request: web.Request) -> None:
        host = request.headers.get("Host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in self._hosts or "Origin" in request.headers:
            raise web.HTTPForbidden(reason="the emulator answers programs on this machine only")
        key = request.headers.get("x-api-key", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(key, self._api_key) and request.path != _DOCUMENT_PATH:
            raise web.HTTPUnauthorized(reason="the API key is missing or wrong")

    async def _handle_with_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        endpoint = (request.match_info.route.name or "").rpartition(".")[2]
        fired: tuple[Fault, ...] = ()
        if endpoint == "create":
            try:
                fired = self.faults.fire(endpoint, await self._parse_pod_name(request))
            except ErrorResponse:
                fired = self.faults.fire(endpoint, None, is_refused=True)
        elif endpoint:
            pod_id = request.match_info.get("podId", "")
            fired = self.faults.fire(endpoint, self.account.find_name(pod_id.lstrip("0")))
        set_fired(request, fired)
        for fault in fired:
            if fault.kind == "delay":
                await self.clock.delay(fault.seconds)
        replacement = next(filter(None, map(build_replacement, fired)), None)
        return replacement or await handler(request)

    async def _parse_pod_name(self, request: web.Request) -> str | None:
        """Return the name of the pod that a create is about. Raises ErrorResponse if the create will be refused."""
        version = self._versions.get((request.match_info.route.name or "").partition(".")[0])
        if version is None:
            return await self._skypilot.parse_pod_name(request)
        return (await self._parse_create(version, request)).pod_name

    async def _parse_create(self, version: ApiVersion, request: web.Request) -> Create:
        create = parse_create(await read_body(request), version.create_form, is_strict=self._is_strict)
        known = CATALOGUE.gpu_types_by_name
        if self._is_strict and create.gpu_type not in known:
            name = create.gpu_type[:MAX_SHOWN_TEXT]
            similar = ", ".join(difflib.get_close_matches(name, known, cutoff=0.0))
            raise InvalidRequestError(f"gpuType: {name!r} is not in the emulator's catalogue. Similar: {similar}")
        return create

    async def _create(self, version: ApiVersion, request: web.Request) -> web.Response:
        create = await self._parse_create(version, request)
        pod = self.account.create(create, self.clock.now(), get_fired(request))
        return build_envelope(version.encode_created(pod))

    async def _list(self, version: ApiVersion, request: web.Request) -> web.Response:
        statuses = parse_status_list(request.query.getall("statusList", []), version.status_names)
        regions = {part for value in request.query.getall("regionList", []) for part in value.split(",") if part}
        now = self.clock.now()
        fired = get_fired(request)
        lag = max((fault.seconds for fault in fired if fault.kind == "list_lag"), default=None)
        pods = self.account.list(regions, statuses if lag is None else (), now)
        for fault in fired:
            if fault.kind == "missing_from_list":
                pods = [pod for pod in pods if not fault.matches(pod.wire.pod_name)]
        encode = version.encode_pod
        if lag is None:
            bodies = [pod.to_json(encode) for pod in pods]
        else:
            bodies = [body for pod in pods if (body := pod.to_json_at(now - lag, statuses, encode))]
        return build_envelope(b"[" + b",".join(bodies) + b"]")

    async def _get(self, version: ApiVersion, request: web.Request) -> web.Response:
        pod = self.account.get(_parse_pod_id(request), self.clock.now())
        return build_envelope(pod.to_json(version.encode_pod))

    async def _list_gpus(self, _: ApiVersion, __: web.Request) -> web.Response:
        types = [
            VmType(
                gpu_type=gpu.v2,
                regions=[
                    VmRegion(
                        region=region,
                        region_name=CATALOGUE.describe_region(region).name,
                        available=is_available,
                        vm_type_id=number,
                    )
                    for region, is_available in availability.items()
                ],
            )
            for number, (gpu, availability) in enumerate(self.account.list_gpu_types(self.clock.now()), 1)
        ]
        return build_envelope(msgspec.json.encode(types))

    def _build_handler(self, change: Callable[[str, float], None]) -> VersionHandler:
        """Return a handler that makes a change to a pod."""

        async def handle(version: ApiVersion, request: web.Request) -> web.Response:
            change(_parse_pod_id(request), self.clock.now())
            return build_envelope(version.done)

        return handle


def _explain_routing(request: web.Request) -> str:
    """Return the message for a path or method without a route: what was requested, and which routes exist there."""
    routes: dict[str, list[str]] = {}  # by the first part of their paths
    for route in request.app.router.routes():
        if route.resource is not None:
            path = route.resource.canonical
            routes.setdefault(path.split("/")[1], []).append(f"{route.method} {path}")
    if request.path.startswith(CONTROL_ROOT) and CONTROL_ROOT.strip("/") not in routes:
        hint = "Start it with control=True or --control"
    else:
        near = routes.get(request.path.split("/")[1]) or [name for names in routes.values() for name in names]
        hint = f"Routes: {', '.join(near)}"
    return f"the emulator has no route {request.method} {request.path[:MAX_SHOWN_TEXT]}. {hint}"


async def _get_document(document: bytes, _: web.Request) -> web.Response:
    return web.Response(body=document, content_type="application/json")


def _parse_pod_id(request: web.Request) -> str:
    text = request.match_info["podId"]
    if not (text.isascii() and text.isdigit() and len(text) <= 64 and int(text) < 2**63):
        raise InvalidRequestError("podId: must be an integer")
    return str(int(text))
