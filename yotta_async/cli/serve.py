"""`yotta-async emulator`: serve until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys

import click

from yotta_async.emulator import Emulator


async def run(host: str, port: int) -> None:
    """Serve, and say how to point a client here. Ctrl-C and SIGTERM are the ordinary ends."""
    try:
        emulator = Emulator(host=host, port=port)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--host") from None
    ended = asyncio.Event()
    if sys.platform != "win32":  # there Ctrl-C ends asyncio.run by itself
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await emulator.start()
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {error.strerror}. Try another --port."
        ) from None
    try:
        click.echo(f"The emulator serves {emulator.url} until Ctrl-C. To use it from another terminal:")
        click.echo(f"  export YOTTA_BASE_URL={emulator.url} YOTTA_API_KEY={emulator.api_key}")
        await ended.wait()
    finally:
        await emulator.aclose()
    click.echo(f"\nAnswered {len(emulator.requests)} requests.")
