"""The command line, `yotta-async` (extra `cli`)."""

import io
import signal
import sys

PACKAGES = ("click", "dotenv", "platformdirs", "rich", "ruamel")


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
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        sys.exit(f"yotta-async needs the package {error.name} for this: pip install 'yotta-async[cli]'")
