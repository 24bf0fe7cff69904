"""Event loops in threads: one of its own, for programs that have none; and calls from one to another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A loop that runs until `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="yotta-emulator", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there, and return what it returns. For other threads."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


class Place:
    """The loop that something lives in, and the way there from other threads."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def settle(self) -> None:
        """Live in the running loop from now on."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()

    def do(self, do: Callable[[], T]) -> T:
        """Do something there, from wherever this is called, and return what comes of it."""

        async def done() -> T:
            return do()

        if self._loop is None or self._thread == threading.get_ident() or not self._loop.is_running():
            return do()
        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()


def do_in(loop: asyncio.AbstractEventLoop, do: Callable[..., object], *arguments: object) -> bool:
    """Do something in its own loop, and say whether that loop is still there."""
    if loop is asyncio._get_running_loop():  # noqa: SLF001  # the public one raises where none runs
        do(*arguments)
        return True
    try:
        loop.call_soon_threadsafe(do, *arguments)
    except RuntimeError:  # it is closed
        return False
    return True


def finish(future: asyncio.Future[None]) -> None:
    """Wake whoever waits for it."""
    if not future.done():
        future.set_result(None)
