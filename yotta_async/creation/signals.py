"""Signals that end a process, made to end it as Ctrl-C does: with cleanup."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from yotta_async.errors import ConfigurationError


def install_signal_handlers(*signals: int) -> None:
    """Let SIGTERM, or the given signals, do what Ctrl-C does.

    Without it SIGTERM ends Python where it stands, and no `async with` deletes its pod. With it, under `asyncio.run`,
    the main task is cancelled, blocks are left one by one, and the process ends with KeyboardInterrupt; a second signal
    does not wait for that. Call it once, in the main thread, before or inside the loop; it stays for the process.

    Raises ConfigurationError outside the main thread and for a signal that cannot be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError("signal handlers can be installed in the main thread only")
    for number in signals or (signal.SIGTERM,):
        if number == signal.SIGINT:
            continue  # it is what Ctrl-C sends
        try:
            signal.signal(number, _as_interrupt)
        except (ValueError, OSError, TypeError) as error:
            raise ConfigurationError(f"{number!r} is no signal that can be handled: {error}") from None


def _as_interrupt(_: int, frame: FrameType | None) -> None:
    # A shell's background jobs ignore SIGINT, and asyncio then has no handler for it: to send it would do nothing.
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)
