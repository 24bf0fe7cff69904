"""One pod, asked for again and again: `pods.get` against other clients, with 1, 64 and 256 calls in flight.

Throughput as a ratio to raw aiohttp, `get` and `read` with nothing decoded: each beside it, now before and now after,
medians of the ratios of nine rounds; and "alone", in a process that imports none of the others (`alone.py`). The server
is a process of its own that answers from memory. `python -m benchmarks single`.

Where the time of a call goes, beyond that of aiohttp's session: the pod (decoding it and building the model), the time
limit of the attempt, the check for responses that came unasked, the rate limiter, and a coroutine for each layer.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time

from benchmarks.fixed import POD, fixed
from benchmarks.measure import Row, show
from benchmarks.peers import BASE, Get, Peers

ROUNDS = 9
CALLS = {1: 400, 64: 2_000, 256: 2_000}
QUICK, SLOW = ("raw", "yotta_async", BASE), 5  # the slow clients make this many times fewer calls


async def rate(get: Get, calls: int, in_flight: int) -> float:
    """Return calls a second."""
    numbers = iter(range(calls))

    async def work() -> None:
        for _ in numbers:
            await get(POD["id"])

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(min(in_flight, calls))))
    return calls / (time.perf_counter() - began)


async def compare(url: str, in_flight: int) -> list[Row]:
    """Return each client's ratio to raw aiohttp."""
    async with Peers(url) as peers:
        ratios: dict[str, list[float]] = {name: [] for name in peers.get if name != "raw"}
        for number in range(ROUNDS + 1):
            for name, those in ratios.items():
                # Each beside raw aiohttp, now before it and now after it.
                reached = {}
                for each in (name, "raw") if number % 2 else ("raw", name):
                    calls = CALLS[in_flight] // (1 if each in QUICK else SLOW)
                    reached[each] = await rate(peers.get[each], calls, in_flight)
                if number:  # the first round connects, imports and compiles
                    those.append(reached[name] / reached["raw"])
    return [
        Row("single", f"{in_flight} in flight", name, statistics.median(those), "x raw aiohttp's rate")
        for name, those in ratios.items()
    ]


def main() -> list[Row]:
    """Compare."""
    rows = []
    with fixed() as url:
        command = [sys.executable, "-m", "benchmarks.alone", url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for in_flight, ratio in json.loads(done.stdout).items():
            case = f"{in_flight} in flight, alone"
            rows += show([Row("single", case, "yotta_async", ratio, "x raw aiohttp's rate")])
        for in_flight in CALLS:
            rows += show(asyncio.run(compare(url, in_flight)))
    return rows
