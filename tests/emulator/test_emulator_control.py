"""The emulator's own routes, as a program in any language uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.conftest import SPEC
from yotta_async.emulator import Emulator


class Hands:
    """Turns an emulator by HTTP alone."""

    def __init__(self, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.session = session

    async def __call__(self, method: str, path: str, json: Any = None, **options: Any) -> tuple[int, Any]:
        url = f"{self.emulator.url}/_emulator/{path}"
        async with self.session.request(method, url, json=json, **options) as response:
            return response.status, await response.json()


@pytest.fixture
async def hands() -> AsyncIterator[Hands]:
    async with (
        Emulator(clock="manual", control=True, balance=10) as emulator,
        aiohttp.ClientSession(headers={"x-api-key": emulator.api_key}) as session,
    ):
        yield Hands(emulator, session)


async def test_a_whole_day_by_http(hands: Hands) -> None:
    async with hands.emulator.client() as yotta:
        handle = await yotta.pods.create(**SPEC, pod_name="a")
        status, clock = await hands("POST", "clock", {"advance": 3600})
        assert (status, clock["time"]) == (200, 3600)
        _, state = await hands("GET", "state")
        assert [(pod["id"], pod["status"]) for pod in state["pods"]] == [(handle.id, "RUNNING")]
        assert state["balance"] == pytest.approx(10 - state["bills"][0]["cost"])
        assert (await hands("POST", "deposit", {"amount": 5}))[1]["balance"] == pytest.approx(state["balance"] + 5)
        status, fault = await hands("POST", "faults", {"kind": "stuck", "nth": [1, 3], "pod_name": "b*"})
        assert (status, fault["kind"], fault["nth"], fault["is_active"]) == (200, "stuck", [1, 3], True)
        await yotta.pods.create(**SPEC, pod_name="b1")
        assert (await hands("GET", "faults"))[1][0]["fired"] == 1
        _, requests = await hands("GET", "requests")
        assert [request["faults"] for request in requests if request["path"].endswith("/create")] == [[], ["stuck"]]
        assert (await hands("DELETE", f"faults/{fault['id']}")) == (200, {})
        assert (await hands("DELETE", f"faults/{fault['id']}"))[0] == 404
        await hands("POST", "faults", {"kind": "html_502"})
        assert (await hands("DELETE", "faults")) == (200, {})
        assert (await hands("DELETE", "requests")) == (200, {})
        assert await hands("GET", "requests") == (200, [])
        assert (await hands("POST", "reset")) == (200, {})
        assert await yotta.pods.list() == []
    assert (await hands("GET", f"pods/{handle.id}/logs"))[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [("faults", {"kind": "x"}, "kind"), ("faults", [], "JSON object"), ("faults", None, "JSON object"), ("clock", {"advance": -1}, "advance"),
     ("clock", {"advance": "1"}, "advance"), ("clock", {}, "advance"), ("clock", {"advance": 1, "x": 2}, "advance"), ("deposit", {"amount": True}, "amount")],
)  # fmt: skip
async def test_what_is_wrong_is_told(hands: Hands, path: str, body: Any, problem: str) -> None:
    status, answer = await hands("POST", path, body)
    assert status == 400
    assert problem in answer["error"]


async def test_real_time_is_not_turned_by_http() -> None:
    async with (
        Emulator(control=True) as emulator,
        aiohttp.ClientSession(headers={"x-api-key": emulator.api_key}) as session,
    ):
        status, answer = await Hands(emulator, session)("POST", "clock", {"advance": 1})
        assert status == 400
        assert "manual" in answer["error"]


async def test_only_who_may(hands: Hands, emulator: Emulator) -> None:
    for headers, status in (
        ({"x-api-key": "wrong"}, 401),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example.com"}, 403),
    ):
        assert (await hands("GET", "state", headers=headers))[0] == status
    assert (await Hands(emulator, hands.session)("GET", "state"))[0] == 404, "off unless asked for"
