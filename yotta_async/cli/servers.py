"""What `yotta-async emulator` and `yotta-async mcp` do: serve on this machine until a signal or the client ends it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yotta_async.cli.run import ExitCode
from yotta_async.cli.settings import Settings, build_client, build_session_pool
from yotta_async.emulator import Emulator

if TYPE_CHECKING:
    from yotta_async.agents.mcp_server import ToolServer

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
MAX_PORT = 65535
MAX_PRICE_USD = 1e6
# How long a lost create is looked for: an agent's host gives a tool a minute, and pod_resolve looks again.
SETTLE_TIMEOUT_S = 15.0
# How long a session may take to settle its creates and delete its pods.
MAX_CLEANUP_S = 120.0
# How long the thread that reads stdin may take to end, once the session has ended.
STDIN_READER_TIMEOUT_S = 0.5


async def serve_emulator(*, capacity: Iterable[str], **options: Any) -> int:
    """Serve the emulator, and print how to point a client at it."""
    try:
        emulator = Emulator(capacity=parse_capacity(capacity), **options)
        await emulator.start()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {options['host']} port {options['port']}: {error.strerror}. Try another --port."
        ) from None
    try:
        # A shell can read all of standard output.
        click.echo(f"# The emulator serves {emulator.url} until Ctrl-C. To use it, type in another terminal:")
        click.echo(format_exports({"YOTTA_BASE_URL": emulator.url, "YOTTA_API_KEY": emulator.api_key}))
        if options["control"]:
            click.echo(f"# Its clock, faults and record are at {emulator.url}/_emulator/ (see the README).")
        if options["runtime"] == "process":
            click.secho("Every program that has this key can run commands on this machine as you.", err=True)
        with suppress(asyncio.CancelledError):  # a signal
            await asyncio.get_running_loop().create_future()
    finally:
        await emulator.aclose()
    click.echo(f"# Answered {len(emulator.requests)} requests.")
    return ExitCode.DONE


async def serve_mcp(
    settings: Settings, *, http: str | None, token: str | None, prices: str | None, **options: Any
) -> int:
    """Serve the tools for agents until the host closes the connection, or until a signal."""
    try:
        from yotta_async.agents.mcp_http import serve_http
        from yotta_async.agents.mcp_server import server_for
    except ImportError as error:
        raise click.ClickException(f"this needs the package mcp ({error}): pip install 'yotta-async[mcp]'") from None
    address = None if http is None else parse_address(http)
    options["prices"] = {} if prices is None else read_prices(prices)
    session_ended = asyncio.Event()
    async with build_session_pool(settings) as pool:
        server = server_for(
            lambda: build_client(settings, settle_timeout=SETTLE_TIMEOUT_S, session_pool=pool),
            on_end=session_ended.set,
            **options,
        )
        if address is not None:
            await _serve_until_ended(serve_http(server, *address, token))
        else:
            await _serve_stdio(server, session_ended)
    return ExitCode.DONE


async def _serve_until_ended(serving: Coroutine[Any, Any, None]) -> None:
    """Serve until the server ends, which a signal makes uvicorn do by itself."""
    task = asyncio.ensure_future(serving)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=MAX_CLEANUP_S)
        raise


async def _serve_stdio(server: ToolServer, session_ended: asyncio.Event) -> None:
    """Serve until the host closes stdin or stdout, or until a signal; return when the session has ended.

    A thread of the mcp package may still read stdin then, which nothing can end but the end of the process.
    """
    serving = asyncio.ensure_future(server.run_stdio_async())
    ending = asyncio.ensure_future(session_ended.wait())
    try:
        await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        serving.cancel()
        await asyncio.wait_for(session_ended.wait(), MAX_CLEANUP_S)
        raise
    await asyncio.wait({serving}, timeout=STDIN_READER_TIMEOUT_S)
    if serving.done():
        try:
            await serving
        except* (BrokenPipeError, ConnectionResetError):
            pass  # the host has closed stdout


def format_exports(variables: Mapping[str, str]) -> str:
    """Return the line that sets variables in the user's shell."""
    if Path(os.environ.get("SHELL", "")).name == "fish":
        return "; ".join(f"set -gx {name} {shlex.quote(value)}" for name, value in variables.items())
    return " ".join(["export", *(f"{name}={shlex.quote(value)}" for name, value in variables.items())])


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; only this machine, as each request can cost money."""
    host, _, port = text.rpartition(":")
    if host not in LOOPBACK_HOSTS or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        hosts = ", ".join(LOOPBACK_HOSTS)
        raise click.BadParameter(f"{text!r} is not HOST:PORT with a HOST of this machine: {hosts}", param_hint="--http")
    return host, int(port)


def read_prices(path: str) -> dict[str, float]:
    """Return US dollars an hour for one GPU, by type, from a JSON file."""
    try:
        prices = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--prices") from None
    if not isinstance(prices, dict) or not all(
        type(price) in (int, float) and 0 <= price < MAX_PRICE_USD for price in prices.values()
    ):
        form = '{"NVIDIA_L4_24G": 0.6}'
        raise click.BadParameter(
            f"{path} must be JSON such as {form}: dollars an hour for a GPU", param_hint="--prices"
        )
    return prices


def parse_capacity(entries: Iterable[str]) -> dict[str, int | dict[str, int]]:
    """Return the capacity that GPU=N and GPU@REGION=N mean."""
    capacity: dict[str, int | dict[str, int]] = {}
    for entry in entries:
        name, _, number = entry.rpartition("=")
        gpu_type, at, region = name.partition("@")
        by_region = capacity.setdefault(gpu_type, {}) if at else None
        is_count = number.isascii() and number.isdigit() and len(number) < 10
        if not gpu_type or not is_count or (at and not isinstance(by_region, dict)):
            raise click.BadParameter(f"{entry!r} is not GPU=N or GPU@REGION=N", param_hint="--capacity")
        if isinstance(by_region, dict):
            by_region[region] = int(number)
        elif gpu_type in capacity:
            raise click.BadParameter(f"{gpu_type} is there twice", param_hint="--capacity")
        else:
            capacity[gpu_type] = int(number)
    return capacity
