"""The balance, the capacity and the bills of the emulated account."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.conftest import SPEC
from yotta_async import APIError, PodFailedError, YottaClient
from yotta_async.emulator import Emulator, Timings

L4 = "NVIDIA_L4_24G"
HOURLY = 0.6 + 252 * 0.00005  # of one L4 and the volume that comes with it
TIMINGS = Timings(initialize=60, pausing=10, terminating=10)


async def test_balance_decreases_and_pods_are_terminated_at_zero() -> None:
    async with Emulator(clock="manual", timings=TIMINGS, balance=2 * HOURLY) as emulator, emulator.client() as yotta:
        running, paused = await yotta.pods.create(**SPEC), await yotta.pods.create(**SPEC)
        await emulator.clock.advance(60)
        await paused.pause()
        assert emulator.balance == pytest.approx(2 * HOURLY)
        await emulator.clock.advance(3600)
        assert emulator.balance == pytest.approx(HOURLY)
        await emulator.clock.advance(3590)
        assert (await running.refresh()).status == "RUNNING"
        await emulator.clock.advance(11)
        assert (await running.refresh()).status == (await paused.refresh()).status == "TERMINATING"
        assert emulator.balance == 0
        with pytest.raises(APIError, match="balance"):
            await yotta.pods.create(**SPEC)
        for wrong in (-1, "5", float("nan")):
            with pytest.raises(ValueError, match="amount"):
                emulator.deposit(wrong)  # type: ignore[arg-type]  # wrong on purpose
        emulator.deposit(5)
        await yotta.pods.create(**SPEC)
    first, second = emulator.bills
    assert (first.pod_id, first.gpu_type, first.gpu_count) == (running.id, L4, 1)
    assert first.hourly_price == pytest.approx(HOURLY)
    assert first.ended_at is not None
    assert first.ended_at - first.started_at == pytest.approx(7200)
    assert second.cost(first.ended_at) == 0, "paused at the moment at which it became RUNNING"


async def test_only_running_pods_are_billed() -> None:
    async with Emulator(clock="manual", timings=TIMINGS) as emulator, emulator.client() as yotta:
        handle = await yotta.pods.create(**{**SPEC, "gpu_count": 4})
        await emulator.clock.advance(60 + 1800)
        await handle.pause()
        await emulator.clock.advance(3600)
        await handle.resume()
        await emulator.clock.advance(60 + 600)
        pod = await handle.refresh()
        assert emulator.balance is None
        now = emulator.clock.now()
        assert [bill.cost(now) * 3600 / (pod.hourly_price or 0) for bill in emulator.bills] == pytest.approx(
            [1800, 600]
        )
        assert emulator.bills[1].ended_at is None


@pytest.mark.parametrize("scarcity", ["fail", "refuse"])
async def test_capacity_by_region(scarcity: Any) -> None:
    capacity = {L4: {"us-east-2": 2, "eu-west-1": 1}}
    async with Emulator(clock="auto", capacity=capacity, scarcity=scarcity) as emulator, emulator.client() as yotta:
        first = await yotta.pods.create(**SPEC, region="us-east-2")
        specs = [{**SPEC, "region": "us-east-2", "gpu_count": 2}, {**SPEC, "region": "us-west-1"}]
        assert not (await yotta.pods.create_many(specs, until="RUNNING")).succeeded
        anywhere = await yotta.pods.create_many(
            [SPEC, {**SPEC, "region_list": ["us-west-1", "eu-west-1"]}], until="RUNNING"
        )
        regions = Counter(item.pod.region for item in anywhere.items if item.pod)
        assert regions == {"us-east-2": 1, "eu-west-1": 1}
        await yotta.pods.create(image="a", gpu_type="NVIDIA_H100_80GB_HBM3_80G")
        await _resume_without_capacity(yotta, first.id, scarcity)


async def _resume_without_capacity(yotta: YottaClient, pod_id: str, scarcity: str) -> None:
    handle = yotta.pods.handle(pod_id)
    await handle.wait_until()
    await handle.pause()
    await handle.wait_until(status="PAUSED")
    await yotta.pods.create(**SPEC, region="us-east-2")
    if scarcity == "refuse":
        with pytest.raises(APIError, match="capacity"):
            await handle.resume()
    else:
        await handle.resume()
        with pytest.raises(PodFailedError):
            await handle.wait_until()


@pytest.mark.parametrize("balance", [-1, float("inf"), float("nan")])
def test_invalid_balance_is_refused(balance: float) -> None:
    with pytest.raises(ValueError, match="balance"):
        Emulator(balance=balance)


@pytest.mark.parametrize("capacity", [{L4: -1}, {L4: True}, {L4: {"a": "1"}}, {L4: 1.5}])
def test_invalid_capacity_is_refused(capacity: Any) -> None:
    with pytest.raises(ValueError, match="capacity"):
        Emulator(capacity=capacity)
