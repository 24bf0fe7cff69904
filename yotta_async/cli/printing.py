"""What is printed: tables and messages for people, and one documented shape of values for programs.

A pod is an object with the fields of `yotta_async.Pod` in snake_case and `hourly_price`; ids are text, times are ISO
8601 in UTC, and values of environment variables and initialization commands are "***" without --show-secrets.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TextIO

import attrs
import click

if TYPE_CHECKING:
    from rich.table import Table

    from yotta_async import FanOutItem, FanOutReport, Pod

# Columns of which no part is left out or wrapped, at any width of a terminal.
UNCUT_COLUMNS = ("id", "gpu type", "status", "age", "for", "$/h", "ready", "cost", "check", "state", "field")
# Text columns give way to the terminal's width, evenly, down to about this.
MIN_TEXT_CHARS = 12
COLUMN_GAP_CHARS = 2
STATUS_STYLES = {
    "INITIALIZE": "yellow",
    "RUNNING": "green",
    "PAUSING": "blue",
    "PAUSED": "cyan",
    "TERMINATING": "magenta",
    "TERMINATED": "bright_black",
    "FAILED": "bold red",
}
# The library's messages name its arguments and calls. Here a person types options and commands.
OPTIONS_FOR_ARGUMENTS = (
    ("`pods.list()`", "`yotta-async pods list`"),
    ("`pods.get`", "`yotta-async pods get`"),
    ("as `fallbacks` of create_many or ephemeral", "with --fallback gpu=TYPE,region=NAME"),
    ("or give trust_env=False to do without the environment's proxy", "or name the host in $NO_PROXY"),
    ("use yotta_async.emulator.Emulator and its client()", "run `yotta-async emulator`"),
    (
        "SpendLimit(prices={gpu_type: USD an hour for one GPU}), and volume_price=USD",
        "--price GPU=USD, and --volume-price USD",
    ),
    ("Delete it, or use max_pods until the API tells its price", "Delete it, or create without --max-hourly"),
    ("; `pods.unreadable_items` says after a list whether it is still so", ""),
    ('give `statuses=`, such as ["RUNNING"], or `regions=`', "give --status or --region"),
    (
        "Call `await error.resolve()` until the pod shows, or see `pods.list()`",
        "`yotta-async pods list` may show it later; `yotta-async reap` deletes it",
    ),
    ("(PodStatus(", "("),
    ("which SessionPool(ssl=…) can carry", "which the command line cannot send"),
    (
        "load it into an ssl.SSLContext with load_cert_chain(), and give that as SessionPool(ssl=…)",
        "the command line cannot send one, a program can",
    ),
    ("and whether SessionPool(limit=…) is large enough", "and try a smaller --concurrency"),
    ("SessionPool(ssl=ssl.create_default_context(cafile=…))", "--ca-file"),
    ("SessionPool(proxy=…)", "--proxy"),
    ("SessionPool.proxy", "--proxy"),
    ("argument api_key", "--api-key"),
    ("argument journal", "--journal"),
    ("api_key", "--api-key"),
    ("base_url", "--base-url"),
    ("max_hourly", "--max-hourly"),
)

GPU_TYPE_FRAME = re.compile(r"^(NVIDIA_|AMD_)?(GeForce_)?|_\d+G$")
CLASS_NAME = re.compile(r"\b[A-Z]\w+Error: ")


# Text


def strip_control(text: str) -> str:
    """Return text from a server with each character that could move the cursor replaced by "?"."""
    return "".join(character if character.isprintable() else "?" for character in text)


def format_error(error: BaseException | None, *, advice: bool = True) -> str:
    """Return an error's message as one line that is safe to print, and that names options.

    `advice` is its last sentence, if it came from the API.
    """
    text = str(error)
    if not advice:
        text = text.removesuffix(getattr(error, "advice", "")).rstrip()
    text = CLASS_NAME.sub("", strip_control(" ".join(text.split())))
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
    """Return a pod's GPUs in the form that every table has, such as 2x L4."""
    count = f"{pod.gpu_count}x " if pod.gpu_count else ""
    # A pod that was just created has the type alone: NVIDIA_GeForce_RTX_5090_32G is displayed as RTX 5090.
    short_type = GPU_TYPE_FRAME.sub("", pod.gpu_type or "?").replace("_", " ")
    return strip_control(count + (pod.gpu_display_name or short_type))


