"""The emulator's side of the wire: six routes, the envelope, the key, and who may ask at all."""

from __future__ import annotations

import hmac
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import attrs
from aiohttp import web

from yotta_async.emulator.clock import EmulatorClock
from yotta_async.emulator.state import Account, CapacityError, PodMissingError, StateError
from yotta_async.emulator.validation import create_problem, statuses_of

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

ROOT = "/openapi/v1/pods"
# The names by which a browser or a client on this machine calls it. A page from elsewhere that had its own name pointed
# at this machine would come with that name, and is refused.
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_RECORDED = 100_000


@attrs.frozen
class RecordedRequest:
    """One request that the emulator answered, at a time of its clock; `query` is as it came, still encoded."""

    time: float
    method: str
    path: str
    query: str
    http_status: int


class Refusal(Exception):  # noqa: N818  # an answer, not a mistake
    """An answer other than success."""

    def __init__(self, http_status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.message = message


def envelope(data: bytes = b"null", *, code: int = 10000, message: str = "success", status: int = 200) -> web.Response:
    """Return the documented envelope around `data`, which is JSON already."""
    text = json.dumps(message).encode()
    body = b'{"message":' + text + b',"code":' + str(code).encode() + b',"data":' + data + b"}"
    return web.Response(body=body, status=status, content_type="application/json")


class Server:
    """The routes over one account."""

    def __init__(self, account: Account, clock: EmulatorClock, api_key: str, host: str = "127.0.0.1") -> None:
        self._hosts = _HOSTS | {f"[{host}]" if ":" in host else host}
        self._account = account
        self._clock = clock
        self._api_key = api_key.encode()
        self.requests: deque[RecordedRequest] = deque(maxlen=_RECORDED)

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard], client_max_size=2**20)
        app.router.add_post(f"{ROOT}/create", self._create)
        app.router.add_get(f"{ROOT}/list", self._list, allow_head=False)
        app.router.add_post(f"{ROOT}/pause/{{pod_id}}", self._pause)
        app.router.add_post(f"{ROOT}/resume/{{pod_id}}", self._resume)
        app.router.add_get(f"{ROOT}/{{pod_id}}", self._get, allow_head=False)
        app.router.add_delete(f"{ROOT}/{{pod_id}}", self._delete)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer only who asks this machine by its own name and has the key; make every refusal an envelope."""
        try:
            host = request.headers.get("Host", "")
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if name.lower() not in self._hosts or "Origin" in request.headers:
                raise Refusal(403, 403, "the emulator answers programs on this machine only")
            if not hmac.compare_digest(
                request.headers.get("x-api-key", "").encode(errors="surrogateescape"), self._api_key
            ):
                raise Refusal(401, 401, "the API key is missing or wrong")
            response = await handler(request)
        except Refusal as refusal:
            response = envelope(code=refusal.code, message=refusal.message, status=refusal.http_status)
        except PodMissingError:
            response = envelope(code=13000, message="pod not found")
        except StateError as error:
            response = envelope(code=12001, message=f"the pod's status {error} does not allow this operation")
        except web.HTTPException as error:
            response = envelope(code=error.status, message=error.reason, status=error.status)
        self.requests.append(
            RecordedRequest(
                self._clock.time(), request.method, request.path, request.rel_url.raw_query_string, response.status
            )
        )
        return response

    async def _create(self, request: web.Request) -> web.Response:
        try:
            body: Any = json.loads(await request.read(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise Refusal(400, 10001, "the body must be JSON") from None
        problem = create_problem(body)
        if problem:
            raise Refusal(400, 10001, problem)
        # An integer here, though ids are text everywhere else: v1 does that.
        try:
            return envelope(self._account.create(body, self._clock.now()).encode())
        except CapacityError:
            # The sources name no code for it.
            raise Refusal(200, 10001, f"insufficient capacity for {body['gpuType']}") from None

    async def _list(self, request: web.Request) -> web.Response:
        statuses = statuses_of(request.query.getall("statusList", []))
        if statuses is None:
            raise Refusal(400, 10001, "statusList must hold status codes")
        regions = {part for value in request.query.getall("regionList", []) for part in value.split(",") if part}
        pods = self._account.list(regions, statuses, self._clock.now())
        return envelope(b"[" + b",".join(pod.json() for pod in pods) + b"]")

    async def _get(self, request: web.Request) -> web.Response:
        return envelope(self._account.get(_pod_id(request), self._clock.now()).json())

    async def _pause(self, request: web.Request) -> web.Response:
        self._account.pause(_pod_id(request), self._clock.now())
        return envelope()

    async def _resume(self, request: web.Request) -> web.Response:
        self._account.resume(_pod_id(request), self._clock.now())
        return envelope()

    async def _delete(self, request: web.Request) -> web.Response:
        self._account.delete(_pod_id(request), self._clock.now())
        return envelope()


def _pod_id(request: web.Request) -> str:
    text = request.match_info["pod_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise Refusal(400, 10001, "podId must be an integer")
    return str(int(text))


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
