"""The command line, `yotta-async` (extra `cli`)."""

import io
import os
import signal
import sys
from contextlib import suppress

PACKAGES = ("click", "dotenv", "platformdirs", "rich", "ruamel", "tomlkit")


def main() -> None:
    """Run the command line, or print how to install what it needs."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is begun yet: Ctrl-C needs no cleanup and no traceback
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a character that a terminal cannot show is no failure
    try:
        from yotta_async.cli.commands import cli  # the packages that it needs are an extra

        cli()
    except SystemExit as end:
        # The interpreter's own way out clears every module, which takes a fifth of the time of a short command.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # it may be closed, or None
                stream.flush()
        if end.code is None or isinstance(end.code, int):
            os._exit(end.code or 0)
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        sys.exit(f"yotta-async needs the package {error.name} for this: pip install 'yotta-async[cli]'")
