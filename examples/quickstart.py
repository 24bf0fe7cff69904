"""One pod through its life: on the emulator when YOTTA_API_KEY is not set, on the API (where it costs) when it is."""

import asyncio
import os
from contextlib import AsyncExitStack

from yotta_async import PodStatus, YottaClient
from yotta_async.emulator import Emulator


async def main() -> None:
    """Create, wait, pause, resume, delete."""
    async with AsyncExitStack() as stack:
        if "YOTTA_API_KEY" in os.environ:
            yotta = await stack.enter_async_context(YottaClient())
        else:
            emulator = await stack.enter_async_context(Emulator())
            yotta = await stack.enter_async_context(emulator.client(poll_interval=0.2))

        handle = await yotta.pods.create(
            image="yottalabsai/pytorch:2.8.0-py3.11-cuda12.8.1-cudnn-devel-ubuntu22.04-2025050802",
            gpu_type="NVIDIA_L4_24G",
            gpu_count=1,
            pod_name="quickstart",
            environment_vars={"JUPYTER_PASSWORD": "your_password"},
            expose=[(22, "SSH")],
        )
        print(f"created {handle.id}")
        try:
            pod = await handle.wait_until(status=PodStatus.RUNNING, on_change=lambda pod: print(f"it is {pod.status}"))
            ssh = pod.port(22)
            print(
                f"${pod.hourly_price} an hour, port 22 is {ssh.host}:{ssh.proxy_port}" if ssh else "port 22 is closed"
            )
            await handle.pause()
            await handle.wait_until(status=PodStatus.PAUSED)
            print("paused")
            await handle.resume()
            await handle.wait_until(status=PodStatus.RUNNING)
            print("runs again")
        finally:
            await handle.delete()
        await handle.wait_until(status=PodStatus.TERMINATED)
        print("deleted")


if __name__ == "__main__":
    asyncio.run(main())
