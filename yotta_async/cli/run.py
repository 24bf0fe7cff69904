"""Running a command: signals end it with its cleanup, and each way to end has an exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import select
import signal
import sys
import threading
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any, NoReturn, Self

import click

from yotta_async.cli.printing import echo_err, format_error, is_terminal
from yotta_async.cli.settings import Settings


class ExitCode(IntEnum):
    """How a command ended, with the words of `yotta-async --help`."""

    meaning: str

    def __new__(cls, number: int, meaning: str) -> Self:
        """Make a member of a number and its meaning."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member

    DONE = 0, "done"
    API_FAILED = 1, "the API, or the connection to it, failed"
    WRONG_USAGE = 2, "wrong usage, or not confirmed"
    NO_SUCH_POD = 3, "there is no such pod"
    KEY_REFUSED = 4, "there is no key, or it was not accepted"
    SOME_FAILED = 5, "some or all of many failed"
    TIMED_OUT = 124, "what was waited for did not come in time"


EXIT_CODES_HELP = "\n".join(
    (
        "\b\nExit codes:",
        *(f"  {code.value:<7}  {code.meaning}" for code in ExitCode),
        "  128 + n  ended by signal n; 130 is Ctrl-C",
    )
)
SIGNAL_EXIT_BASE = 128
STDERR_FD = 2
SHOW_CURSOR = "\x1b[?25h"  # a live table hides it


def run(
    command: Coroutine[Any, Any, int], settings: Settings, *, is_server: bool = False, is_endless: bool = False
) -> NoReturn:
    """Run a command and exit with its code; print an error as one line.

    A signal is the usual end of a server, and of a command that is endless.
    """
    if settings.verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("yotta_async").setLevel(logging.DEBUG)
    signals = _Signals(is_quiet=is_server or is_endless)
    try:
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            code = asyncio.run(_run_until_signal(command, signals, is_server=is_server))
        finally:
            # asyncio leaves its default here, whose KeyboardInterrupt click would make "Aborted!" and exit code 1.
            if on_interrupt is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, on_interrupt)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        if not is_endless:
            echo_err("Interrupted.")
        code = signals.exit_code
    except BrokenPipeError:
        # As with `| head`: what is still buffered is dropped, without a message from the interpreter's exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.API_FAILED
    except (click.ClickException, ModuleNotFoundError):
        raise  # click prints the one, main the other
    except Exception as error:  # noqa: BLE001  # a traceback only on request: -vv
        code = report_error(error, settings)
    sys.exit(code)


async def _run_until_signal(command: Coroutine[Any, Any, int], signals: _Signals, *, is_server: bool) -> int:
    from yotta_async import install_signal_handlers  # keeps --help and --version quick

    if threading.current_thread() is threading.main_thread():
        # Windows has no SIGHUP, and uvicorn, which serves MCP, does not handle it.
        hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") and not is_server else []
        install_signal_handlers(signal.SIGTERM, *hangup, on_signal=signals)
    try:
        code = await command
    except asyncio.CancelledError:
        if not is_server:
            raise
        code = signals.exit_code
    if is_server:
        # An ordinary exit waits for threads, and one may read stdin forever.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # it may be closed, or None
                stream.flush()
        os._exit(code)
    return code


class _Signals:
    """Says what a signal does, and keeps the exit code for the first one."""

    def __init__(self, *, is_quiet: bool) -> None:
        self.exit_code = SIGNAL_EXIT_BASE + signal.SIGINT
        self._is_quiet = is_quiet

    def __call__(self, number: int, count: int) -> None:
        if count == 1:
            self.exit_code = SIGNAL_EXIT_BASE + number
        if self._is_quiet:
            return
        if count == 1:
            echo_err("Stopping: what was begun is cleaned up. Ctrl-C again does not wait for that.")
            return
        text = "Stopped at once: `yotta-async reap` finds pods that are left.\n"
        if is_terminal(sys.stderr):
            text = f"{SHOW_CURSOR}\n{text}"
        # Not by sys.stderr, a write to which this may interrupt, and only where it cannot block.
        _, writable, _ = select.select([], [STDERR_FD], [], 0)
        if writable:
            os.write(STDERR_FD, text.encode())


def report_error(error: BaseException, settings: Settings) -> int:
    """Print what went wrong and the next step, and return the exit code for it."""
    from yotta_async import YottaError  # keeps --help and --version quick

    if settings.verbose > 1:
        traceback.print_exception(error)
    elif isinstance(error, YottaError | OSError):
        step = find_next_step(error, settings)
        echo_err(f"Error: {format_error(error, advice=not step)}")
        if step:
            echo_err(step)
    else:
        echo_err(f"Error: {type(error).__name__}: {format_error(error)}. This is our mistake: -vv shows where.")
    return get_exit_code(error, settings)


