"""How a command ends: its exit code, and in one line why."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Coroutine
from typing import Any

import click

from yotta_async.cli.settings import Settings

DONE, API, USAGE, MISSING, KEY, SOME, LATE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 124, 130
CODES = """
    \b
    Exit codes:
      0    done
      1    the API, or the way to it, failed
      2    wrong usage, or not confirmed
      3    there is no such pod
      4    there is no key, or it was not accepted
      5    some or all of many failed
      124  what was waited for did not come in time
      130  interrupted
    """


def run(work: Coroutine[Any, Any, int], settings: Settings) -> None:
    """Run a command and leave with its exit code; of an error, say in a line what it was."""
    if settings.verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("yotta_async").setLevel(logging.DEBUG)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that this terminal cannot write is no failure
    try:
        code = asyncio.run(_stoppable(work))
        if sys.stdout is not None:
            sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        # As of `| head`: what is still in the buffer goes nowhere, and says nothing at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = API
    except click.ClickException:
        raise
    except Exception as error:  # noqa: BLE001  # a traceback is for whoever asks for one
        code = told(error, settings)
    sys.exit(code)


async def _stoppable(work: Coroutine[Any, Any, int]) -> int:
    """Run a command's work; Ctrl-C ends it with its cleanup, and a second one at once."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.done():
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, _at_once)
        click.echo("Stopping: what was begun is cleaned up. Ctrl-C again does not wait for that.", err=True)
        task.cancel()
        return await task


def _at_once(*_: object) -> None:
    click.echo("Stopped at once: `yotta-async reap` finds pods that are left.", err=True)
    os._exit(INTERRUPTED)


def told(error: BaseException, settings: Settings) -> int:
    """Say what went wrong, and return the exit code of it."""
    from yotta_async import YottaError  # keeps --help and --version quick

    if settings.verbose > 1:
        traceback.print_exception(error)
    elif isinstance(error, YottaError | OSError):
        click.echo(f"Error: {line_of(error)}", err=True)
    else:
        click.echo(
            f"Error: {type(error).__name__}: {line_of(error)}. This is a mistake of ours: -vv shows where.", err=True
        )
    return code_of(error, settings)


def code_of(error: BaseException, settings: Settings) -> int:
    """Return the exit code of an error."""
    import yotta_async as ya  # keeps --help and --version quick

    if isinstance(error, ya.ConfigurationError):
        return USAGE if settings.has_key else KEY
    codes: list[tuple[type[BaseException], int]] = [
        (ya.AuthenticationError, KEY),
        (ya.PermissionDeniedError, KEY),
        (ya.NotFoundError, MISSING),
        (ya.PodGoneError, MISSING),
        (ya.WaitTimeoutError, LATE),
        (ya.InvalidRequestError, USAGE),
        (ya.SpendLimitError, USAGE),
        (ya.FanOutError, SOME),
    ]
    return next((code for kind, code in codes if isinstance(error, kind)), API)


def line_of(error: BaseException | None) -> str:
    """Return an error's message in one line; a server's text moves no cursor."""
    text = " ".join(str(error).split())
    return "".join(each if each.isprintable() else "?" for each in text)
