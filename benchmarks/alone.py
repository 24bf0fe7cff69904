"""`pods.get` beside raw aiohttp in a process that imports nothing else, as most programs do. Run by `single`.

It makes a difference: what a process has freed before decides whether the allocator maps memory anew for each of
asyncio's reads of 256 KiB. The connections of yotta_async read 64 KiB at most.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time

import aiohttp

from benchmarks.fixed import POD
from yotta_async import YottaClient

ROUNDS = 13
CALLS = {1: 500, 64: 3_000, 256: 3_000}


async def compare(url: str) -> dict[int, float]:
    """Return the medians of the ratios of throughput, by calls in flight."""
    key, found = "sk-benchmark", {}
    async with aiohttp.ClientSession(headers={"x-api-key": key}) as session, YottaClient(key, base_url=url) as yotta:

        async def raw() -> None:
            async with session.get(f"{url}/openapi/v1/pods/{POD['id']}") as answer:
                await answer.read()

        async def ours() -> None:
            await yotta.pods.get(POD["id"])

        for in_flight, calls in CALLS.items():
            ratios = []
            for number in range(ROUNDS + 1):
                taken = {}
                for way in (ours, raw) if number % 2 else (raw, ours):
                    numbers = iter(range(calls))

                    async def work(way=way, numbers=numbers) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
                        for _ in numbers:
                            await way()

                    began = time.perf_counter()
                    await asyncio.gather(*(work() for _ in range(in_flight)))
                    taken[way] = time.perf_counter() - began
                if number:
                    ratios.append(taken[raw] / taken[ours])
            found[in_flight] = statistics.median(ratios)
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(compare(sys.argv[1]))))
