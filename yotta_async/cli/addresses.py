"""Options of `yotta-async mcp` that are more than a number."""

from __future__ import annotations

import json
from pathlib import Path

import click

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def address(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """Read HOST:PORT, of this machine alone: whoever reaches it spends money."""
    if value is None:
        return None
    host, _colon, port = value.rpartition(":")
    if host not in _LOOPBACK or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{value!r} is not HOST:PORT with a HOST of this machine: {', '.join(_LOOPBACK)}")
    return host, int(port)


def price_table(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, float]:
    """Read a JSON file of US dollars an hour for one GPU, by gpu_type."""
    if value is None:
        return {}
    try:
        prices = json.loads(Path(value).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{value}: {error}") from None
    if not isinstance(prices, dict) or not all(
        type(price) in (int, float) and 0 <= price < 1e6 for price in prices.values()
    ):
        raise click.BadParameter(
            f'{value} must be JSON such as {{"NVIDIA_L4_24G": 0.6}}: US dollars an hour for one GPU'
        )
    return prices
