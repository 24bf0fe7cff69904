"""Random lifecycles, random failures, waiters that come and go: each of them ends, and none by a stale response."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import patch

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import KEY
from tests.raw_server import RecordedRequest, Reply, envelope, http, raw, raw_server, reset
from yotta_async import (
    AuthenticationError,
    Pod,
    PodFailedError,
    PodGoneError,
    PodStatus,
    WaitTimeoutError,
    YottaClient,
)
from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.emulator.clock import AutoClock
from yotta_async.models.status import can_reach

STATES = ["INITIALIZE", "PENDING", "RUNNING", "PAUSING", "PAUSED", "FAILED", "TERMINATING", "TERMINATED", "ODD", None]
FAULTS: dict[str, Reply] = {
    "reset": reset,
    "html": http(b"<html>", 502),
    "limited": envelope(code=1, status=429, Retry_After="3"),
    "cut": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    "error": envelope(code=10002),
    "empty": http(b""),
}

lives = st.lists(st.tuples(st.floats(0, 40), st.sampled_from(STATES)), min_size=1, max_size=5)
# A client answers three complaints in a second by a limit on its rate, whose seconds are real ones.
faults = st.lists(st.sampled_from([None, None, None, "lose", *FAULTS]), max_size=30).filter(
    lambda drawn: drawn.count("limited") < 3
)
waiters = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["RUNNING", "PAUSED", "TERMINATED"]), st.floats(0, 30), st.floats(0.5, 90)),
    min_size=1,
    max_size=25,
)  # fmt: skip


class Cloud:
    """Pods whose states follow the clock, behind a server that fails as it was drawn."""

    def __init__(self, clock: AutoClock, lives: list[list[tuple[float, str | None]]], faults: list[str | None]) -> None:
        self._clock = clock
        self._lives = lives
        self._faults = iter(faults)

    def pods(self) -> list[dict[str, Any]]:
        found = []
        for number, life in enumerate(self._lives):
            times = itertools.accumulate(seconds for seconds, _ in life)
            status: str | None = "INITIALIZE"
            for moment, (_, later) in zip(times, life, strict=True):
                status = later if self._clock.time() >= moment else status
            if status != "TERMINATED" or self._clock.time() < 60:
                found.append({"id": number, "status": status})
        return found

    async def __call__(self, request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        fault = next(self._faults, None)
        if fault in FAULTS:
            await FAULTS[fault](request, writer)
            return
        pods, name = self.pods(), request.path.rpartition("/")[2]
        if name == "list":
            wanted = [part.partition("=")[2] for part in request.target.partition("?")[2].split("&") if part]
            numbers = {
                "INITIALIZE": "0",
                "RUNNING": "1",
                "PAUSING": "2",
                "PAUSED": "3",
                "TERMINATING": "4",
                "FAILED": "6",
            }
            pods = [pod for pod in pods if not wanted or numbers.get(pod["status"] or "") in wanted]
            await envelope(pods[::2] if fault == "lose" else pods)(request, writer)
            return
        found = [pod for pod in pods if str(pod["id"]) == name]
        await (envelope(found[0]) if found else envelope(code=13000))(request, writer)


class NumberedEndpoints(Endpoints):
    """Gives every pod, as its name, the number of the request that showed it, counted where requests begin."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.begun = 0

    async def get_once(self, pod_id: str, **options: Any) -> Pod:
        self.begun += 1
        number = self.begun
        return attrs.evolve(await super().get_once(pod_id, **options), pod_name=str(number))

    async def snapshot_once(self, statuses: Collection[PodStatus]) -> PodListSnapshot:
        self.begun += 1
        number = self.begun
        snapshot = await super().snapshot_once(statuses)
        build = snapshot.pod
        snapshot.pod = lambda index: (pod := build(index)) and attrs.evolve(pod, pod_name=str(number))  # type: ignore[method-assign]  # to number it
        return snapshot


async def live_through(
    lives: list[list[tuple[float, str | None]]], faults: list[str | None], waiters: list[tuple[int, str, float, float]]
) -> None:
    async with AsyncExitStack() as stack:
        clock = AutoClock()
        server = await stack.enter_async_context(raw_server(Cloud(clock, lives, faults)))
        made: list[NumberedEndpoints] = []

        def make(*args: Any, **options: Any) -> Endpoints:
            made.append(NumberedEndpoints(*args, **options))
            return made[0]

        with patch("yotta_async.client.Endpoints", make):
            yotta = await stack.enter_async_context(YottaClient(KEY, base_url=server.url, clock=clock, poll_interval=1))
        [endpoints] = made

        async def wait(number: int, target: str, delay: float, timeout: float) -> None:
            await clock.sleep(delay)
            began = clock.time()
            first = endpoints.begun + 1
            try:
                pod = await yotta.pods.wait_until(number, status=target, timeout=timeout)
            except WaitTimeoutError:
                assert clock.time() >= began + timeout - 1e-6
            except PodFailedError as error:
                assert not can_reach(error.history[-1][0], PodStatus(target))
            except PodGoneError:
                assert number >= len(lives) or clock.time() >= 60
                assert target != "TERMINATED"
            else:
                assert pod.status == target
                if pod.pod_name is not None and pod.status is not PodStatus.TERMINATED:
                    assert int(pod.pod_name) >= first, "a response to a request that began before the wait"
            assert clock.time() <= began + timeout + 1e-6

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for waiter in waiters:
                group.create_task(wait(*waiter))
        await clock.wait_until_idle()
        count = len(server.received)
        await clock.sleep(100)
        assert len(server.received) == count, "nothing is sent when nothing waits"


@settings(max_examples=60)
@given(st.lists(lives, min_size=1, max_size=25), faults, waiters)
def test_every_wait_ends_and_none_by_a_stale_answer(
    lives: list[list[tuple[float, str | None]]], faults: list[str | None], waiters: list[tuple[int, str, float, float]]
) -> None:
    asyncio.run(live_through(lives, faults, waiters))


@settings(max_examples=10)
@given(st.lists(lives, min_size=1, max_size=5), waiters)
def test_a_key_that_is_refused_ends_every_wait(
    lives: list[list[tuple[float, str | None]]], waiters: list[tuple[int, str, float, float]]
) -> None:
    async def run() -> None:
        async with raw_server(http(b"", 401)) as server:
            async with YottaClient(KEY, base_url=server.url, clock=AutoClock()) as yotta:
                waits = [yotta.pods.wait_until(number, status=target) for number, target, *_ in waiters]
                results = await asyncio.gather(*waits, return_exceptions=True)
            assert {type(result) for result in results} == {AuthenticationError}

    asyncio.run(run())
