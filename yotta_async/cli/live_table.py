"""A table that is redrawn on a terminal while a command works, and erased when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress
from rich.text import Text

from yotta_async.cli.pod_table import BELOW
from yotta_async.cli.printing import build_table

REDRAWS_PER_SECOND = 5
# The bar, the counts, the table's header, and one free line so that nothing scrolls.
LINES_BESIDE_ROWS = 4


@attrs.frozen
class Snapshot:
    """What to draw: rows of cells, the most important first; total None draws no bar."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    summary: str
    done: int
    total: int | None


class LiveTable:
    """Draws snapshots for the length of a `with` block: counts first, so that they show at any height."""

    def __init__(self, take_snapshot: Callable[[], Snapshot], console: Console) -> None:
        self._take_snapshot = take_snapshot
        self._console = console
        self._bar = Progress(BarColumn(bar_width=None), MofNCompleteColumn(), console=console, expand=True)
        self._task = self._bar.add_task("", visible=False)
        self._live = Live(
            get_renderable=self.draw,
            console=console,
            refresh_per_second=REDRAWS_PER_SECOND,
            transient=True,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with suppress(OSError):  # the terminal may be gone, as after SIGHUP
            self._live.stop()

    def draw(self) -> RenderableType:
        """Return what is shown now."""
        snapshot = self._take_snapshot()
        shown = max(1, self._console.height - LINES_BESIDE_ROWS)
        hidden = len(snapshot.rows) - shown
        summary = snapshot.summary + (f", {hidden} more pods below" if hidden > 0 else "")
        table = build_table(snapshot.columns, snapshot.rows[:shown], self._console.width, below=BELOW)
        if not snapshot.total:
            return Group(Text(summary), table)
        self._bar.update(self._task, completed=snapshot.done, total=snapshot.total, visible=True)
        return Group(self._bar, Text(summary), table)
