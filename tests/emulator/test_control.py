"""The control routes under /_emulator/, used over HTTP alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.conftest import SPEC
from yotta_async.emulator import Emulator


class ControlClient:
    """Controls an emulator over HTTP alone."""

    def __init__(self, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.session = session

    async def __call__(self, method: str, path: str, json: Any = None, **options: Any) -> tuple[int, Any]:
        url = f"{self.emulator.url}/_emulator/{path}"
        async with self.session.request(method, url, json=json, **options) as response:
            return response.status, await response.json()


@pytest.fixture
async def control() -> AsyncIterator[ControlClient]:
    async with (
        Emulator(clock="manual", control=True, balance=10) as emulator,
        aiohttp.ClientSession(headers={"x-api-key": emulator.api_key}) as session,
    ):
        yield ControlClient(emulator, session)


async def test_every_control_route(control: ControlClient) -> None:
    async with control.emulator.client() as yotta:
        handle = await yotta.pods.create(**SPEC, pod_name="a")
        status, clock = await control("POST", "clock", {"advance": 3600})
        assert (status, clock["time"]) == (200, 3600)
        _, state = await control("GET", "state")
        assert [(pod["id"], pod["status"]) for pod in state["pods"]] == [(handle.id, "RUNNING")]
        assert state["balance"] == pytest.approx(10 - state["bills"][0]["cost"])
        assert (await control("POST", "deposit", {"amount": 5}))[1]["balance"] == pytest.approx(state["balance"] + 5)
        status, fault = await control("POST", "faults", {"kind": "stuck", "nth": [1, 3], "pod_name": "b*"})
        assert (status, fault["kind"], fault["nth"], fault["is_active"]) == (200, "stuck", [1, 3], True)
        await yotta.pods.create(**SPEC, pod_name="b1")
        assert (await control("GET", "faults"))[1][0]["fired"] == 1
        _, requests = await control("GET", "requests")
        assert [request["faults"] for request in requests if request["path"].endswith("/create")] == [[], ["stuck"]]
        assert (await control("DELETE", f"faults/{fault['id']}")) == (200, {})
        assert (await control("DELETE", f"faults/{fault['id']}"))[0] == 404
        await control("POST", "faults", {"kind": "html_502"})
        assert (await control("DELETE", "faults")) == (200, {})
        assert (await control("DELETE", "requests")) == (200, {})
        assert await control("GET", "requests") == (200, [])
        assert (await control("POST", "reset")) == (200, {})
        assert await yotta.pods.list() == []
    assert (await control("GET", f"pods/{handle.id}/logs"))[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [("faults", {"kind": "x"}, "kind"), ("faults", [], "JSON object"), ("faults", None, "JSON object"), ("clock", {"advance": -1}, "advance"),
     ("clock", {"advance": "1"}, "advance"), ("clock", {}, "advance"), ("clock", {"advance": 1, "x": 2}, "advance"), ("deposit", {"amount": True}, "amount")],
)  # fmt: skip
async def test_invalid_control_request_is_explained(control: ControlClient, path: str, body: Any, problem: str) -> None:
    status, response = await control("POST", path, body)
    assert status == 400
    assert problem in response["error"]


async def test_real_clock_cannot_be_advanced_over_http() -> None:
    async with (
        Emulator(control=True) as emulator,
        aiohttp.ClientSession(headers={"x-api-key": emulator.api_key}) as session,
    ):
        status, response = await ControlClient(emulator, session)("POST", "clock", {"advance": 1})
        assert status == 400
        assert "manual" in response["error"]


async def test_control_routes_need_the_key_and_the_control_option(control: ControlClient, emulator: Emulator) -> None:
    for headers, status in (
        ({"x-api-key": "wrong"}, 401),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example.com"}, 403),
    ):
        assert (await control("GET", "state", headers=headers))[0] == status
    status, body = await ControlClient(emulator, control.session)("GET", "state")
    assert (status, "--control" in body["error"]) == (404, True)
    status, body = await control("GET", "nowhere")
    assert status == 404
    assert "no route GET /_emulator/nowhere" in body["error"]
    assert "POST /_emulator/clock" in body["error"]
