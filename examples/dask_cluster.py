"""Pi by chance, on four pods, one of which is lost on the way: a Dask cluster that mends itself, and ends with nothing.

On the emulator when YOTTA_API_KEY is not set: its pods are processes of this machine. On the API (where it costs) when
it is; then SCHEDULER_HOST is the name or address at which this machine is reached from outside, at port 8786.
"""

import asyncio
import logging
import os
import random
import sys
from contextlib import AsyncExitStack

from distributed import Client, as_completed

from yotta_async import PodSpec, SpendLimit, YottaClient
from yotta_async.dask import PodCluster
from yotta_async.emulator import Emulator, Timings

WORKERS, ROUNDS, POINTS = 4, 80, 100_000


def hits(seed: int) -> int:
    """Count the points that fall into the quarter of a circle."""
    draw = random.Random(seed)  # noqa: S311  # chance is the point
    return sum(draw.random() ** 2 + draw.random() ** 2 <= 1 for _ in range(POINTS))


async def main() -> None:
    """Compute on four pods, have one deleted, and let the cluster shrink to none."""
    async with AsyncExitStack() as stack:
        if "YOTTA_API_KEY" in os.environ:
            yotta = await stack.enter_async_context(YottaClient())
        else:
            timings = Timings(initialize=(0.1, 0.5), pausing=0.1, terminating=0.1)
            emulator = await stack.enter_async_context(Emulator(runtime="process", timings=timings))
            yotta = await stack.enter_async_context(emulator.client(poll_interval=0.2))

        cluster = await stack.enter_async_context(
            PodCluster(
                yotta,
                n_workers=WORKERS,
                worker=PodSpec(image="ghcr.io/dask/dask:latest", gpu_type="NVIDIA_L4_24G"),
                worker_options={"nthreads": 1},
                security="temporary",  # everything between scheduler, workers and this program is encrypted
                worker_port=8786,  # the one port at which a pod is reached from outside
                scheduler_host=os.environ.get("SCHEDULER_HOST"),
                spend_limit=SpendLimit(max_pods=2 * WORKERS),
                silence_logs=logging.CRITICAL,  # that results are lost and computed again is the point here
            )
        )
        client = await stack.enter_async_context(Client(cluster, asynchronous=True))
        print(cluster)
        rounds, inside = client.map(hits, range(ROUNDS)), 0
        async for done in as_completed(rounds):
            inside += await done
            if done is rounds[0]:
                victim = next(iter(cluster.pods.values()))
                await yotta.pods.delete(victim)
                print(f"somebody deletes {victim.pod_name}")
        print(f"pi is about {4 * inside / (ROUNDS * POINTS):.4f}, by {ROUNDS} rounds, of which none is lost")
        print(cluster)
        del rounds, done

        cluster.adapt(minimum=0, maximum=WORKERS, interval="200ms")
        while cluster.pods:  # noqa: ASYNC110  # Dask has no event for it
            await asyncio.sleep(0.1)
        print(cluster)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    asyncio.run(main())
