"""Fault injection: the effect of each kind, and which requests and pods it applies to."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import aiohttp
import pytest

from tests.conftest import SPEC
from yotta_async import (
    ConnectionLostError,
    PodFailedError,
    PodStatus,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    WaitTimeoutError,
    YottaClient,
)
from yotta_async.emulator import Emulator, FaultKind, FaultOptions, Faults

ONCE = RetryPolicy(max_attempts=1)
# The error of a client without retries, and whether a create is processed.
RESPONSE_FAULTS: dict[str, tuple[type[Exception], bool]] = {
    "status": (ServerError, False),
    "html_502": (ProtocolError, False),
    "rate_limited": (RateLimitError, False),
    "redirect": (ProtocolError, False),
    "reset_before_commit": (ConnectionLostError, False),
    "answer_lost_after_commit": (ConnectionLostError, True),
    "cut_body": (ProtocolError, True),
    "bad_json": (ProtocolError, True),
    "endless_body": (ProtocolError, True),
}
CREATE = {"image": "ubuntu:24.04", "gpuType": "NVIDIA_L4_24G"}


@pytest.mark.parametrize("kind", RESPONSE_FAULTS)
async def test_response_fault_raises_its_error(emulator: Emulator, kind: Any) -> None:
    emulator.faults.add(kind=kind, on="list")
    async with emulator.client(retry=ONCE) as yotta:
        with pytest.raises(RESPONSE_FAULTS[kind][0]):
            await yotta.pods.list()
    assert [request.faults for request in emulator.requests] == [(kind,)]


@pytest.mark.parametrize("kind", RESPONSE_FAULTS)
async def test_response_fault_processes_the_request_or_not(emulator: Emulator, kind: Any) -> None:
    emulator.faults.add(kind=kind, on="create", nth=1)
    async with aiohttp.ClientSession(headers={"x-api-key": emulator.api_key}) as session:
        url = f"{emulator.url}/openapi/v1/pods/"
        try:
            async with session.post(f"{url}create", json=CREATE, allow_redirects=False) as response:
                await response.content.read(1000)
        except aiohttp.ClientError:
            pass
        async with session.get(f"{url}list") as response:
            pods = (await response.json())["data"]
    assert bool(pods) == RESPONSE_FAULTS[kind][1]


@pytest.mark.parametrize("kind", [*RESPONSE_FAULTS, "delay", "list_lag", "missing_from_list"])
async def test_creates_survive_every_response_fault(emulator: Emulator, kind: Any) -> None:
    """Of eight concurrent creates none is lost, and none makes two pods."""
    emulator.faults.add(kind=kind, probability=0.3, times=6)
    async with emulator.client() as yotta:
        report = await yotta.pods.create_many([SPEC] * 8, until="RUNNING")
        assert not report.failed
        emulator.faults.clear()
        there = {pod.id for pod in await yotta.pods.list() if not pod.status.is_terminal}  # type: ignore[union-attr]
    assert there == {item.pod_id for item in report.succeeded}


async def test_status_and_rate_limited_parameters(emulator: Emulator, yotta: YottaClient) -> None:
    emulator.faults.add(kind="status", http_status=503, code=10002, message="maintenance", times=1)
    emulator.faults.add(kind="rate_limited", seconds=7, on="list", nth=2)
    assert await yotta.pods.list() == []  # retried after both
    assert [(request.http_status, request.faults) for request in emulator.requests] == [
        (503, ("status",)), (429, ("rate_limited",)), (200, ())]  # fmt: skip
    assert emulator.clock.time() >= 7


async def test_delay_takes_virtual_time_up_to_the_timeout(emulator: Emulator) -> None:
    emulator.faults.add(kind="delay", seconds=20, nth=1)
    emulator.faults.add(kind="delay", seconds=3600, nth=2)
    async with emulator.client(timeout=30, retry=ONCE) as yotta:
        assert await yotta.pods.list() == []
        assert emulator.clock.time() == 20
        with pytest.raises(RequestTimeoutError):
            await yotta.pods.list()
        assert emulator.clock.time() == 50
        assert await yotta.pods.list() == []
        assert emulator.clock.time() == 50


async def test_list_lag(emulator: Emulator, yotta: YottaClient) -> None:
    first = await yotta.pods.create(**SPEC)
    await first.wait_until()
    await asyncio.gather(*(asyncio.create_task(emulator.clock.sleep(100)) for _ in range(1)))
    await first.pause()
    await yotta.pods.create(**SPEC)
    fault = emulator.faults.add(kind="list_lag", seconds=50)
    assert [(pod.id, pod.status) for pod in await yotta.pods.list()] == [(first.id, "RUNNING")]
    assert await yotta.pods.list(statuses=["PAUSING"]) == []
    emulator.faults.remove(fault)
    assert len(await yotta.pods.list()) == 2


async def test_missing_from_list(emulator: Emulator, yotta: YottaClient) -> None:
    for name in ("train-1", "train-2", "serve-1"):
        await yotta.pods.create(**SPEC, pod_name=name)
    emulator.faults.add(kind="missing_from_list", pod_name="train-*", nth=(1, 2))
    assert [[pod.pod_name for pod in await yotta.pods.list()] for _ in range(3)] == [
        ["serve-1"], ["serve-1"], ["serve-1", "train-2", "train-1"]]  # fmt: skip


async def test_stuck_until_the_fault_is_removed(emulator: Emulator, yotta: YottaClient) -> None:
    fault = emulator.faults.add(kind="stuck", on="create", nth=2)
    free, stuck = await yotta.pods.create(**SPEC), await yotta.pods.create(**SPEC)
    await free.wait_until()
    with pytest.raises(WaitTimeoutError):
        await stuck.wait_until(timeout=3600)
    emulator.faults.remove(fault)
    assert (await stuck.wait_until(timeout=5)).status == "RUNNING"


async def test_pod_stuck_in_pausing_can_be_deleted(emulator: Emulator, yotta: YottaClient) -> None:
    emulator.faults.add(kind="stuck", state="PAUSING")
    pod = await yotta.pods.create(**SPEC)
    await pod.wait_until()
    await pod.pause()
    with pytest.raises(WaitTimeoutError):
        await pod.wait_until(status=PodStatus.PAUSED, timeout=600)
    await pod.delete()
    await pod.wait_until(status=PodStatus.TERMINATED)


async def test_faults_that_act_on_a_pod(emulator: Emulator, yotta: YottaClient) -> None:
    emulator.faults.add(kind="failed", pod_name="bad")
    emulator.faults.add(kind="unhealthy_port", pod_name="deaf")
    odd = emulator.faults.add(kind="unknown_status", pod_name="odd", status="REBUILDING")
    bad, deaf, strange = [
        await yotta.pods.create(**SPEC, pod_name=name, expose=[22]) for name in ("bad", "deaf", "odd")
    ]
    with pytest.raises(PodFailedError):
        await bad.wait_until()
    with pytest.raises(WaitTimeoutError, match=r"port 22 .*healthy"):
        await deaf.wait_until_ready(timeout=60)
    port = (await deaf.refresh()).expose[0]
    with pytest.raises(OSError, match="refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port.proxy_port)
    await strange.wait_until_ready()
    fresh = await yotta.pods.create(**SPEC, pod_name="odd")
    assert (await fresh.refresh()).status == "REBUILDING"
    assert await yotta.pods.list(statuses=["INITIALIZE"]) == []
    emulator.faults.remove(odd)
    assert (await fresh.refresh()).status == "INITIALIZE"


async def test_each_fault_counts_its_own_calls(emulator: Emulator, yotta: YottaClient) -> None:
    every = emulator.faults.add(kind="status", on="get", http_status=404, code=13000, times=2)
    third = emulator.faults.add(kind="missing_from_list", nth=3)
    handle = await yotta.pods.create(**SPEC, pod_name="a")
    for _ in range(4):
        await yotta.pods.list()
    assert (third.calls, third.fired, every.fired) == (4, 1, 0)
    assert list(emulator.faults) == [every, third]
    emulator.faults.remove(every.id)
    emulator.faults.clear()
    assert len(emulator.faults) == 0
    await handle.refresh()
    again = emulator.faults.add(kind="delay")
    with pytest.raises(ValueError, match=f"no such fault: {every.id}. Active faults by id: {again.id}$"):
        emulator.faults.remove(every)
    emulator.faults.remove(again)
    with pytest.raises(ValueError, match="no such fault: 99. Active faults by id: none"):
        emulator.faults.remove(99)


async def test_probability_is_reproducible_with_the_seed() -> None:
    async def fired(seed: int) -> list[bool]:
        faults: list[FaultOptions] = [{"kind": "missing_from_list", "probability": 0.5}]
        async with Emulator(clock="auto", seed=seed, faults=faults) as emulator, emulator.client() as yotta:
            for _ in range(20):
                await yotta.pods.list()
            return [bool(request.faults) for request in emulator.requests]

    assert await fired(1) == await fired(1) != await fired(2)
    assert 3 < sum(await fired(1)) < 17


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"kind": "broken"}, "broken"), ({}, "kind"), ({"kind": "status", "on": "nowhere"}, "nowhere"), ({"kind": "delay", "foo": 1}, "foo"),
     ({"kind": "stuck", "on": "list"}, "'create' only"), ({"kind": "list_lag", "on": "get"}, "'list' only"),
     ({"kind": "status", "nth": 0}, "nth: .*>= 1"), ({"kind": "status", "times": 0}, "times: .*>= 1"), ({"kind": "status", "nth": "2"}, "nth"),
     ({"kind": "status", "nth": 1, "probability": 0.5}, "not both"), ({"kind": "status", "probability": 2}, "probability"),
     ({"kind": "html_502", "seconds": 1}, "seconds has no effect"), ({"kind": "stuck", "http_status": 500}, "http_status has no effect"),
     ({"kind": "delay", "seconds": -1}, "seconds"), ({"kind": "delay", "seconds": float("inf")}, "seconds"),
     ({"kind": "delay", "seconds": float("nan")}, "seconds"), ({"kind": "status", "nth": ()}, "nth"), ({"kind": "status", "nth": [1, 0]}, "nth"),
     ({"kind": "status", "http_status": 99}, "http_status"), ({"kind": "status", "http_status": 204}, "no body"),
     ({"kind": "status", "fired": 3}, "fired"), ({"kind": "status", "code": 2**31}, "code"), ({"kind": "status", "message": "a\n"}, "printable"),
     ({"kind": "redirect", "location": "a b"}, "location"), ({"kind": "stuck", "state": "RUNNING"}, "INITIALIZE, PAUSING, TERMINATING"),
     ({"kind": "list_lag", "pod_name": "a"}, "pod_name")],
)  # fmt: skip
def test_invalid_fault_is_refused(options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Emulator(faults=[options])


def test_every_kind_is_documented_and_tested() -> None:
    tried = {
        *RESPONSE_FAULTS,
        "delay",
        "list_lag",
        "missing_from_list",
        "stuck",
        "failed",
        "unhealthy_port",
        "unknown_status",
    }
    assert set(get_args(FaultKind)) == tried
    assert all(f'"{kind}"' in (Faults.__doc__ or "") for kind in tried)


async def test_removed_fault_no_longer_acts_on_pods(emulator: Emulator, yotta: YottaClient) -> None:
    failed, deaf = emulator.faults.add(kind="failed"), emulator.faults.add(kind="unhealthy_port")
    handle = await yotta.pods.create(**SPEC, expose=[22])
    emulator.faults.remove(failed)
    await handle.wait_until()
    assert not (await handle.refresh()).expose[0].healthy
    emulator.faults.remove(deaf)
    await handle.wait_until_ready(timeout=30)