def format_usd(amount: float | None) -> str:
    """Return an amount of US dollars, in which unknown is no zero and little is none either."""
    if amount is None:
        return "?"
    if 0 < amount < 0.01:
        return f"{amount:.4f}" if amount >= 0.0001 else "<0.0001"
    return f"{amount:.2f}"


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


def can_redraw(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal on which a table can be drawn again and again."""
    return is_terminal(stream) and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


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


def print_value(output: str, value: Any) -> None:
    """Print a value for programs: as a document of JSON or YAML, or as a line of JSON for each item of a list."""
    if output == "json":
        print_json(value)
    elif output == "jsonl":
        for item in value if isinstance(value, list) else [value]:
            print_json_line(item)
    else:
        from ruamel.yaml import YAML  # slow to import

        yaml: Any = YAML()
        yaml.allow_unicode = can_encode_unicode(sys.stdout)
        yaml.width = sys.maxsize
        yaml.dump(json.loads(json.dumps(value)), sys.stdout)  # plain types


def print_json(value: Any) -> None:
    """Print a value as one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=not can_encode_unicode(sys.stdout)))


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=not can_encode_unicode(sys.stdout), separators=(",", ":")))


# Tables


def pod_to_field_rows(pod: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a row for each field of a pod (as JSON values) that has a value."""
    return [
        (name, strip_control(_to_text(value))) for name, value in pod.items() if value not in (None, "", [], {}, ())
    ]


def _to_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(map(_to_text, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={_to_text(each)}" for name, each in value.items() if each not in (None, {}))
    return str(value)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    below: Iterable[tuple[str, str]] = (),
    fit: bool = True,
    to_stderr: bool = False,
) -> None:
    """Print a table, fitted to a terminal's width; in a pipe, or without `fit`, each row is one line, with nothing cut.

    `below` has pairs of columns (lower, upper): on a narrow terminal the one is put below the other.
    """
    lines = [tuple(columns), *rows]
    if fit and is_terminal(sys.stderr if to_stderr else sys.stdout):
        from rich.console import Console  # rich is slow to import

        console = Console(stderr=to_stderr, highlight=False)
        console.print(build_table(columns, lines[1:], console.width, below=below), crop=False)
        return
    widths = [max(map(_measure_width, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell + " " * (width - _measure_width(cell)) for cell, width in zip(line, widths, strict=True))
        click.echo((" " * COLUMN_GAP_CHARS).join(padded).rstrip(), err=to_stderr)


def _measure_width(text: str) -> int:
    """Return how many columns of a terminal a text takes; a Chinese or Japanese character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # rich is slow to import

    return cell_len(text)


def build_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, below: Iterable[tuple[str, str]] = ()
) -> Table:
    """Return a table for a terminal of this width: columns of UNCUT_COLUMNS are whole, the others wrap."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    cells = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    headers = {name: name for name in columns}

    def measure(name: str) -> int:
        texts = [headers[name], *cells[name]]
        widest = max(cell_len(line) for text in texts for line in text.split("\n"))
        return widest if name in UNCUT_COLUMNS else min(widest, MIN_TEXT_CHARS)

    for lower, upper in below:
        if sum(map(measure, cells)) + len(cells) - 1 <= width:
            break
        if lower not in cells:
            continue
        cells[upper] = [
            f"{above}\n{under}" if under else above for above, under in zip(cells[upper], cells[lower], strict=True)
        ]
        headers[upper] += f"\n{headers[lower]}"
        del cells[lower]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in cells:
        is_whole = name in UNCUT_COLUMNS
        table.add_column(
            headers[name],
            no_wrap=is_whole,
            min_width=measure(name) if is_whole else None,
            overflow="fold",
            justify="right" if name in ("$/h", "cost") else "left",
        )
    for row in zip(*cells.values(), strict=True):
        styles = [
            STATUS_STYLES.get(text.partition("\n")[0], "") if name == "status" else ""
            for name, text in zip(cells, row, strict=True)
        ]
        table.add_row(*map(Text, row, styles))
    return table
