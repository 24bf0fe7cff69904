"""The live table: the pods that matter most right now, as many as the terminal has room for, and a line about all."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from yotta_async.cli.output import clean, span

if TYPE_CHECKING:
    from yotta_async.cli.follow import Follower, Row

_STYLES = {
    "INITIALIZE": "yellow",
    "RUNNING": "green",
    "PAUSING": "blue",
    "PAUSED": "cyan",
    "TERMINATING": "magenta",
    "TERMINATED": "bright_black",
    "FAILED": "bold red",
}
_URGENT = ("FAILED", "INITIALIZE", "PENDING", "PREPARING", "PAUSING", "TERMINATING", "RUNNING", "PAUSED")
# Columns by their width; the name has what is left.
_WIDTHS = {"name": 0, "state": 11, "for": 6, "gpu": 13, "region": 12, "$/h": 5, "port": 15}
# Lines that are not pods: heading, bar, counts, and one that stays free so that nothing scrolls.
_OTHER_LINES = 5


class LiveTable:
    """Draws a follower's pods until the block ends, and then is gone: what comes out is printed after it."""

    def __init__(self, follower: Follower, console: Console | None = None) -> None:
        self._follower = follower
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=self._drawn, console=self._console, refresh_per_second=5, transient=True, screen=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._live.stop()

    def _drawn(self) -> RenderableType:
        room = max(1, self._console.height - _OTHER_LINES)
        rows = sorted(self._follower.rows.values(), key=_urgency)
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for name, width in _WIDTHS.items():
            is_price = name == "$/h"
            fitted = width or max(8, self._console.width - sum(_WIDTHS.values()) - len(_WIDTHS))
            justify: Literal["left", "right"] = "right" if is_price else "left"
            table.add_column(name, width=fitted, no_wrap=True, overflow="ellipsis", justify=justify)
        for row in rows[:room]:
            table.add_row(*_cells(row))
        more = f" · {len(rows) - room} more" if len(rows) > room else ""
        line = Text(self._follower.summary() + more, no_wrap=True, overflow="ellipsis")
        if not self._follower.total:
            return Group(table, line)
        bar = ProgressBar(total=self._follower.total, completed=self._follower.done, width=self._console.width - 20)
        count = Table.grid(padding=(0, 1))
        count.add_row(bar, Text(f"{self._follower.done}/{self._follower.total}"))
        return Group(table, count, line)


def _urgency(row: Row) -> tuple[bool, int, str]:
    status = str(row.pod.status)
    return (
        row.is_done and not row.error,
        _URGENT.index(status) if status in _URGENT else len(_URGENT),
        row.pod.pod_name or "",
    )


def _cells(row: Row) -> tuple[RenderableType, ...]:
    pod = row.pod
    status = clean(str(pod.status))
    port = pod.expose[0] if pod.expose else None
    count = f"{pod.gpu_count}x " if pod.gpu_count and pod.gpu_count > 1 else ""
    return (
        Text(clean(pod.pod_name or pod.id)),
        Text(status, style=_STYLES.get(status, "")),
        Text(span(time.monotonic() - row.since)),
        Text(clean(count + (pod.gpu_display_name or pod.gpu_type or "?"))),
        Text(clean(pod.region or "")),
        Text("" if pod.hourly_price is None else f"{pod.hourly_price:.2f}"),
        Text(clean(f"{port.host}:{port.proxy_port}") if port else ""),
    )
