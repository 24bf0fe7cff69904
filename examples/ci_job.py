"""A CI job on a pod that is kept paused between runs: List → Resume → work → Pause, as the API's guide advises.

On the emulator when YOTTA_API_KEY is not set, on the API (where it costs) when it is.
"""

import asyncio
import os
from contextlib import AsyncExitStack

from yotta_async import PodHandle, PodStatus, YottaClient, install_signal_handlers
from yotta_async.emulator import Emulator

NAME = "ci-runner"


async def runner(yotta: YottaClient) -> PodHandle:
    """Return the runner that is there, or make one."""
    for pod in await yotta.pods.list():
        if pod.pod_name == NAME and pod.status in (PodStatus.PAUSED, PodStatus.PAUSING, PodStatus.RUNNING):
            return yotta.pods.handle(pod)
    return await yotta.pods.create(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G", pod_name=NAME, expose=[(22, "SSH")])


async def job(yotta: YottaClient) -> None:
    """Bring the runner up, work on it, and pause it whatever happens."""
    handle = await runner(yotta)
    try:
        await handle.drive(to=PodStatus.RUNNING)
        pod = await handle.wait_until_ready(timeout=300)
        print(f"{pod.id} is ready; here the tests would run over ssh to {pod.ssh}")
    finally:
        await handle.drive(to=PodStatus.PAUSED)
        print(f"{handle.id} is paused, and costs only its storage")


async def main() -> None:
    """Run the job twice, as two runs of CI would."""
    install_signal_handlers()  # CI systems stop a job by SIGTERM
    async with AsyncExitStack() as stack:
        if "YOTTA_API_KEY" in os.environ:
            yotta = await stack.enter_async_context(YottaClient())
        else:
            emulator = await stack.enter_async_context(Emulator(clock="auto"))
            yotta = await stack.enter_async_context(emulator.client())
        await job(yotta)
        await job(yotta)
        # Runners that nobody has used for a week go for good.
        swept = await yotta.pods.sweep(match=f"{NAME}*", idle_status="PAUSED", older_than=7 * 86_400, action="delete")
        print(f"{len(swept.pods)} runners are older than a week")


if __name__ == "__main__":
    asyncio.run(main())
