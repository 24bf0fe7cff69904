"""A fan-out that outlives its own process: kill it at any moment, start it again, and every job has one result.

    python durable_fan_out.py FOLDER JOBS

FOLDER keeps what a new process needs: the results so far, and the journal of creates. A pod bears its job's name, so a
new process takes over the pods that the last one had; those that nobody got to know, `reap` deletes. One such process
may run at a time. Without arguments it shows itself: on an emulator, killed with SIGKILL on the way and started again.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from yotta_async import Pod, PodSpec, YottaClient
from yotta_async.emulator import Emulator, Timings

SPEC = PodSpec(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G")
AT_ONCE = 16
GOING = {"TERMINATING", "TERMINATED"}


async def result_of(job: str, pod: Pod) -> str:
    """Do the job with its pod. If the process is killed in here, it is done again."""
    await asyncio.sleep(0.05)
    return f"{job} was done on a {pod.gpu_display_name}"


async def run(folder: Path, jobs: list[str]) -> dict[str, str]:
    """Do the jobs that have no result yet, each on a pod of its own, and return all results."""
    kept = folder / "results.jsonl"
    # What a killed process left of its last line is no result.
    lines = kept.read_bytes().splitlines(keepends=True) if kept.exists() else []
    results = {job: result for line in lines if line.endswith(b"\n") for job, result in json.loads(line).items()}
    kept.write_bytes(b"".join(line for line in lines if line.endswith(b"\n")))

    async with YottaClient(journal=folder / "journal", poll_interval=0.2) as yotta:
        await yotta.pods.reap()
        there = [pod for pod in await yotta.pods.list() if pod.pod_name in jobs and pod.status not in GOING]
        await yotta.pods.delete_many([pod for pod in there if pod.status == "FAILED"], missing_ok=True)
        pods = {pod.pod_name: pod for pod in there if pod.status != "FAILED"}
        places = asyncio.Semaphore(AT_ONCE)

        async def do(job: str) -> None:
            async with places:
                pod = pods.get(job)
                if job not in results:
                    handle = yotta.pods.handle(pod) if pod else await yotta.pods.create(SPEC, pod_name=job)
                    pod = await handle.drive(to="RUNNING")  # also one that somebody has paused
                    results[job] = await result_of(job, pod)
                    with kept.open("a") as file:
                        file.write(json.dumps({job: results[job]}) + "\n")
                        file.flush()
                        os.fsync(file.fileno())  # before the pod goes, for it would be missed
                    print(results[job], flush=True)
                if pod:
                    await yotta.pods.delete(pod, missing_ok=True)

        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(do(job))
        await yotta.pods.reap()  # what a create of the last process became that was received late
    return results


def show() -> None:
    """Run it, kill it after five results, and run it again."""
    with Emulator(timings=Timings(initialize=0.1)) as emulator, tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, folder, "40"]
        environment = os.environ | {"YOTTA_API_KEY": emulator.api_key, "YOTTA_BASE_URL": emulator.url}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as first:  # noqa: S603  # this very file
            for line in itertools.islice(first.stdout or (), 5):
                print(line.strip())
            first.send_signal(signal.SIGKILL)
        print("killed; once more")
        subprocess.run(command, env=environment, check=True)  # noqa: S603  # likewise
        results = (Path(folder) / "results.jsonl").read_text().splitlines()
    print(f"{len(results)} results")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(run(Path(sys.argv[1]), [f"job-{number}" for number in range(int(sys.argv[2]))]))
    else:
        show()
