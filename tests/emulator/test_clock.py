"""The emulator's clocks: what moves them, how far, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import SPEC
from yotta_async import PodStatus, WaitTimeoutError, YottaClient
from yotta_async.emulator import Emulator, Timings
from yotta_async.emulator.clock import AutoClock, ClockKind, EmulatorClock, ManualClock


async def test_manual_clock_wakes_each_sleeper_at_its_own_time() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.time()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("a", 2, 2, 2))
        group.create_task(sleeper("b", 3, 0))
        await clock.advance(1)
        assert woken == []
        await clock.advance(3.5)
        assert woken == [("a", 2), ("b", 3), ("b", 3), ("a", 4)]
        assert clock.time() == 4.5
        await clock.advance(10)
    assert woken[-1] == ("a", 6)


async def test_manual_clock_waits_for_calls_in_flight() -> None:
    clock = ManualClock()
    seen: list[float] = []

    async def caller() -> None:
        await clock.sleep(1)
        with clock.call():
            await asyncio.sleep(0.02)
        seen.append(clock.time())
        await clock.sleep(1)
        seen.append(clock.time())

    async with asyncio.TaskGroup() as group:
        group.create_task(caller())
        await clock.advance(10)
    assert seen == [1, 2]


async def test_delayed_call_expires_at_its_timeout() -> None:
    clock = AutoClock()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600) as timeout:
            with clock.call(timeout, 30):
                await clock.delay(1000)
    assert timeout.expired()
    assert clock.time() == 30


async def test_timeout_that_has_ended_is_left_alone() -> None:
    clock = ManualClock()
    async with asyncio.timeout(3600) as timeout:
        await asyncio.sleep(0)

    async def call() -> None:
        with clock.call(timeout, 30):
            await clock.delay(60)

    async with asyncio.TaskGroup() as group:
        group.create_task(call())
        await clock.advance(60)
    assert not timeout.expired()


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
async def test_advance_refuses_negative_and_infinite_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="forward"):
        await ManualClock().advance(seconds)


async def test_real_clock_cannot_be_advanced() -> None:
    with pytest.raises(RuntimeError, match="manual"):
        await EmulatorClock().advance(1)


async def test_auto_clock_jumps_to_the_earliest_sleeper_and_no_further() -> None:
    clock = AutoClock()
    await asyncio.gather(clock.sleep(3600), clock.sleep(5), clock.sleep(60))
    assert clock.time() == 3600
    await asyncio.sleep(0.01)
    assert clock.time() == 3600, "time stands still without a sleeper"


async def test_auto_clock_skips_cancelled_sleepers() -> None:
    clock = AutoClock()
    sleeper = asyncio.create_task(clock.sleep(1000))
    await asyncio.sleep(0)
    sleeper.cancel()
    await clock.sleep(5)
    assert clock.time() == 5


async def test_auto_clock_stands_still_while_a_call_is_in_flight() -> None:
    clock = AutoClock()
    with clock.call():
        sleeper = asyncio.create_task(clock.sleep(5))
        await asyncio.sleep(0.02)
        assert not sleeper.done()
        assert clock.time() == 0
    await sleeper


async def test_auto_clock_does_not_jump_to_the_expiry_of_pods(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC)
    await handle.wait_until()
    await handle.delete()
    await handle.wait_until(status=PodStatus.TERMINATED)
    await asyncio.sleep(0.01)
    assert emulator.clock.time() < 60
    assert (await handle.refresh()).status == "TERMINATED"


async def test_auto_clock_serves_many_waiters() -> None:
    async with (
        Emulator(clock="auto", timings=Timings(initialize=(10.0, 100.0))) as emulator,
        emulator.client(poll_interval=1) as yotta,
    ):
        handles = await asyncio.gather(*(yotta.pods.create(**SPEC) for _ in range(40)))
        pods = await asyncio.gather(*(handle.wait_until() for handle in handles))
        assert {pod.status for pod in pods} == {"RUNNING"}
        assert emulator.clock.time() <= 102


async def test_concurrent_advances_add_up() -> None:
    clock = ManualClock()
    await asyncio.gather(clock.advance(10), clock.advance(1))
    assert clock.time() == 11


@pytest.mark.parametrize("kind", ["auto", "manual"])
async def test_wait_on_a_closed_emulator_times_out(kind: ClockKind) -> None:
    async with Emulator(clock=kind) as emulator:
        yotta = emulator.client()
        handle = await yotta.pods.create(**SPEC)
        waiting = asyncio.create_task(handle.wait_until(status=PodStatus.PAUSED, timeout=60))
        while len(emulator.requests) < 2:
            await asyncio.sleep(0)
    with pytest.raises(WaitTimeoutError):
        await waiting
    await yotta.aclose()
