"""A list of 10,000 pods: `pods.list` against other clients.

CPU of the client as a ratio to raw aiohttp with pydantic v2: interleaved in one run, medians of the ratios of seven
rounds. What a pod keeps and what the peak is are traced in a run of its own, as tracing takes time; so is the longest
time that the event loop was held, by a task that does nothing but take its turns. `python -m benchmarks lists`.

Pods are decoded by msgspec, forty at a time, into structs of the documented types, and made into models by a function
written out for each; keys that stand twice are found by counting. Text is let go of as it is read, and the loop gets a
turn every two milliseconds; the garbage collector runs between turns only.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc

from benchmarks.fixed import fixed
from benchmarks.measure import Row, show
from benchmarks.peers import BASE, List, Peers

PODS = 10_000
ROUNDS = 7


async def cpu(ask: List) -> float:
    """Return the CPU seconds of one list."""
    gc.collect()
    began = time.process_time()
    await ask()
    return time.process_time() - began


async def memory(ask: List) -> tuple[float, float]:
    """Return the bytes that a pod keeps, and those at the peak."""
    await ask()
    gc.collect()
    tracemalloc.start()
    kept = await ask()
    gc.collect()
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return now / PODS, peak / PODS


async def hold(ask: List) -> float:
    """Return the longest time in milliseconds that the loop was held."""
    longest, last = 0.0, time.perf_counter()
    asking = asyncio.ensure_future(ask())
    while not asking.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    await asking
    return longest * 1e3


async def compare(url: str) -> list[Row]:
    """Return the ratios, the memory and the holds."""
    async with Peers(url) as peers:
        ratios: dict[str, list[float]] = {name: [] for name in peers.list}
        for number in range(ROUNDS + 1):
            taken = {name: await cpu(ask) for name, ask in peers.list.items()}
            for name in ratios if number else ():  # the first round connects, imports and compiles
                ratios[name].append(taken[name] / taken[BASE])
        case = f"{PODS:,} pods"
        rows = [
            Row("lists", case, name, statistics.median(those), f"x the CPU of {BASE}") for name, those in ratios.items()
        ]
        for name in ("yotta_async", BASE):
            holds = [await hold(peers.list[name]) for _ in range(ROUNDS)]
            rows.append(Row("lists", "loop held", name, statistics.median(holds), "ms at most"))
            kept, peak = await memory(peers.list[name])
            rows.append(Row("lists", "kept", name, kept, "bytes a pod"))
            rows.append(Row("lists", "peak", name, peak, "bytes a pod"))
        return rows


def main() -> list[Row]:
    """Compare."""
    with fixed(PODS) as url:
        return show(asyncio.run(compare(url)))
