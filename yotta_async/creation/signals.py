"""Signals that end a process after its cleanup."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from yotta_async.errors import ConfigurationError

OnSignal: TypeAlias = Callable[[signal.Signals, int], object]
"""Called with a signal and how many signals have come with it: 1, then 2."""

EXIT_STATUS_BASE = 128  # a shell's exit status for a process ended by signal n is 128 + n


def install_signal_handlers(*signals: int, on_signal: OnSignal | None = None) -> None:
    """Let Ctrl-C (SIGINT) and SIGTERM end the process after its cleanup, and a second signal at once.

    By default SIGTERM ends Python immediately, and no `async with` block deletes its pod; a second Ctrl-C during the
    cleanup can make asyncio hang. Call this once, in the coroutine that `asyncio.run` runs. The first signal then
    cancels the task that called it: blocks are left one by one, and the process ends with KeyboardInterrupt. A second
    signal ends the process without cleanup, with exit status 128 + its number; `pods.reap()` finds what is left.
    A signal that the process ignores, as SIGHUP under nohup, stays ignored.

    Args:
        signals: handled besides SIGINT, instead of SIGTERM.
        on_signal: called with the signal, and 1 or 2 for the first or the second, before the signal takes effect. The
            second one may come in the middle of a `print`, and what is printed then is lost; `os.write` always works.

    Raises:
        ConfigurationError: outside the main thread or a running event loop, or for a signal that cannot be handled.

    Example:
        ```python
        async def main() -> None:
            install_signal_handlers(signal.SIGTERM, signal.SIGHUP)
            async with YottaClient() as yotta:
                ...
        ```
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError("signal handlers can be installed in the main thread only")
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        raise ConfigurationError("call install_signal_handlers in the coroutine that asyncio.run runs")
    _SignalHandlers(task, (signal.SIGINT, *(signals or (signal.SIGTERM,))), on_signal).install()


class _SignalHandlers:
    def __init__(self, task: asyncio.Task[Any], signals: tuple[int, ...], on_signal: OnSignal | None) -> None:
        self._task = task
        self._signals = signals
        self._on_signal = on_signal
        self._count = 0

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            try:
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue
                if sys.platform == "win32":  # its loops handle no signals
                    signal.signal(number, lambda number, _: loop.call_soon_threadsafe(self._receive, number))
                else:
                    # Not signal.signal: an exception raised between two bytecodes can lose the loop's wake-up.
                    loop.add_signal_handler(number, self._receive, number)
            except (ValueError, OSError, TypeError, RuntimeError) as error:
                raise ConfigurationError(f"{number!r} is no signal that can be handled: {error}") from None

    def _receive(self, number: int) -> None:
        self._count += 1
        if self._count > 1:
            self._exit(number)
        for each in self._signals:
            if signal.getsignal(each) is not signal.SIG_IGN:
                # From here on without the loop, which may be blocked by the cleanup.
                signal.signal(each, lambda number, _: self._exit(number))
        self._task.add_done_callback(_raise_interrupt)
        self._task.cancel()
        self._notify(number, 1)

    def _exit(self, number: int) -> None:
        try:
            self._notify(number, 2)
        finally:
            os._exit(EXIT_STATUS_BASE + number)

    def _notify(self, number: int, count: int) -> None:
        if self._on_signal is not None:
            self._on_signal(signal.Signals(number), count)


def _raise_interrupt(task: asyncio.Task[Any]) -> None:
    """End the event loop after the cancelled task; asyncio.run then cancels what is left, and raises this."""
    if task.cancelled():
        signal.set_wakeup_fd(-1)  # while the loop is closed, a signal would find its socket closed
        raise KeyboardInterrupt
