"""A table on standard error that is redrawn while a command works, and erased when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import attrs
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

REDRAWS_PER_SECOND = 5
STATUS_STYLES = {
    "INITIALIZE": "yellow",
    "RUNNING": "green",
    "PAUSING": "blue",
    "PAUSED": "cyan",
    "TERMINATING": "magenta",
    "TERMINATED": "bright_black",
    "FAILED": "bold red",
}
# The name has what the other columns leave. Where it would not have enough, the last of them are left out.
COLUMN_WIDTHS_CHARS = {"name": 0, "status": 11, "for": 6, "$/h": 6, "gpu": 13, "region": 12, "port": 15}
MIN_NAME_CHARS = 18  # an id, for a pod without a name
BAR_MARGIN_CHARS = 20
# The table's header, the bar, the counts, and one free line so that nothing scrolls.
LINES_BESIDE_ROWS = 5


@attrs.frozen
class Snapshot:
    """What to draw: rows of cells by COLUMN_WIDTHS_CHARS, the most important first; total None draws no bar."""

    rows: Sequence[tuple[str, ...]]
    summary: str
    done: int
    total: int | None


class LiveTable:
    """Draws snapshots for the length of a `with` block."""

    def __init__(self, take_snapshot: Callable[[], Snapshot], console: Console | None = None) -> None:
        self._take_snapshot = take_snapshot
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=self._draw, console=self._console, refresh_per_second=REDRAWS_PER_SECOND, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with suppress(OSError):  # the terminal may be gone, as after SIGHUP
            self._live.stop()

    def _draw(self) -> RenderableType:
        snapshot = self._take_snapshot()
        shown = max(1, self._console.height - LINES_BESIDE_ROWS)
        hidden = len(snapshot.rows) - shown
        more = f", {hidden} more" if hidden > 0 else ""
        line = Text(snapshot.summary + more, no_wrap=True, overflow="ellipsis")
        table = self._build_table(snapshot.rows[:shown])
        if not snapshot.total:
            return Group(table, line)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=snapshot.total, completed=snapshot.done, width=self._console.width - BAR_MARGIN_CHARS),
            Text(f"{snapshot.done}/{snapshot.total}"),
        )
        return Group(table, bar, line)

    def _build_table(self, rows: Sequence[tuple[str, ...]]) -> Table:
        columns = list(COLUMN_WIDTHS_CHARS)
        while len(columns) > 1 and self._measure_name(columns) < MIN_NAME_CHARS:
            columns.pop()
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for column in columns:
            width = COLUMN_WIDTHS_CHARS[column] or self._measure_name(columns)
            justify: JustifyMethod = "right" if column == "$/h" else "left"
            table.add_column(column, width=width, no_wrap=True, overflow="ellipsis", justify=justify)
        for row in rows:
            cells = [Text(cell) for cell in row[: len(columns)]]
            if len(cells) > 1:
                cells[1].stylize(STATUS_STYLES.get(row[1], ""))
            table.add_row(*cells)
        return table

    def _measure_name(self, columns: Sequence[str]) -> int:
        return max(1, self._console.width - sum(COLUMN_WIDTHS_CHARS[column] + 1 for column in columns))
