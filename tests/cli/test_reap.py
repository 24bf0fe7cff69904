"""`yotta-async reap`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import COMMAND
from tests.conftest import KEY
from tests.pod_server import PodServer, pod_server


async def reap(api: PodServer, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"YOTTA_API_KEY": KEY, "YOTTA_BASE_URL": api.url, "XDG_STATE_HOME": str(folder)}
    command = [*COMMAND, "reap", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )


async def test_reap_shows_and_deletes_what_a_killed_process_left(tmp_path: Path) -> None:
    journal = tmp_path / "yotta-async" / "journal"
    async with pod_server() as api:
        done = await reap(api, tmp_path, "--yes")
        assert (done.returncode, done.stdout) == (0, "0 pods left by processes that ended.\n")
        program = f"""
import asyncio, os
from yotta_async import YottaClient
async def main():
    yotta = YottaClient({KEY!r}, base_url={api.url!r}, journal={str(journal)!r})
    async with yotta.pods.ephemeral(image="i", gpu_type="g"):
        os._exit(9)
asyncio.run(main())"""
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False)
        [left] = api.alive
        for arguments, code in ((["--dry-run"], 0), ([], 2)):
            done = await reap(api, tmp_path, *arguments)
            assert done.returncode == code
            assert left in done.stdout
            assert "1 pod left by processes that ended" in done.stdout
            assert api.alive == [left]
        found = json.loads((await reap(api, tmp_path, "--dry-run", "-o", "json")).stdout)
        assert (found["pods"][0]["pod_id"], found["pods"][0]["deleted"], found["pending"]) == (left, False, 0)
        done = await reap(api, tmp_path, "--yes")
        assert done.returncode == 0
        assert f"{left} deleted" in done.stdout
        assert api.alive == []
        assert list(journal.iterdir()) == []


async def test_journal_that_cannot_be_used_is_an_error_in_one_line(tmp_path: Path) -> None:
    async with pod_server() as api:
        (tmp_path / "file").write_text("")
        done = await reap(api, tmp_path, "--journal", str(tmp_path / "file"))
    assert done.returncode == 2
    assert done.stderr.startswith("Error: journal cannot be used: it must be a directory")
    assert "Traceback" not in done.stderr
