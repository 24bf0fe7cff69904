"""The command line, `yotta-async` (extra `cli`)."""

import sys


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        from yotta_async.cli.commands import cli  # click and rich are an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        sys.exit(f"yotta-async needs {error.name} for its command line: pip install 'yotta-async[cli]'")
    cli()
