"""Lists of pods: `pods.list` against other clients at 10,000, and its cost by size from 100 to 200,000.

CPU of the client as a ratio to raw aiohttp with pydantic v2: interleaved in one run, medians of the ratios of seven
rounds. What a pod keeps and what the peak is are traced in a run of its own, as tracing takes time; so is the longest
time that the event loop was held, by a task that does nothing but take its turns. It is shown with and without Python's
full garbage collections, which stop a process for as long as it takes to visit all of its objects; here these are the
objects of all clients. By size there are fewer rounds, and the two clients with the ratio between them.
`python -m benchmarks lists`.

msgspec splits the list exactly; each pod is decoded into a struct of the documented types, and becomes
`Pod(**fields)`. After each hundred pods the event loop runs other tasks.
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
# How many rounds there are for each number of pods.
SIZES = {100: 41, 1_000: 11, 10_000: 5, 50_000: 3, 200_000: 1}


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


async def hold(ask: List) -> tuple[float, float]:
    """Return the longest time in milliseconds that the loop was held, and that without full garbage collections."""
    collections: list[float] = []  # when each full one began and ended

    def note(_: str, details: dict[str, int]) -> None:
        if details["generation"] == 2:  # the oldest generation: all objects of the process
            collections.append(time.perf_counter())

    longest = longest_of_ours = 0.0
    last = time.perf_counter()
    gc.callbacks.append(note)
    asking = asyncio.ensure_future(ask())
    while not asking.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        collected = sum(collections[1::2]) - sum(collections[::2])
        longest = max(longest, now - last)
        longest_of_ours = max(longest_of_ours, now - last - collected)
        collections.clear()
        last = now
    await asking
    gc.callbacks.remove(note)
    return longest * 1e3, longest_of_ours * 1e3


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
            for case, those in zip(("loop held", "loop held, no full gc"), zip(*holds, strict=True), strict=True):
                rows.append(Row("lists", case, name, statistics.median(those), "ms at most"))
            kept, peak = await memory(peers.list[name])
            rows.append(Row("lists", "kept", name, kept, "bytes a pod"))
            rows.append(Row("lists", "peak", name, peak, "bytes a pod"))
        return rows


async def compare_size(url: str, pods: int, rounds: int) -> list[Row]:
    """Return the ratio for a list of this size, and what a pod in it costs."""
    async with Peers(url) as peers:
        taken: dict[str, list[float]] = {"yotta_async": [], BASE: []}
        for number in range(rounds + 1):
            for name, those in taken.items():
                seconds = await cpu(peers.list[name])
                if number:  # the first round connects, imports and compiles
                    those.append(seconds)
    ours, base = (statistics.median(those) for those in taken.values())
    case = f"{pods:,} pods"
    return [
        Row("lists", case, "yotta_async", ours / pods * 1e6, "us of CPU a pod"),
        Row("lists", case, BASE, base / pods * 1e6, "us of CPU a pod"),
        Row("lists", case, "yotta_async", ours / base, f"x the CPU of {BASE}"),
    ]


def main() -> list[Row]:
    """Compare."""
    rows = []
    for pods, rounds in SIZES.items():
        with fixed(pods) as url:
            rows += show(asyncio.run(compare_size(url, pods, rounds)))
    with fixed(PODS) as url:
        return rows + show(asyncio.run(compare(url)))
