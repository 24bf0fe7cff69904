"""What the tests of creates share: a cancel and a write to the disk at a known moment, and what the journal says."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sized
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.conftest import SPEC
from yotta_async import YottaClient
from yotta_async.creation.journal import Intent, parse_open_intents


async def cancel_once_received(yotta: YottaClient, requests: Sized) -> None:
    """Cancel a create once a server has recorded its request, and wait until the cancel is raised."""
    before = len(requests)
    creating = asyncio.create_task(yotta.pods.create(**SPEC))
    while len(requests) == before:
        await asyncio.sleep(0)
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating


def read_open_intents(folder: Path) -> list[Intent]:
    """Return the creates that are open in the journal's files."""
    return [intent for file in folder.iterdir() for intent in parse_open_intents(file.read_bytes())]


class StoppedDisk:
    """Every write to a file waits until the test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._write = os.write
        self._begun = 0
        self._outcomes: SimpleQueue[bool] = SimpleQueue()
        monkeypatch.setattr(os, "write", self._stop)

    def _stop(self, descriptor: int, data: memoryview) -> int:
        self._begun += 1
        if self._outcomes.get(timeout=10):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(descriptor, data)

    async def wait_for_writes(self, count: int) -> None:
        while self._begun < count:
            await asyncio.sleep(0)

    def go_on(self, *, is_full: bool = False) -> None:
        """Let the write that waits happen, or fail as the disk is full."""
        self._outcomes.put(is_full)

    def start(self, *, is_full: bool = False) -> None:
        """Let the write that waits go on, and later ones happen at once."""
        self._monkeypatch.setattr(os, "write", self._write)
        self.go_on(is_full=is_full)


async def iterate_loop(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)
