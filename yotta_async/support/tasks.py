"""Tasks of the client's own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def spawn(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task that begins at the loop's next turn, whatever the loop makes tasks with.

    An eager task factory (Python 3.12) would run it here and now, before whoever begins it has noted that it runs.
    """
    return asyncio.Task(work, loop=asyncio.get_running_loop())
