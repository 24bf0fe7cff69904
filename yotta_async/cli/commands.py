"""The commands and their options; what they do is in the files beside this one."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import click

from yotta_async._version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="yotta-async")
def cli() -> None:
    """Rent GPU pods from Yotta Labs, or emulate them on this machine."""


@cli.command()
def demo() -> None:
    """Run 12 pods through their whole life on the emulator. Takes about 10 seconds and costs nothing.

    Example: yotta-async demo
    """
    from yotta_async.cli.demo import run  # keeps --help and --version quick

    try:
        asyncio.run(run())
    except* BrokenPipeError:
        # As of `yotta-async demo | head`: what is still in the buffer goes nowhere, and says nothing at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The loopback address to listen on.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--state", help="Keep pods and balance in this file, and go on from what it holds.")
@click.option("--control", is_flag=True, help="Serve /_emulator/ too: clock, faults, record, state.")
@click.option(
    "--clock", default="real", show_default=True, type=click.Choice(["real", "manual"]), help="What moves time."
)
@click.option("--seed", default=0, show_default=True, help="Of ids and times.")
@click.option(
    "--balance", type=float, help="US dollars of a new account; at zero all pods are terminated. [default: without end]"
)
@click.option(
    "--capacity",
    multiple=True,
    metavar="GPU[@REGION]=N",
    help="How many GPUs of a type there are. [default: without end]",
)
@click.option(
    "--scarcity",
    default="fail",
    show_default=True,
    type=click.Choice(["fail", "refuse"]),
    help="What becomes of a create when there are too few.",
)
@click.option(
    "--runtime",
    default="simulated",
    show_default=True,
    type=click.Choice(["simulated", "process"]),
    help="process RUNS every pod's initialization command ON THIS MACHINE, with your rights.",
)
def emulator(capacity: tuple[str, ...], **options: Any) -> None:
    """Serve the API's emulator on this machine until Ctrl-C.

    Examples: yotta-async emulator --port 8787

      yotta-async emulator --state pods.db --capacity NVIDIA_L4_24G=4 --balance 20
    """
    from yotta_async.cli.serve import capacity_of, run  # keeps --help and --version quick

    asyncio.run(run({**options, "capacity": capacity_of(capacity)}))


@cli.command()
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--journal", help="The journal's directory. [default: $YOTTA_JOURNAL, or one of the user's own]")
def reap(journal: str | None, *, dry_run: bool, yes: bool) -> None:
    """Delete the pods that killed processes left behind, and no others.

    Looks into the journal of creates for those that no living process holds, that nobody got and nobody deleted.

    Example: yotta-async reap --dry-run

    Exit codes: 0 done, 1 API error, 2 wrong usage or not confirmed, 4 the key was not accepted, 5 some pods are left.
    """
    from yotta_async import AuthenticationError, ConfigurationError, YottaError  # keeps --help and --version quick
    from yotta_async.cli.reap import default_journal, run

    try:
        code = asyncio.run(run(journal or default_journal(), dry_run=dry_run, yes=yes))
    except YottaError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        code = 4 if isinstance(error, AuthenticationError) else 2 if isinstance(error, ConfigurationError) else 1
    sys.exit(code)
