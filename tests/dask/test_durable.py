"""The example of a durable fan-out: its process is killed again and again, and every job has one result."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path

import pytest

from yotta_async.emulator import Emulator, Timings

EXAMPLE = Path(__file__).parent.parent.parent / "examples/durable_fan_out.py"
JOBS = 24


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("seed", range(3))
async def test_each_job_has_one_result_after_kills(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    async with Emulator(timings=Timings(initialize=0.05, terminating=0.05)) as emulator:
        environment = os.environ | {"YOTTA_API_KEY": emulator.api_key, "YOTTA_BASE_URL": emulator.url}
        kills = 0
        while True:
            before = len(emulator.requests)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, EXAMPLE, tmp_path, str(JOBS)), env=environment, stdout=-1, stderr=-1
            )
            output = asyncio.create_task(process.communicate())
            last = before + draw.randint(1, 25)  # requests until it is killed
            while not output.done() and (kills == 4 or len(emulator.requests) < last):
                await asyncio.sleep(0.001)
            async with emulator.client() as yotta:
                names = [pod.pod_name for pod in await yotta.pods.list() if pod.status in ("INITIALIZE", "RUNNING")]
            assert len(names) == len(set(names)), "no job has two pods"
            if output.done():
                _, stderr = await output
                assert (process.returncode, stderr) == (0, b"")
                break
            process.kill()
            await output
            kills += 1
        assert kills >= 2
        assert names == []
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert sorted(job for result in results for job in result) == sorted(f"job-{number}" for number in range(JOBS))