def get_exit_code(error: BaseException, settings: Settings) -> int:
    """Return the exit code for an error."""
    import yotta_async as ya  # keeps --help and --version quick

    if isinstance(error, ya.ConfigurationError):
        return ExitCode.WRONG_USAGE if settings.has_key else ExitCode.KEY_REFUSED
    codes: list[tuple[type[BaseException], ExitCode]] = [
        (ya.AuthenticationError, ExitCode.KEY_REFUSED),
        (ya.PermissionDeniedError, ExitCode.KEY_REFUSED),
        (ya.NotFoundError, ExitCode.NO_SUCH_POD),
        (ya.PodGoneError, ExitCode.NO_SUCH_POD),
        (ya.WaitTimeoutError, ExitCode.TIMED_OUT),
        (ya.InvalidRequestError, ExitCode.WRONG_USAGE),
        (ya.SpendLimitError, ExitCode.WRONG_USAGE),
        (ya.FanOutError, ExitCode.SOME_FAILED),
    ]
    return next((code for kind, code in codes if isinstance(error, kind)), ExitCode.API_FAILED)


def find_next_step(error: BaseException, settings: Settings) -> str:
    """Return what to type after an error, in place of the library's advice; empty text where that, or nothing, fits."""
    import yotta_async as ya  # keeps --help and --version quick

    other_gpu = (
        "`yotta-async pods create --fallback gpu=TYPE,region=NAME` tries another; `yotta-async gpus` lists them."
    )
    all_pods = "`yotta-async pods list --all` shows the pods of the account, with their statuses."
    if isinstance(error, ya.PodFailedError) and error.last_pod and error.last_pod.status != ya.PodStatus.FAILED:
        return all_pods
    if isinstance(error, ya.NotFoundError) and error.path.endswith(("/pods", "/pods/list", "/pods/create")):
        return "Check --base-url and --api-version: this host does not have this version of the API."
    if isinstance(error, ya.NotFoundError) and "/pods/" not in error.path:
        return ""
    if isinstance(error, ya.BadRequestError) and re.search(r"/pods/(?!create$|list$)", error.path):
        return "A pod is named by its id, not by its name: `yotta-async pods list` shows both."
    if isinstance(error, ya.AuthenticationError):
        return _name_key_to_check(settings)
    steps: list[tuple[type[BaseException], str]] = [
        (ya.CapacityError, other_gpu),
        (ya.NotFoundError, all_pods),
        (ya.PodGoneError, all_pods),
        (ya.InvalidStateError, all_pods),
        (ya.PodFailedError, other_gpu),
        (ya.WaitTimeoutError, "--timeout waits longer; `yotta-async pods watch` shows changes."),
        (ya.CreateOutcomeUnknownError, "`yotta-async reap` looks for its pod again, and deletes it if it shows."),
        (ya.TransportError, "`yotta-async doctor` checks the connection."),
    ]
    return next((step for kind, step in steps if isinstance(error, kind)), "")


def _name_key_to_check(settings: Settings) -> str:
    connection = settings.connection
    if connection.api_key.source != "profile" or connection.profile is None:
        return "Check --api-key or $YOTTA_API_KEY with `yotta-async doctor`."
    option = f"--profile {connection.profile.name}"
    return f"`yotta-async doctor {option}` checks the profile's key; `yotta-async config set-key {option}` replaces it."


@contextmanager
def end_at_once_on_signals() -> Iterator[None]:
    """Let a signal end a question, which blocks the loop. There is nothing to clean up while a person is asked."""
    wakeup_fd = signal.set_wakeup_fd(-1)
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    previous = [(number, signal.signal(number, signal.SIG_DFL)) for number in numbers]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup_fd)


def ask_to_confirm(question: str, refusal: str = "Nothing was changed.", *, is_needed: bool = True) -> bool:
    """Ask a person a yes-or-no question, unless the answer does not matter; without a terminal the answer is no.

    That also holds where there is nothing to ask about, so that a job which lacks --yes fails on its first day.
    """
    if not is_terminal(sys.stdin):
        echo_err(f"{refusal} Add --yes, as there is no terminal to ask on.")
        return False
    if not is_needed:
        return True
    with end_at_once_on_signals():
        try:
            is_confirmed = click.confirm(question, default=False, err=True)
        except click.Abort:
            echo_err("")  # what comes next is not for the line of the question
            raise
    if not is_confirmed:
        echo_err(refusal)
    return is_confirmed
