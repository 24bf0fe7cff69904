"""A server in a process of its own: the emulator, with pods that are there from the start."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from yotta_async.emulator import Emulator, Timings
from yotta_async.emulator.schema import Create


@attrs.frozen
class Served:
    """What a client needs to know: where, with which key, and when each pod turns RUNNING (seconds since 1970)."""

    url: str
    api_key: str
    running_at: dict[str, float]


@contextmanager
def served(pods: int, least: float, most: float, *, terminated: int = 0) -> Iterator[Served]:
    """Serve pods that turn RUNNING between `least` and `most` seconds from now, and others long TERMINATED."""
    command = [sys.executable, "-m", "benchmarks.server", str(pods), str(least), str(most), str(terminated)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield Served(**json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(10)


async def _serve(pods: int, least: float, most: float, terminated: int) -> None:
    async with Emulator(timings=Timings(initialize=(least, most), terminating=0.0)) as emulator:
        account = emulator._server.account  # noqa: SLF001  # a benchmark's set-up; the API would take minutes
        body = Create(image="yottalabsai/pytorch:2.8.0", gpu_type="NVIDIA_L4_24G", pod_name="benchmark")
        now = time.time()
        for _ in range(terminated):
            account.delete(account.create(body, now - 100).id, now - 50)
        # The setup itself takes a moment: the pods are born when it is over.
        born = time.time() + 1 + pods / 5000
        ids = [account.create(body, born).id for _ in range(pods)]
        for pod in account.list((), (), born):
            pod.to_json()
        running_at = {pod_id: when for when, _, pod_id in account._due if pod_id in set(ids)}  # noqa: SLF001  # likewise
        print(json.dumps({"url": emulator.url, "api_key": emulator.api_key, "running_at": running_at}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
