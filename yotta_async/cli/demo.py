"""`yotta-async demo`: pods through their whole life, with the real client over a real socket to the emulator."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from yotta_async import Pod, PodStatus, YottaClient
from yotta_async.emulator import Emulator

PODS = 12
_COLOURS = {
    PodStatus.INITIALIZE: "yellow",
    PodStatus.RUNNING: "green",
    PodStatus.PAUSING: "blue",
    PodStatus.PAUSED: "cyan",
    PodStatus.TERMINATING: "magenta",
    PodStatus.TERMINATED: "bright_black",
}


class _Console(Console):
    """Says that nobody reads any more as an error of the task that printed; rich would end the process in its midst."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


async def run() -> None:
    """Run the demo and print what happens as it happens."""
    console = _Console(highlight=False)
    began = time.monotonic()

    def said(name: str) -> Callable[[Pod], None]:
        def say(pod: Pod) -> None:
            status = pod.status or PodStatus("?")
            console.print(
                f"{time.monotonic() - began:5.1f} s  {name}  [{_COLOURS.get(status, 'white')}]{status:<11}[/]  {pod.id}"
            )

        return say

    async with Emulator() as emulator, emulator.client(poll_interval=0.25) as yotta:
        console.print(f"{PODS} pods on the emulator at {emulator.url}, each: create, pause, resume, delete.\n")
        async with asyncio.TaskGroup() as group:
            names = [f"demo-{number:02}" for number in range(1, PODS + 1)]
            lives = [group.create_task(_live(yotta, name, said(name))) for name in names]
        left = [pod for pod in await yotta.pods.list() if pod.status != PodStatus.TERMINATED]
        pods, starts = zip(*(life.result() for life in lives), strict=True)
        table = Table(title="\nWhat happened", show_header=False, title_justify="left", title_style="bold")
        table.add_row("pods", f"{len(pods)} started, paused, resumed and deleted; {len(left)} left")
        table.add_row("to RUNNING", f"median {statistics.median(starts):.1f} s, longest {max(starts):.1f} s")
        table.add_row("on the API", f"${sum(pod.hourly_price or 0 for pod in pods):.2f} an hour while all of them ran")
        table.add_row("requests", f"{len(emulator.requests)} over a real socket")
        table.add_row("in all", f"{time.monotonic() - began:.1f} s")
        console.print(table)
        console.print(
            "The same code drives the API: set YOTTA_API_KEY and use YottaClient(). See examples/quickstart.py."
        )


async def _live(yotta: YottaClient, name: str, say: Callable[[Pod], None]) -> tuple[Pod, float]:
    """Take one pod through its life; return it as it ran, and the seconds until it did."""
    asked = time.monotonic()
    handle = await yotta.pods.create(
        image="yottalabsai/pytorch:2.8.0", gpu_type="NVIDIA_L4_24G", gpu_count=1, pod_name=name, expose=[(22, "SSH")]
    )
    pod = await handle.wait_until(status=PodStatus.RUNNING, on_change=say)
    seconds = time.monotonic() - asked
    await handle.pause()
    await handle.wait_until(status=PodStatus.PAUSED, on_change=say)
    await handle.resume()
    await handle.wait_until(status=PodStatus.RUNNING, on_change=say)
    await handle.delete()
    await handle.wait_until(status=PodStatus.TERMINATED, on_change=say)
    return pod, seconds
