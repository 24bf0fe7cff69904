"""The control routes under /_emulator/, by which programs in any language advance the clock and inject faults.

Served by `Emulator(control=True)` or `yotta-async emulator --control`, with the same key. Bodies are plain JSON without
the API's envelope; an error is `{"error": …}` with status 400 or 404.

| route | effect |
|---|---|
| `GET state` | return the time, the pods, the balance, the bills, and the exits of processes |
| `POST reset` | remove pods, faults and recorded requests; time and balance stay |
| `GET faults` · `POST faults` | list the faults; add one, with the arguments of `faults.add` |
| `DELETE faults` · `DELETE faults/{id}` | remove all faults; remove one |
| `GET clock` · `POST clock` | return the time; `{"advance": seconds}` advances a virtual clock |
| `POST deposit` | `{"amount": dollars}` adds to the balance |
| `GET requests` · `DELETE requests` | return the recorded requests with the faults that fired; remove them |
| `GET pods/{podId}/logs` | return what a pod's process has written, as text (`runtime="process"`) |
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import attrs
import msgspec
from aiohttp import web

from yotta_async.emulator.bodies import read_body
from yotta_async.emulator.faults import Fault
from yotta_async.emulator.runtime import RecordedExit
from yotta_async.emulator.schema import InvalidRequestError
from yotta_async.emulator.server import CONTROL_ROOT, Server

_MAX_NUMBER = 1e12

ControlHandler: TypeAlias = Callable[[web.Request], Any]
"""Returns what becomes JSON, or an awaitable of it."""


class Control:
    """The control routes of one server."""

    def __init__(
        self, server: Server, exits: Sequence[RecordedExit], read_log: Callable[[str], str], reset: Callable[[], None]
    ) -> None:
        self._server = server
        self._exits = exits
        self._read_log = read_log
        self._reset = reset

    def add_to(self, app: web.Application) -> None:
        """Add the routes to the application that serves the API."""
        faults, requests = self._server.faults, self._server.requests
        routes: tuple[tuple[str, str, ControlHandler], ...] = (
            ("GET", "state", lambda _: self._get_state()),
            ("POST", "reset", lambda _: self._reset()),
            ("GET", "faults", lambda _: list(faults)),
            ("POST", "faults", self._add_fault),
            ("DELETE", "faults", lambda _: faults.clear()),
            ("DELETE", r"faults/{id:\d{1,9}}", lambda request: faults.remove(int(request.match_info["id"]))),
            ("GET", "clock", lambda _: self._get_times()),
            ("POST", "clock", self._advance_clock),
            ("POST", "deposit", self._deposit),
            ("GET", "requests", lambda _: list(requests)),
            ("DELETE", "requests", lambda _: requests.clear()),
            ("GET", r"pods/{podId:\d{1,19}}/logs", self._get_log),
        )
        for method, path, handler in routes:
            app.router.add_route(method, f"{CONTROL_ROOT}{path}", _to_json_handler(handler))

    def _get_state(self) -> dict[str, Any]:
        account, now = self._server.account, self._server.clock.now()
        pods = [msgspec.Raw(pod.to_json()) for pod in account.list((), (), now)]
        balance, bills = account.get_money(now)
        return {
            **self._get_times(),
            "pods": pods,
            "balance": balance,
            "bills": [{**attrs.asdict(bill), "cost": bill.cost(now)} for bill in bills],
            "exits": self._exits,
        }

    def _get_times(self) -> dict[str, float]:
        return {"time": self._server.clock.time(), "now": self._server.clock.now()}

    async def _add_fault(self, request: web.Request) -> Fault:
        return self._server.faults.add_from_options(await _read_object(request))

    async def _advance_clock(self, request: web.Request) -> dict[str, float]:
        seconds = await _read_number(request, "advance")
        try:
            await self._server.clock.advance(seconds)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        return self._get_times()

    async def _deposit(self, request: web.Request) -> dict[str, float | None]:
        amount = await _read_number(request, "amount")
        now = self._server.clock.now()
        self._server.account.deposit(amount, now)
        return {"balance": self._server.account.get_money(now)[0]}

    def _get_log(self, request: web.Request) -> web.Response:
        return web.Response(text=self._read_log(str(int(request.match_info["podId"]))))


def _to_json_handler(handler: ControlHandler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that responds with what another one returns or raises, as JSON."""

    async def handle(request: web.Request) -> web.Response:
        status = 200
        try:
            result = handler(request)
            if inspect.isawaitable(result):
                result = await result
            if isinstance(result, web.Response):
                return result
        except (ValueError, TypeError) as error:
            # Routes with an id have no other input: what is wrong is that the id does not exist.
            result, status = {"error": str(error)}, 404 if request.match_info else 400
        body = msgspec.json.encode({} if result is None else result)
        return web.Response(body=body, status=status, content_type="application/json")

    return handle


async def _read_object(request: web.Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await read_body(request), type=dict[str, Any])
    except (ValueError, RecursionError, InvalidRequestError):
        raise ValueError("the body must be a JSON object") from None


async def _read_number(request: web.Request, name: str) -> float:
    body = await _read_object(request)
    value = body.get(name, -1)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _MAX_NUMBER or len(body) > 1:
        raise ValueError(f'the body must be {{"{name}": a number that is not negative}}, and at most {_MAX_NUMBER:g}')
    return float(value)
