"""Tasks of the client's own, and waiting for them in spite of a cancel."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

from yotta_async.errors import ConfigurationError
from yotta_async.support.loop_guard import get_loop

T = TypeVar("T")

CANCEL_HOLD_S = 30.0
"""How long a caller's cancel is deferred while a pod is created or deleted."""


def spawn(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task that begins in the next iteration of the event loop, whatever task factory the loop has.

    An eager task factory (Python 3.12) would run it at once, before the caller has noted that it runs.
    """
    try:
        loop = get_loop()
    except ConfigurationError:
        work.close()  # or Python warns that it was never awaited
        raise
    return asyncio.Task(work, loop=loop)


async def wait_deferring_cancel(
    task: asyncio.Task[Any], cancelled: asyncio.CancelledError | None = None
) -> asyncio.CancelledError | None:
    """Wait for a task of the client's own, defer cancels meanwhile, and return the first of them.

    After a first cancel (`cancelled`, if there was one before) it waits `CANCEL_HOLD_S` at most.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + CANCEL_HOLD_S if cancelled else math.inf
    while not task.done() and (left := until - loop.time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left if left < math.inf else None)
        except asyncio.CancelledError as error:
            if cancelled is None:
                cancelled, until = error, loop.time() + CANCEL_HOLD_S
    return cancelled
