"""Waiting: one poller for all waits against one for each, in one run, the server in a process of its own.

Tells requests, the client's CPU, when waiters woke after their pod had turned RUNNING, and what a waiter costs in
memory (in a run of its own, as tracing memory costs CPU). Each scenario is run once for each way of waiting, one after
the other: seconds of pods' lives pass in each. `python -m benchmarks poller`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import patch

import attrs

from benchmarks.measure import Row, show
from benchmarks.peers import Get, Peers
from benchmarks.server import Served, served
from tests.parts import open_endpoints
from yotta_async import YottaClient
from yotta_async.transport.transport import Transport

# Waiters, seconds between polls, and when pods turn RUNNING. The slow clients cannot keep up with more than a thousand.
SCENARIOS = [(1_000, 0.5, 1, 5), (2_000, 0.5, 1, 5), (10_000, 1.0, 1, 10)]
POLLER, ITSELF, QUICK = "yotta_async, one poller", "yotta_async", ("yotta_async, one poller", "yotta_async", "raw")
Wait = Callable[[str], Awaitable[None]]


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


def _status(answer: Any) -> str | None:
    if isinstance(answer, bytes | dict):
        answer = json.loads(answer) if isinstance(answer, bytes) else answer
        return str(answer["data"]["status"])
    return str(answer.status)


def by_poller(yotta: YottaClient, tick: float) -> Wait:
    """Wait by the shared poller."""

    async def wait(pod_id: str) -> None:
        await yotta.pods.wait_until(pod_id, timeout=120, poll_interval=tick)

    return wait


def by_itself(get: Get, tick: float) -> Wait:
    """Wait as a loop around a get does."""

    async def wait(pod_id: str) -> None:
        while _status(await get(pod_id)) != "RUNNING":  # noqa: ASYNC110  # the peer that is measured
            await asyncio.sleep(tick)

    return wait


async def run(name: str, server: Served, tick: float) -> Result:
    """Let all wait, and measure."""
    sent = 0
    wakes = []
    async with Peers(server.url, server.api_key) as peers, AsyncExitStack() as stack:
        if name == POLLER:
            send = Transport.send

            async def counted_send(self: Transport, *args: Any, **options: Any) -> object:
                nonlocal sent
                sent += 1
                return await send(self, *args, **options)

            stack.enter_context(patch.object(Transport, "send", counted_send))
            way = by_poller(peers.yotta, tick)
        else:
            get = peers.get[name]

            async def counted(pod_id: str) -> Any:
                nonlocal sent
                sent += 1
                return await get(pod_id)

            way = by_itself(counted, tick)

        async def wait(pod_id: str) -> None:
            await way(pod_id)
            wakes.append(max(0.0, time.time() - server.running_at[pod_id]))

        # The first call imports, connects and compiles.
        await (
            peers.yotta.pods.list(statuses=["PAUSED"])
            if name == POLLER
            else peers.get[name](next(iter(server.running_at)))
        )
        sent = 0
        gc.collect()
        began = time.process_time()
        await asyncio.gather(*map(wait, server.running_at))
        return Result(sent, time.process_time() - began, wakes)


async def memory(server: Served, tick: float) -> float:
    """Return the KiB that a waiter takes while all wait."""
    async with YottaClient(server.api_key, base_url=server.url) as yotta:
        await yotta.pods.list(statuses=["PAUSED"])
        gc.collect()
        tracemalloc.start()
        waits = [asyncio.ensure_future(by_poller(yotta, tick)(pod_id)) for pod_id in server.running_at]
        await asyncio.sleep(max(0.1, min(server.running_at.values()) - time.time()))
        gc.collect()
        kib = tracemalloc.get_traced_memory()[0] / 1024 / len(waits)
        tracemalloc.stop()
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return kib


def main() -> list[Row]:
    """Print what each took, and return the ratios."""
    rows = []
    for waiters, tick, least, most in SCENARIOS:
        case = f"{waiters:,} waiters"
        print(f"{case}, a poll every {tick:g} s, pods turn RUNNING after {least} to {most} s")
        results: dict[str, Result] = {}
        for name in [POLLER, *(Peers.NAMES if waiters <= 1_000 else QUICK[1:])]:
            with served(waiters, least, most) as server:
                results[name] = asyncio.run(run(name, server, tick))
            print(f"  {name:<24}{results[name]}", flush=True)
        with served(waiters, least + 3, most + 3) as server:
            kib = asyncio.run(memory(server, tick))
        rows += [
            Row("poller", case, name, result.cpu / results[POLLER].cpu, "x the poller's CPU")
            for name, result in results.items()
        ]
        rows.append(Row("poller", f"{case}, memory", POLLER, kib, "KiB a waiter"))
    show(rows)
    _request_cost()
    return rows


def _request_cost() -> None:
    """Measure what `PollStrategy` assumes: how many listed pods cost as much as one request."""

    async def measure() -> tuple[float, float]:
        with served(2_000, 60, 60) as server:
            async with open_endpoints(server.url, server.api_key) as endpoints:
                pod_id = next(iter(server.running_at))
                await endpoints.snapshot_once(())
                began = time.process_time()
                for _ in range(500):
                    await endpoints.get_once(pod_id)
                get = (time.process_time() - began) / 500
                began = time.process_time()
                for _ in range(50):
                    await endpoints.snapshot_once(())
                return get, (time.process_time() - began - 50 * get) / 50 / 2_000

    get, listed = asyncio.run(measure())
    print(f"\na get costs the client {get * 1e6:.0f} us of CPU, as much as {get / listed:.0f} pods in a list")
