"""A smoke test of the installed package without extras: a pod is created, waited for and deleted."""

import asyncio
import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import yotta_async
from yotta_async import PodStatus, YottaClient
from yotta_async.emulator import Emulator

EXTRAS = ("click", "dask", "mcp", "pytest", "rich")


async def create_wait_delete() -> None:
    """Take one pod through its life, against the emulator on its virtual clock."""
    async with Emulator(clock="auto") as emulator, emulator.client() as yotta:
        assert isinstance(yotta, YottaClient)
        handle = await yotta.pods.create(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G")
        assert (await handle.wait_until()).status is PodStatus.RUNNING
        await handle.delete()
        assert (await handle.wait_until(status="TERMINATED")).status is PodStatus.TERMINATED


def main() -> None:
    """Run the checks, and say what was checked."""
    assert Path(yotta_async.__file__).is_relative_to(sysconfig.get_path("purelib")), "the wheel, not the work tree"
    present = [name for name in EXTRAS if importlib.util.find_spec(name)]
    assert not present, f"no extra is installed, but {present} are"
    assert all(getattr(yotta_async, name) is not None for name in yotta_async.__all__)
    asyncio.run(create_wait_delete())
    command = Path(sysconfig.get_path("scripts")) / "yotta-async"
    refused = subprocess.run([command, "pods", "list"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1, refused
    assert "pip install 'yotta-async[cli]'" in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr, refused.stderr
    sys.stdout.write(f"yotta-async {yotta_async.__version__}: the wheel works without extras\n")


main()
