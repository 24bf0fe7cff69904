"""A hundred pods where one GPU type is scarce: fallbacks, a policy, a limit on the cost, and live output.

On the emulator when YOTTA_API_KEY is not set, on the API (where it costs) when it is.
"""

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack

from yotta_async import FanOutItem, PodSpec, SpendLimit, YottaClient
from yotta_async.emulator import Emulator

WANTED = 100


async def main() -> None:
    """Start a hundred, report, and delete them."""
    async with AsyncExitStack() as stack:
        if "YOTTA_API_KEY" in os.environ:
            yotta = await stack.enter_async_context(YottaClient())
        else:
            emulator = await stack.enter_async_context(
                Emulator(clock="auto", capacity={"NVIDIA_H100_80GB_HBM3_80G": 60})
            )
            yotta = await stack.enter_async_context(emulator.client())

        seen = Counter[str]()

        def show(item: FanOutItem) -> None:
            seen["failed" if item.error else "running" if item.pod else "created"] += 1
            if seen.total() % 25 == 0:
                print(", ".join(f"{count} {what}" for what, count in seen.items()))

        specs = [
            PodSpec(image="ubuntu:24.04", gpu_type="NVIDIA_H100_80GB_HBM3_80G", pod_name=f"worker-{number}")
            for number in range(WANTED)
        ]
        report = await yotta.pods.create_many(
            specs,
            until="RUNNING",
            policy=90,  # fewer than 90 are of no use: then all are deleted, and FanOutError says why
            fallbacks=[{"gpu_type": "NVIDIA_GeForce_RTX_5090_32G"}, {"gpu_type": "NVIDIA_L4_24G"}],
            spend_limit=SpendLimit(max_pods=120),
            on_event=show,
        )
        pods = [item.pod for item in report.succeeded if item.pod]
        print(f"{len(pods)} run: {dict(Counter(pod.gpu_display_name for pod in pods))}")
        print(f"${sum(pod.hourly_price or 0 for pod in pods):.2f} an hour; {len(report.unknown)} are unknown")
        (await yotta.pods.delete_many(pods)).raise_for_failures()
        print("deleted")


if __name__ == "__main__":
    asyncio.run(main())
