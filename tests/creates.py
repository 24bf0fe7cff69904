"""What the tests of creates share: a cancel at a known moment, and what the journal says meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sized
from pathlib import Path

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


def hold_writes(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Hold writes to the disk. Return an event that is set once one is held, and the event that lets them end."""
    is_held, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def hold(descriptor: int) -> None:
        is_held.set()
        go_on.wait(10)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", hold)
    return is_held, go_on
