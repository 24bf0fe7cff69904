"""The emulator's own routes, under /_emulator/, so that programs in any language can turn its hands.

Off unless `Emulator(control=True)` or `yotta-async emulator --control`; with the key, as every route. Bodies and
answers are plain JSON, without the API's envelope; what is refused is `{"error": …}` with status 400 or 404.

| route | what it does |
|---|---|
| `GET state` | the time, the pods, the balance, the bills, the exits of processes |
| `POST reset` | forget pods, faults, and the record of requests; time stays |
| `GET faults` · `POST faults` | list them; order one, with the arguments of `faults.add` |
| `DELETE faults` · `DELETE faults/{id}` | end them all; end one |
| `GET clock` · `POST clock` | the time; `{"advance": seconds}` lets time pass (manual and automatic clocks) |
| `POST deposit` | `{"amount": dollars}` adds to the balance |
| `GET requests` · `DELETE requests` | the record of requests, faults that fired included; forget it |
| `GET pods/{id}/logs` | what a pod's process wrote, as text (`runtime="process"`) |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
import msgspec
from aiohttp import web

from yotta_async.emulator.clock import EmulatorClock
from yotta_async.emulator.runtime import RecordedExit
from yotta_async.emulator.server import CONTROL, Server, body_of
from yotta_async.emulator.validation import InvalidError

_MOST = 1e12


class Control:
    """The routes over one server."""

    def __init__(
        self, server: Server, exits: Sequence[RecordedExit], logs: Callable[[str], str], reset: Callable[[], None]
    ) -> None:
        self._server = server
        self._exits = exits
        self._logs = logs
        self._reset_all = reset

    def add_to(self, app: web.Application) -> None:
        """Add the routes to the application that serves the API."""
        for method, path, handler in (
            ("GET", "state", self._state),
            ("POST", "reset", self._reset),
            ("GET", "faults", self._faults),
            ("POST", "faults", self._order),
            ("DELETE", "faults", self._clear),
            ("DELETE", r"faults/{id:\d{1,9}}", self._remove),
            ("GET", "clock", self._clock),
            ("POST", "clock", self._advance),
            ("POST", "deposit", self._deposit),
            ("GET", "requests", self._requests),
            ("DELETE", "requests", self._forget),
            ("GET", r"pods/{podId:\d{1,19}}/logs", self._said),
        ):
            app.router.add_route(method, f"{CONTROL}{path}", _explained(handler))

    async def _state(self, _: web.Request) -> web.Response:
        account, now = self._server.account, self._server.clock.now()
        pods = [msgspec.Raw(pod.json()) for pod in account.list((), (), now)]
        return _json(
            {
                **self._times(),
                "pods": pods,
                "balance": account.balance(now),
                "bills": [{**attrs.asdict(bill), "cost": bill.cost(now)} for bill in account.bills(now)],
                "exits": [attrs.asdict(exit_) for exit_ in self._exits],
            }
        )

    async def _reset(self, _: web.Request) -> web.Response:
        self._reset_all()
        return _json({})

    async def _faults(self, _: web.Request) -> web.Response:
        return _json(list(self._server.faults))

    async def _order(self, request: web.Request) -> web.Response:
        return _json(self._server.faults.order(await _object(request)))

    async def _clear(self, _: web.Request) -> web.Response:
        self._server.faults.clear()
        return _json({})

    async def _remove(self, request: web.Request) -> web.Response:
        try:
            self._server.faults.remove(int(request.match_info["id"]))
        except ValueError as error:
            return _json({"error": str(error)}, status=404)
        return _json({})

    async def _clock(self, _: web.Request) -> web.Response:
        return _json(self._times())

    async def _advance(self, request: web.Request) -> web.Response:
        try:
            await self._server.clock.advance(await _number(request, "advance"))
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        return _json(self._times())

    async def _deposit(self, request: web.Request) -> web.Response:
        amount = await _number(request, "amount")
        now = self._server.clock.now()
        self._server.account.deposit(amount, now)
        return _json({"balance": self._server.account.balance(now)})

    async def _requests(self, _: web.Request) -> web.Response:
        return _json([attrs.asdict(each) for each in self._server.requests])

    async def _forget(self, _: web.Request) -> web.Response:
        self._server.requests.clear()
        return _json({})

    async def _said(self, request: web.Request) -> web.Response:
        try:
            return web.Response(text=self._logs(str(int(request.match_info["podId"]))))
        except ValueError as error:
            return _json({"error": str(error)}, status=404)

    def _times(self) -> dict[str, Any]:
        clock: EmulatorClock = self._server.clock
        return {"time": clock.time(), "now": clock.now()}


def _explained(handler: Callable[[web.Request], Awaitable[web.Response]]) -> Callable[[web.Request], Awaitable[Any]]:
    async def explained(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except (ValueError, TypeError) as error:
            return _json({"error": str(error)}, status=400)

    return explained


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await body_of(request), type=dict[str, Any])
    except (ValueError, RecursionError, InvalidError):
        raise ValueError("the body must be a JSON object") from None


async def _number(request: web.Request, name: str) -> float:
    body = await _object(request)
    value = body.get(name, -1)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _MOST or len(body) > 1:
        raise ValueError(f'the body must be {{"{name}": a number that is not negative}}, and at most {_MOST:g}')
    return float(value)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
