"""The emulator's side of the wire: six routes, the envelope, the key, and who may ask at all."""

from __future__ import annotations

import functools
import hmac
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs
from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from yotta_async.emulator import misbehaviour, openapi
from yotta_async.emulator.clock import EmulatorClock
from yotta_async.emulator.faults import Fault, Faults
from yotta_async.emulator.pod import IdForm
from yotta_async.emulator.schema import Envelope, Pod
from yotta_async.emulator.state import Account
from yotta_async.emulator.validation import (
    InvalidError,
    PodMissingError,
    ScarcityError,
    StateError,
    read_create,
    statuses_of,
)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

ROOT = "/openapi/v1/pods"
CONTROL = "/_emulator/"
DOCUMENT = "/openapi.json"
# The names by which a browser or a client on this machine calls it. A page from elsewhere that had its own name pointed
# at this machine would come with that name, and is refused.
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_RECORDED = 100_000
_LARGEST_BODY = 2**20
_FIRED = web.RequestKey("fired", tuple[Fault, ...])
_NO_FAULTS: tuple[Fault, ...] = ()

logger = logging.getLogger("yotta_async.emulator")


@attrs.frozen
class RecordedRequest:
    """One request of the API's that the emulator answered, at a time of its clock.

    `query` is as it came, still encoded; `faults` are the kinds that fired, and with one that takes the answer away
    `http_status` is what was to be answered.
    """

    time: float
    method: str
    path: str
    query: str
    http_status: int
    faults: tuple[str, ...] = ()


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

    def __init__(
        self,
        account: Account,
        clock: EmulatorClock,
        api_key: str,
        host: str = "127.0.0.1",
        *,
        faults: Faults | None = None,
        ids: IdForm = "wire",
    ) -> None:
        self._hosts = _HOSTS | {f"[{host}]" if ":" in host else host}
        self.account = account
        self.clock = clock
        self.faults = Faults() if faults is None else faults
        self._api_key = api_key.encode()
        self._ids = ids
        self.requests: deque[RecordedRequest] = deque(maxlen=_RECORDED)

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_BODY)
        self._routes(app)
        return app

    def _routes(self, app: web.Application) -> None:
        add = openapi.Adder(app)
        pod = f"{ROOT}/{{podId}}"
        new_id = str if self._ids == "text" else int
        add("POST", f"{ROOT}/create", self._create, "create", "Create a pod", Envelope[new_id])  # type: ignore[valid-type]  # chosen at run time
        add("GET", f"{ROOT}/list", self._list, "list", "List the pods", Envelope[list[Pod]])
        add("POST", f"{ROOT}/pause/{{podId}}", self._pause, "pause", "Pause a pod", Envelope[None])
        add("POST", f"{ROOT}/resume/{{podId}}", self._resume, "resume", "Resume a pod", Envelope[None])
        add("GET", pod, self._get, "get", "Get a pod", Envelope[Pod])
        add("DELETE", pod, self._delete, "delete", "Delete a pod", Envelope[None])
        app.router.add_get(DOCUMENT, functools.partial(_document, add.document()), allow_head=False)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer only who asks this machine by its own name and has the key; make every refusal an envelope."""
        try:
            host = request.headers.get("Host", "")
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if name.lower() not in self._hosts or "Origin" in request.headers:
                raise Refusal(403, 403, "the emulator answers programs on this machine only")
            if not self._has_key(request) and request.path != DOCUMENT:
                raise Refusal(401, 401, "the API key is missing or wrong")
            response = await self._answered(
                request, self._with_faults(request, handler) if self.faults else handler(request)
            )
        except Refusal as refusal:
            response = envelope(code=refusal.code, message=refusal.message, status=refusal.http_status)
        fired = request.get(_FIRED, _NO_FAULTS)
        if not request.path.startswith(CONTROL):
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
        return await misbehaviour.sent(request, response, fired) if fired else response

    def _has_key(self, request: web.Request) -> bool:
        given = request.headers.get("x-api-key", "").encode(errors="surrogateescape")
        return hmac.compare_digest(given, self._api_key)

    async def _with_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        endpoint = request.match_info.route.name
        fired = _NO_FAULTS
        if endpoint == "create":
            body = await body_of(request)
            try:
                fired = self.faults.fire(endpoint, read_create(body).pod_name)
            except InvalidError:
                fired = self.faults.fire(endpoint, None, is_refused=True)
        elif endpoint:
            pod_id = request.match_info.get("podId", "")
            fired = self.faults.fire(endpoint, self.account.name_of(pod_id.lstrip("0")))
        request[_FIRED] = fired
        for fault in fired:
            if fault.kind == "delay":
                await self.clock.delay(fault.seconds)
        instead = next(filter(None, (misbehaviour.instead(fault) for fault in fired)), None)
        return instead or await handler(request)

    async def _answered(self, request: web.Request, answer: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        """Return the API's answer, whatever it is."""
        try:
            return await answer
        except InvalidError as error:
            return envelope(code=10001, message=str(error), status=400)
        except PodMissingError:
            return envelope(code=13000, message="pod not found")
        except StateError as error:
            return envelope(code=12001, message=f"the pod's status {error} does not allow this operation")
        except ScarcityError as error:
            return envelope(code=10001, message=str(error))  # the sources name no code for it
        except web.HTTPException as error:
            if request.path.startswith(CONTROL):
                return web.json_response({"error": error.reason}, status=error.status)
            response = envelope(code=error.status, message=error.reason, status=error.status)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except Exception:
            # A full disk, say. The API's own word for it; what it was is for whoever runs the emulator.
            logger.exception("%s %s failed", request.method, request.path)
            return envelope(code=10002, message="system error", status=500)

    async def _create(self, request: web.Request) -> web.Response:
        create = read_create(await body_of(request))
        pod_id = self.account.create(create, self.clock.now(), request.get(_FIRED, _NO_FAULTS))
        # An integer here, though ids are text everywhere else: v1 does that.
        return envelope(b'"%d"' % pod_id if self._ids == "text" else b"%d" % pod_id)

    async def _list(self, request: web.Request) -> web.Response:
        statuses = statuses_of(request.query.getall("statusList", []))
        regions = {part for value in request.query.getall("regionList", []) for part in value.split(",") if part}
        now = self.clock.now()
        fired = request.get(_FIRED, _NO_FAULTS)
        lag = max((fault.seconds for fault in fired if fault.kind == "list_lag"), default=None)
        pods = self.account.list(regions, statuses if lag is None else (), now)
        for fault in fired:
            if fault.kind == "missing_from_list":
                pods = [pod for pod in pods if not fault.means(pod.wire.pod_name)]
        if lag is not None:
            shown = [pod.json_of(now - lag, statuses) for pod in pods]
            return envelope(b"[" + b",".join(filter(None, shown)) + b"]")
        return envelope(b"[" + b",".join([pod.json() for pod in pods]) + b"]")

    async def _get(self, request: web.Request) -> web.Response:
        return envelope(self.account.get(_pod_id(request), self.clock.now()).json())

    async def _pause(self, request: web.Request) -> web.Response:
        self.account.pause(_pod_id(request), self.clock.now())
        return envelope()

    async def _resume(self, request: web.Request) -> web.Response:
        self.account.resume(_pod_id(request), self.clock.now())
        return envelope()

    async def _delete(self, request: web.Request) -> web.Response:
        self.account.delete(_pod_id(request), self.clock.now())
        return envelope()


async def _document(document: bytes, _: web.Request) -> web.Response:
    return web.Response(body=document, content_type="application/json")


async def body_of(request: web.Request) -> bytes:
    """Return a request's body. Raises InvalidError when it cannot be read."""
    try:
        return await request.read()
    except (ClientError, HttpProcessingError):  # it is not what Content-Encoding says
        raise InvalidError("the body cannot be read") from None


def _pod_id(request: web.Request) -> str:
    text = request.match_info["podId"]
    if not (text.isascii() and text.isdigit() and len(text) <= 64 and int(text) < 2**63):
        raise InvalidError("podId: must be an integer")
    return str(int(text))
