"""Fan-out: 10,000 creates by `create_many`, against a hand-written pool of workers over the same client's `create`.

Interleaved in one run, five times each, the emulator in a process of its own; the median counts. Memory is what a pod
costs beyond its own model, in a run of its own, as tracing costs CPU. `python -m benchmarks fan_out`.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.measure import Row, show
from benchmarks.server import served
from yotta_async import PodSpec, YottaClient

PODS = 10_000
WORKERS = 32
ROUNDS = 5
SPEC = PodSpec(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G", pod_name="benchmark")


async def by_create_many(yotta: YottaClient, pods: int) -> Any:
    """Create them as the SDK does."""
    return await yotta.pods.create_many([SPEC] * pods, concurrency=WORKERS)


async def by_workers(yotta: YottaClient, pods: int) -> Any:
    """Create them as a script would that cares for nothing but the ids."""
    numbers = iter(range(pods))
    handles: list[Any] = [None] * pods

    async def work() -> None:
        for number in numbers:
            handles[number] = await yotta.pods.create(SPEC)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return handles


FetchMode = Callable[[YottaClient, int], Awaitable[Any]]


async def cpu(way: FetchMode, pods: int) -> float:
    """Return the client's CPU seconds."""
    with served(0, 60, 60) as server:
        async with YottaClient(server.api_key, base_url=server.url) as yotta:
            await yotta.pods.create(SPEC)
            gc.collect()
            began = time.process_time()
            await way(yotta, pods)
            return time.process_time() - began


async def memory(way: FetchMode, pods: int) -> tuple[float, float]:
    """Return the KiB that a pod keeps, and the peak."""
    with served(0, 60, 60) as server:
        async with YottaClient(server.api_key, base_url=server.url) as yotta:
            await yotta.pods.create(SPEC)
            gc.collect()
            tracemalloc.start()
            kept = await way(yotta, pods)
            gc.collect()
            now, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            del kept
            return now / 1024 / pods, peak / 1024 / pods


def main() -> list[Row]:
    """Compare."""
    ways = {"create_many": by_create_many, "workers": by_workers}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            taken[name].append(asyncio.run(cpu(way, PODS)))
    case = f"{PODS:,} creates"
    rows = []
    for name, way in ways.items():
        ratios = [ours / theirs for ours, theirs in zip(taken[name], taken["workers"], strict=True)]
        kept, peak = asyncio.run(memory(way, PODS))
        rows += [
            Row("fan_out", case, name, statistics.median(ratios), "x the workers' CPU"),
            Row("fan_out", case, name, statistics.median(taken[name]) / PODS * 1e6, "us of CPU a pod"),
            Row("fan_out", case, name, kept, "KiB kept a pod"),
            Row("fan_out", case, name, peak, "KiB a pod at the peak"),
        ]
    return show(rows)
