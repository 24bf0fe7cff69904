"""What is printed: tables and messages for people, and one documented shape of JSON for programs.

A pod is an object with the fields of `yotta_async.Pod` in snake_case and `hourly_price`; ids are text, times are ISO
8601 in UTC, and values of environment variables and initialization commands are "***" without --show-secrets.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TextIO

import attrs
import click

if TYPE_CHECKING:
    from rich.console import OverflowMethod

    from yotta_async import FanOutItem, FanOutReport, Pod

POD_COLUMNS = ("id", "name", "status", "gpu", "region", "$/h", "changed")
# For lack of room the other columns of a table give way, down to this width.
UNCUT_COLUMNS = ("id", "gpu type", "status", "$/h", "changed", "check", "state", "field")
MIN_COLUMN_CHARS = 4
COLUMN_GAP_CHARS = 2
# The library's messages name its arguments and calls. Here a person types options and commands.
OPTIONS_FOR_ARGUMENTS = (
    ("`pods.list()`", "`yotta-async pods list`"),
    ("or give trust_env=False to do without the environment's proxy", "or name the host in $NO_PROXY"),
    ("use yotta_async.emulator.Emulator and its client()", "run `yotta-async emulator`"),
    ("SessionPool(ssl=ssl.create_default_context(cafile=…))", "--ca-file"),
    ("SessionPool(proxy=…)", "--proxy"),
    ("SessionPool.proxy", "--proxy"),
    ("argument api_key", "--api-key"),
    ("api_key", "--api-key"),
    ("base_url", "--base-url"),
    ("max_hourly", "--max-hourly"),
)


# Text


def strip_control(text: str) -> str:
    """Return text from a server with each character that could move the cursor replaced by "?"."""
    return "".join(character if character.isprintable() else "?" for character in text)


def format_error(error: BaseException | None) -> str:
    """Return an error's message as one line that is safe to print, and that names options."""
    text = strip_control(" ".join(str(error).split()))
    for argument, option in OPTIONS_FOR_ARGUMENTS:
        # Not after a dot or a quote, as in profiles.work.api_key: there it is the name of a key in the config file.
        text = re.sub(rf"(?<![\w.'\"]){re.escape(argument)}(?!\w)", option, text)
    return text


def format_duration(seconds: float) -> str:
    """Return a duration in at most two units, such as 2h5m."""
    seconds = max(0, int(seconds))
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // smaller}{name}"
    return f"{seconds}s"


def format_gpus(pod: Pod) -> str:
    """Return a pod's GPUs, such as 2x L4."""
    count = f"{pod.gpu_count}x " if pod.gpu_count else ""
    return count + (pod.gpu_display_name or pod.gpu_type or "?")


def pluralize(count: int, noun: str = "pod") -> str:
    """Return a count with its noun, such as 1 pod or 3 pods."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# Messages, on standard error


def echo_err(text: str) -> None:
    """Print a message for a person; a terminal that has closed is no error."""
    try:
        click.echo(text, err=True)
    except OSError:
        pass


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person uses the stream; a stream that was closed before the start is None."""
    return stream is not None and stream.isatty()


def can_encode_unicode(stream: TextIO | None) -> bool:
    """Whether the stream's encoding has every character."""
    return "utf" in (getattr(stream, "encoding", None) or "").lower()


# JSON


def pod_to_json(pod: Pod, *, show_secrets: bool = False) -> dict[str, Any]:
    """Return a pod as JSON values."""
    shown = pod if show_secrets else pod.redacted()
    fields = attrs.asdict(shown, value_serializer=lambda _, __, value: _to_json(value))
    return {**fields, "hourly_price": pod.hourly_price}


def error_to_json(error: BaseException | None) -> dict[str, str] | None:
    """Return an error as JSON values."""
    return None if error is None else {"type": type(error).__name__, "message": format_error(error)}


def item_to_json(item: FanOutItem, *, show_secrets: bool = False) -> dict[str, Any]:
    """Return the outcome of one of many pods as JSON values."""
    return {
        "pod_id": item.pod_id,
        "error": error_to_json(item.error),
        "attempts": item.attempts,
        "pod": item.pod and pod_to_json(item.pod, show_secrets=show_secrets),
    }


def count_outcomes(report: FanOutReport) -> dict[str, int]:
    """Return how many pods of a report succeeded, failed and are unknown."""
    return {name: len(getattr(report, name)) for name in ("succeeded", "failed", "unknown")}


def report_to_json(report: FanOutReport, *, show_secrets: bool = False) -> dict[str, Any]:
    """Return the outcomes of many pods, in the order given, as JSON values."""
    return {**count_outcomes(report), "items": [item_to_json(item, show_secrets=show_secrets) for item in report.items]}


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.value if isinstance(value, Enum) else value


def print_json(value: Any) -> None:
    """Print a value as one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=not can_encode_unicode(sys.stdout)))


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=not can_encode_unicode(sys.stdout), separators=(",", ":")))


# Tables


def pod_to_row(pod: Pod, now: datetime) -> tuple[str, ...]:
    """Return a pod's cells, by POD_COLUMNS."""
    changed = pod.updated_at or pod.created_at
    cells = (
        pod.id,
        pod.pod_name or "",
        str(pod.status or "?"),
        format_gpus(pod),
        pod.region or "",
        "?" if pod.hourly_price is None else f"{pod.hourly_price:.2f}",
        format_duration((now - changed).total_seconds()) if changed else "",
    )
    return tuple(map(strip_control, cells))


def pod_to_field_rows(pod: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a row for each field of a pod (as JSON values) that has a value."""
    return [
        (name, strip_control(_to_text(value))) for name, value in pod.items() if value not in (None, "", [], {}, ())
    ]


def _to_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(map(_to_text, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={_to_text(each)}" for name, each in value.items() if each is not None)
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: fitted to a terminal's width, or, where there is no terminal, with nothing cut."""
    lines = [tuple(columns), *rows]
    if is_terminal(sys.stdout):
        _print_fitted(lines)
        return
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        click.echo((" " * COLUMN_GAP_CHARS).join(map(str.ljust, line, widths)).rstrip())


def _print_fitted(lines: Sequence[Sequence[str]]) -> None:
    """Print a table whose widest columns give way to the terminal's width; ids are never cut."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
    gap = COLUMN_GAP_CHARS if sum(widths) + COLUMN_GAP_CHARS * (len(widths) - 1) <= console.width else 1
    shrinkable = [place for place, name in enumerate(lines[0]) if name not in UNCUT_COLUMNS]
    while sum(widths) + gap * (len(widths) - 1) > console.width:
        widest = max(shrinkable, key=lambda place: widths[place])
        if widths[widest] <= MIN_COLUMN_CHARS:
            break
        widths[widest] -= 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    cut: OverflowMethod = "ellipsis" if can_encode_unicode(sys.stdout) else "crop"
    for place, (name, width) in enumerate(zip(lines[0], widths, strict=True), start=1):
        is_last = place == len(widths)
        table.add_column(name, width=width, no_wrap=not is_last, overflow="fold" if is_last else cut)
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    console.print(table)
