"""Waiting: one hub for all against each waiter polling for itself, in one run, the server in a process of its own.

Prints requests, the client's CPU, when waiters woke after their pod had turned RUNNING, and what a waiter costs in
memory (in a run of its own, as tracing memory costs CPU). `python -m benchmarks hub`.
"""

from __future__ import annotations

import asyncio
import gc
import math
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import attrs

from benchmarks.server import Served, served
from yotta_async import PodStatus, YottaClient

SCENARIOS = [(1, 1.0, 1, 3), (1_000, 0.5, 1, 5), (2_000, 0.5, 1, 5), (10_000, 1.0, 1, 10)]


@attrs.frozen
class Result:
    """What one way of waiting took."""

    requests: int
    cpu: float
    wakes: list[float]

    def __str__(self) -> str:
        wakes = sorted(self.wakes)
        p99 = wakes[math.ceil(len(wakes) * 0.99) - 1]
        p50 = statistics.median(wakes)
        return f"{self.requests:>7,} requests  {self.cpu:6.2f} s CPU  wake p50 {p50:.2f} s p99 {p99:.2f} s"


async def hub(yotta: YottaClient, pod_id: str, tick: float) -> None:
    """Wait by the hub."""
    await yotta.pods.wait_until(pod_id, timeout=120, poll_interval=tick)


async def by_itself(yotta: YottaClient, pod_id: str, tick: float) -> None:
    """Wait as a loop around `get` does."""
    while (await yotta.pods.get(pod_id)).status != PodStatus.RUNNING:  # noqa: ASYNC110  # the peer that is measured
        await asyncio.sleep(tick)


Way = Callable[[YottaClient, str, float], Awaitable[None]]


async def run(way: Way, server: Served, tick: float, *, memory: bool = False) -> Result:
    """Let all wait, and measure. With `memory`, stop when all wait, and put the KiB of each in the place of the CPU."""
    sent = 0
    wakes = []
    async with YottaClient(server.api_key, base_url=server.url) as yotta:
        transport = yotta._transport  # noqa: SLF001  # counted where requests leave
        send = transport.send

        async def counted(*args: object, **options: object) -> object:
            nonlocal sent
            sent += 1
            return await send(*args, **options)  # type: ignore[arg-type]  # passed on

        transport.send = counted  # type: ignore[method-assign,assignment]  # likewise

        async def wait(pod_id: str) -> None:
            await way(yotta, pod_id, tick)
            wakes.append(max(0.0, time.time() - server.running_at[pod_id]))

        await yotta.pods.list(statuses=["PAUSED"])  # the first call imports, connects and compiles
        sent = 0
        gc.collect()
        if memory:
            tracemalloc.start()
        began = time.process_time()
        waits = [asyncio.ensure_future(wait(pod_id)) for pod_id in server.running_at]
        if memory:
            await asyncio.sleep(max(0.1, min(server.running_at.values()) - time.time()))
            gc.collect()
            kib = tracemalloc.get_traced_memory()[0] / 1024 / len(waits)
            tracemalloc.stop()
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            return Result(sent, kib, [0.0])
        await asyncio.gather(*waits)
        return Result(sent, time.process_time() - began, wakes)


def main() -> None:
    """Print the table."""
    for waiters, tick, least, most in SCENARIOS:
        print(f"\n{waiters:,} waiters, a look every {tick:g} s, pods turn RUNNING after {least} to {most} s")
        results = {}
        for name, way in (("hub", hub), ("each for itself", by_itself)):
            with served(waiters, least, most) as server:
                results[name] = asyncio.run(run(way, server, tick))
            print(f"  {name:<16}{results[name]}")
        print(f"  CPU ratio {results['hub'].cpu / results['each for itself'].cpu:.3f}", end="")
        with served(waiters, least + 3, most + 3) as server:
            print(f", {asyncio.run(run(hub, server, tick, memory=True)).cpu:.1f} KiB a waiter")
    _request_cost()


def _request_cost() -> None:
    """Measure what `_plan` stands on: how many listed pods cost as much as one request."""

    async def measure() -> tuple[float, float]:
        with served(2_000, 60, 60) as server:
            async with YottaClient(server.api_key, base_url=server.url) as yotta:
                endpoints = yotta.pods._endpoints  # noqa: SLF001  # what the hub itself calls
                pod_id = next(iter(server.running_at))
                await endpoints.listing_once(())
                began = time.process_time()
                for _ in range(500):
                    await endpoints.get_once(pod_id)
                get = (time.process_time() - began) / 500
                began = time.process_time()
                for _ in range(50):
                    await endpoints.listing_once(())
                return get, (time.process_time() - began - 50 * get) / 50 / 2_000

    get, listed = asyncio.run(measure())
    print(f"\na get costs the client {get * 1e6:.0f} us of CPU, as much as {get / listed:.0f} pods in a list")
