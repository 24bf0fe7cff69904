"""A picture of what happened to pods: eight start, one fails and is replaced, some pause and resume, all end.

    python timeline.py [FILE]

Runs on the emulator, on its automatic clock, and writes FILE (.svg or .html).
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from yotta_async import PodSpec, YottaClient
from yotta_async.emulator import Emulator, FaultOptions, Timings
from yotta_async.timeline import Timeline

TIMINGS = Timings(initialize=(60, 180), pausing=(10, 30), terminating=(10, 30))
FAULTS: list[FaultOptions] = [
    {"kind": "answer_lost_after_commit", "on": "create", "nth": 2},
    {"kind": "failed", "nth": 4},
]


async def follow(yotta: YottaClient, timeline: Timeline) -> None:
    """Record every change of every pod."""
    async for event in yotta.pods.watch():
        timeline(event)


async def main(file: Path) -> None:
    """Start pods, pause and resume some, delete all, and draw what happened."""
    async with (
        Emulator(clock="auto", timings=TIMINGS, faults=FAULTS, seed=4) as emulator,
        emulator.client() as yotta,
        asyncio.TaskGroup() as group,
    ):
        timeline = Timeline(now=emulator.clock.time)
        following = group.create_task(follow(yotta, timeline))
        specs = [
            PodSpec(image="ubuntu:24.04", gpu_type="NVIDIA_H100_80GB_HBM3_80G", pod_name=f"train-{number}")
            for number in range(1, 9)
        ]
        report = await yotta.pods.create_many(
            specs, until="RUNNING", fallbacks=[{"gpu_type": "NVIDIA_L4_24G"}], on_event=timeline
        )
        pod_ids = [item.pod_id for item in report.succeeded if item.pod_id]
        every_third = pod_ids[::3]
        await emulator.clock.sleep(60)  # here the work would be
        await yotta.pods.pause_many(every_third)
        await yotta.pods.wait_many(every_third, status="PAUSED")
        await yotta.pods.resume_many(every_third)
        await yotta.pods.wait_many(every_third)
        await emulator.clock.sleep(60)
        await yotta.pods.delete_many(pod_ids)
        await yotta.pods.wait_many(pod_ids, status="TERMINATED")
        following.cancel()
    timeline.write(file)
    print(f"{len(timeline)} pods are in {file.name}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "timeline.svg"))
