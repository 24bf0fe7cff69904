"""`yotta-async emulator`: serve until Ctrl-C."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import Iterable
from typing import Any

import click

from yotta_async.emulator import Emulator


async def serve(options: dict[str, Any]) -> None:
    """Serve, and say how to point a client here. Ctrl-C and SIGTERM are the ordinary ends."""
    try:
        emulator = Emulator(**options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    ended = asyncio.Event()
    if sys.platform != "win32":  # there Ctrl-C ends asyncio.run by itself
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await emulator.start()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {options['host']} port {options['port']}: {error.strerror}. Try another --port."
        ) from None
    try:
        click.echo(f"The emulator serves {emulator.url} until Ctrl-C. To use it from another terminal:")
        click.echo(f"  export YOTTA_BASE_URL={emulator.url} YOTTA_API_KEY={shlex.quote(emulator.api_key)}")
        if options["control"]:
            click.echo(f"Its clock, faults and record are at {emulator.url}/_emulator/ (see the README).")
        if options["runtime"] == "process":
            click.secho("Every program that has this key can run commands on this machine as you.", err=True)
        await ended.wait()
    finally:
        await emulator.aclose()
    click.echo(f"\nAnswered {len(emulator.requests)} requests.")


def capacity_of(entries: Iterable[str]) -> dict[str, int | dict[str, int]]:
    """Return the capacity that `GPU=N` and `GPU@REGION=N` mean."""
    capacity: dict[str, int | dict[str, int]] = {}
    for entry in entries:
        name, _, number = entry.rpartition("=")
        gpu_type, at, region = name.partition("@")
        by_region = capacity.setdefault(gpu_type, {}) if at else None
        if (
            not gpu_type
            or not number.isascii()
            or not number.isdigit()
            or len(number) > 9
            or (at and not isinstance(by_region, dict))
        ):
            raise click.BadParameter(f"{entry!r} is not GPU=N or GPU@REGION=N", param_hint="--capacity")
        if isinstance(by_region, dict):
            by_region[region] = int(number)
        elif gpu_type in capacity:
            raise click.BadParameter(f"{gpu_type} is there twice", param_hint="--capacity")
        else:
            capacity[gpu_type] = int(number)
    return capacity
