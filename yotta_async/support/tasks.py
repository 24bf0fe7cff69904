"""Tasks that the client owns."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def spawn(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task that starts in the next iteration of the event loop, whatever its task factory is.

    An eager task factory (Python 3.12) would run it at once, before its caller has stored it.
    """
    return asyncio.Task(work, loop=asyncio.get_running_loop())
