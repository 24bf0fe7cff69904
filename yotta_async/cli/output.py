"""What is printed: tables for people, and one documented shape of JSON for machines.

A pod is an object with the fields of `yotta_async.Pod` in snake_case and `hourly_price`; ids are text, times are ISO
8601 in UTC, and values of environment variables and initialization commands are "***" without --show-secrets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TextIO

import attrs
import click

from yotta_async import FanOutItem, FanOutReport, Pod


def pod_json(pod: Pod, *, show_secrets: bool = False) -> dict[str, Any]:
    """Return a pod as JSON has it."""
    shown = pod if show_secrets else pod.redacted()
    fields = attrs.asdict(shown, value_serializer=lambda _, __, value: _plain(value))
    return {**fields, "hourly_price": pod.hourly_price}


def item_json(item: FanOutItem, *, show_secrets: bool = False) -> dict[str, Any]:
    """Return what became of one of many, as JSON has it."""
    from yotta_async.cli.exits import line_of

    error = item.error and {"type": type(item.error).__name__, "message": line_of(item.error)}
    return {
        "pod_id": item.pod_id,
        "error": error,
        "attempts": item.attempts,
        "pod": item.pod and pod_json(item.pod, show_secrets=show_secrets),
    }


def report_json(report: FanOutReport, *, show_secrets: bool = False) -> dict[str, Any]:
    """Return what became of many, in the order given, as JSON has it."""
    return {
        "succeeded": len(report.succeeded),
        "failed": len(report.failed),
        "unknown": len(report.unknown),
        "items": [item_json(item, show_secrets=show_secrets) for item in report.items],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.value if isinstance(value, Enum) else value


def print_json(value: Any) -> None:
    """Print a value for machines that read it as a whole."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=_is_narrow()))


def print_line(value: Any) -> None:
    """Print a value for machines that read line by line, at once."""
    click.echo(json.dumps(value, ensure_ascii=_is_narrow(), separators=(",", ":")))


def _is_narrow() -> bool:
    """Whether standard output cannot write every character, so that JSON has to escape them."""
    return "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits there; a stream may be closed, and then is None."""
    return stream is not None and stream.isatty()


def say(text: str) -> None:
    """Tell a person something, where it does not get into the data."""
    click.echo(text, err=True)


# A column narrower than this is never cut: an id has 18 figures.
_NARROW = 20
COLUMNS = ("id", "name", "status", "gpu", "region", "$/h", "changed")


def row_of(pod: Pod, now: datetime) -> tuple[str, ...]:
    """Return the line of a table for a pod, by COLUMNS."""
    changed = pod.updated_at or pod.created_at
    count = f"{pod.gpu_count}x " if pod.gpu_count else ""
    return tuple(
        clean(cell)
        for cell in (
            pod.id,
            pod.pod_name or "",
            str(pod.status or "?"),
            count + (pod.gpu_display_name or pod.gpu_type or "?"),
            pod.region or "",
            "?" if pod.hourly_price is None else f"{pod.hourly_price:.2f}",
            span((now - changed).total_seconds()) if changed else "",
        )
    )


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: on a terminal as wide as that, else in columns of which nothing is cut off."""
    lines = [tuple(columns), *rows]
    if is_terminal(sys.stdout):
        _print_rich(lines)
        return
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_rich(lines: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, width in zip(lines[0], _fitted(lines, console.width), strict=True):
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=width)
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    console.print(table)


def _fitted(lines: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the width of each column: where there is too little room the widest give way, and no id."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    while sum(widths) + 2 * len(widths) > room and max(widths) > _NARROW:
        widths[widths.index(max(widths))] -= 1
    return widths


def span(seconds: float) -> str:
    """Write a span of time in two of its units at most."""
    seconds = max(0, int(seconds))
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // smaller}{name}"
    return f"{seconds}s"


def clean(text: str) -> str:
    """Return a server's text without what moves a cursor."""
    return "".join(each if each.isprintable() else "?" for each in text)
