"""The commands and their options; what they do is in the files beside this one."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from yotta_async._version import __version__
from yotta_async.cli.addresses import address, price_table
from yotta_async.cli.exits import CODES, run
from yotta_async.cli.pods import pods
from yotta_async.cli.settings import Settings, common


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=CODES)
@click.version_option(__version__, prog_name="yotta-async")
@common
def cli() -> None:
    """Rent GPU pods from Yotta Labs, or emulate them on this machine."""


cli.add_command(pods)


@cli.command()
@common
@click.option(
    "--timeline", default="yotta-demo.svg", show_default=True, help="Where the picture of it goes: .svg or .html."
)
@click.pass_obj
def demo(settings: Settings, /, timeline: str) -> None:
    """Run 40 pods through their life on the emulator, with a few mishaps. Takes some 10 seconds and costs nothing.

    Example: yotta-async demo
    """
    from yotta_async.cli.demo import demo as play  # keeps --help and --version quick

    run(play(timeline), settings)


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
@click.option(
    "--api-key",
    envvar="YOTTA_EMULATOR_API_KEY",
    show_envvar=True,
    help="The key that requests must have. [default: emulator-key; with --runtime process a random one, printed]",
)
@click.option("--strict", is_flag=True, help="Refuse GPU types that the catalogue does not have.")
def emulator(capacity: tuple[str, ...], **options: Any) -> None:
    """Serve the API's emulator on this machine until Ctrl-C.

    Examples: yotta-async emulator --port 8787

      yotta-async emulator --state pods.db --capacity NVIDIA_L4_24G=4 --balance 20
    """
    from yotta_async.cli.serve import capacity_of, serve  # keeps --help and --version quick

    asyncio.run(serve({**options, "capacity": capacity_of(capacity)}))


@cli.command(epilog=CODES)
@common
@click.pass_obj
def doctor(settings: Settings, /) -> None:
    """Check key, host, TLS, clock, latency and versions. Sends nothing that costs.

    Example: yotta-async doctor
    """
    from yotta_async.cli.doctor import diagnose  # keeps --help and --version quick

    run(diagnose(settings), settings)


@cli.command(epilog=CODES)
@common
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--journal", help="The journal's directory. [default: $YOTTA_JOURNAL, or one of the user's own]")
@click.pass_obj
def reap(settings: Settings, /, journal: str | None, *, dry_run: bool, yes: bool) -> None:
    """Delete the pods that killed processes left behind, and no others.

    Looks into the journal of creates for those that no living process holds, that nobody got and nobody deleted.

    Example: yotta-async reap --dry-run
    """
    from yotta_async.cli.reap import default_journal, reap_all  # keeps --help and --version quick

    run(reap_all(settings, journal or default_journal(), dry_run=dry_run, yes=yes), settings)


@cli.command("mcp", epilog=CODES)
@common
@click.option("--http", metavar="HOST:PORT", callback=address, help="Serve streamable HTTP here. [default: stdio]")
@click.option(
    "--token",
    metavar="TOKEN",
    envvar="YOTTA_MCP_TOKEN",
    help="With --http: the bearer token of clients. [default: $YOTTA_MCP_TOKEN, or a random one, which is printed]",
)
@click.option(
    "--confirm-above",
    type=click.FloatRange(min=0, max=1e6),
    default=5.0,
    show_default=True,
    help="A create wants a confirmation that costs more US dollars an hour, or whose price is unknown.",
)
@click.option("--prices", metavar="FILE", callback=price_table, help="JSON: US dollars an hour for a GPU, by type.")
@click.option("--max-pods", type=click.IntRange(min=0), help="Refuse creates beyond so many pods in the account.")
@click.option(
    "--max-hourly", type=click.FloatRange(min=0, max=1e6), help="Refuse creates beyond so many US dollars an hour."
)
@click.option("--read-only", is_flag=True, help="Refuse every change.")
@click.option("--delete-on-exit", is_flag=True, help="Delete at the end what the session created.")
@click.pass_obj
def serve_mcp(settings: Settings, /, http: tuple[str, int] | None, token: str | None, **options: Any) -> None:
    """Serve the tools for agents by the Model Context Protocol (extra mcp), until the client goes.

    Example: yotta-async mcp --max-pods 4 --max-hourly 10
    """
    from yotta_async.cli.agents import serve as serve_agents  # keeps --help and --version quick

    run(serve_agents(settings, http, token, options), settings)
