"""The figures as bars, one panel for each benchmark's headline."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.measure import Row

PANELS = [
    ("single", "64 in flight", "One pod, 64 calls in flight\n(rate, raw aiohttp = 1; more is better)"),
    ("lists", "10,000 pods", "A list of 10,000 pods\n(CPU, aiohttp + pydantic = 1; less is better)"),
    ("poller", "1,000 waiters", "1,000 waiters\n(CPU, one poller = 1; less is better)"),
    ("imports", "import", "Import\n(CPU, core packages = 1; less is better)"),
]


def draw(rows: list[Row], path: Path, subtitle: str) -> None:
    """Write the chart as SVG."""
    mpl.rcParams |= {"svg.hashsalt": "yotta_async", "svg.fonttype": "none", "font.family": "sans-serif"}
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    for panel, (benchmark, case, title) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        shown = [row for row in rows if (row.benchmark, row.case) == (benchmark, case)]
        names = [row.client for row in shown]
        bars = panel.barh(
            names, [row.value for row in shown], color=["#3b6fd4" if "yotta" in name else "#b9bec9" for name in names]
        )
        panel.bar_label(bars, fmt="%.2f", padding=3)
        panel.invert_yaxis()
        panel.set_title(title, fontsize=10)
        panel.margins(x=0.15)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"python -m benchmarks ({subtitle})", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
