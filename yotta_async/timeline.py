"""A picture of what became of many pods: a bar for each, coloured by its state over time, with the failures marked.

    timeline = Timeline()
    report = await yotta.pods.create_many(specs, until="RUNNING", on_event=timeline)
    timeline.write("run.svg")

What is in it is what it was told: of `create_many` the answer of each create and each outcome. Give it the events of
`watch` too, or each Pod of an `on_change`, and it shows the states in between.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path

import attrs

from yotta_async.errors import InvalidRequestError
from yotta_async.fleet.report import FanOutItem
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus
from yotta_async.polling.watch import PodEvent

# Told apart by those who see no red and green too: by lightness, and by what stands in the legend.
COLOURS = {
    "INITIALIZE": "#f2c14e",
    "PENDING": "#f2c14e",
    "PREPARING": "#f2c14e",
    "RUNNING": "#2a9d5c",
    "PAUSING": "#9db4d6",
    "PAUSED": "#5b7db1",
    "TERMINATING": "#b9a7c9",
    "TERMINATED": "#d9d9d9",
    "FAILED": "#c8324b",
}
_OTHER = "#8a8a8a"
_MARK = "#c8324b"
_LEFT, _WIDTH, _RIGHT, _TOP = 190, 760, 24, 78
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@attrs.define
class _Bar:
    name: str
    states: list[tuple[float, str]] = attrs.field(factory=list)  # since when which
    problem: str = ""
    problem_at: float = 0.0
    ended: float | None = None


class Timeline:
    """What was seen of each pod, and when, in the order in which the pods were first seen.

    Call it with a FanOutItem, a PodEvent or a Pod, at the time at which that is known; `now` tells the time in seconds.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began = now()
        self._bars: dict[object, _Bar] = {}

    def __call__(self, event: FanOutItem | PodEvent | Pod) -> None:
        """Note what is told, as of now. Raises InvalidRequestError for what is none of the three."""
        if isinstance(event, FanOutItem):
            self._item(event)
        elif isinstance(event, PodEvent):
            self._pod(event.pod, is_gone=event.kind == "removed")
        elif isinstance(event, Pod):
            self._pod(event)
        else:
            raise InvalidRequestError(f"a Timeline takes FanOutItem, PodEvent or Pod, not {type(event).__name__}")

    def __len__(self) -> int:
        return len(self._bars)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, by its ending: .svg, or .html. Raises InvalidRequestError for another."""
        ending = check_ending(path)
        Path(path).write_text(self.svg() if ending == ".svg" else self.html(), encoding="utf-8")

    def html(self) -> str:
        """Return the picture as a page of its own, that needs nothing else."""
        style = "body{margin:0;background:#fff}svg{display:block;margin:0 auto;max-width:100%;height:auto}"
        head = f'<meta charset="utf-8"><title>{len(self)} pods</title><style>{style}</style>'
        return f'<!doctype html><html lang="en"><head>{head}</head><body>{self.svg()}</body></html>\n'

    def svg(self) -> str:
        """Return the picture as SVG, that needs nothing else."""
        row = 18 if len(self._bars) <= 60 else 11
        until = max([self._now() - self._began if self._is_open() else 0.0, *self._moments(), 0.001])
        height = _TOP + row * len(self._bars) + 34
        scale = _WIDTH / until
        bars = [
            self._drawn(bar, _TOP + place * row, row, until, scale) for place, bar in enumerate(self._bars.values())
        ]
        width = _LEFT + _WIDTH + _RIGHT
        size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif">',
                f'<rect width="100%" height="{height}" fill="#ffffff"/>',
                self._legend(),
                self._axis(until, scale, height),
                *bars,
                "</svg>\n",
            ]
        )

    # What was seen

    def _item(self, item: FanOutItem) -> None:
        if item.pod is not None:
            self._pod(item.pod)
        name = (item.spec.pod_name if item.spec else None) or item.pod_id or "not created"
        bar = self._bar(item.pod_id or object(), name)
        if item.pod is None and not bar.states and item.pod_id is not None:
            bar.states.append((self._time(), "INITIALIZE"))
        if item.error is not None:
            bar.problem, bar.problem_at = f"{type(item.error).__name__}: {item.error}", self._time()
            if item.pod_id is None:
                bar.ended = self._time()

    def _pod(self, pod: Pod, *, is_gone: bool = False) -> None:
        bar = self._bar(pod.id, pod.pod_name or pod.id)
        status = "TERMINATED" if is_gone else str(pod.status or "unknown")
        if not bar.states or bar.states[-1][1] != status:
            bar.states.append((self._time(), status))
        if status == PodStatus.FAILED and not bar.problem:
            bar.problem, bar.problem_at = "it turned FAILED", self._time()
        bar.ended = self._time() if status == PodStatus.TERMINATED else None

    def _bar(self, key: object, name: str) -> _Bar:
        bar = self._bars.setdefault(key, _Bar(name))
        if bar.name == key:
            bar.name = name
        return bar

    def _time(self) -> float:
        return self._now() - self._began

    def _is_open(self) -> bool:
        return any(bar.ended is None for bar in self._bars.values())

    def _moments(self) -> list[float]:
        return [
            moment
            for bar in self._bars.values()
            for moment in (*(since for since, _ in bar.states), bar.ended, bar.problem_at)
            if moment is not None
        ]

    # How it is drawn

    def _drawn(self, bar: _Bar, y: float, row: int, until: float, scale: float) -> str:
        size = 11 if row > 12 else 8
        label = bar.name if len(bar.name) <= 26 else bar.name[:25] + "…"
        end = until if bar.ended is None else bar.ended
        parts = [_text(_LEFT - 8, y + row * 0.72, label, size, anchor="end")]
        for place, (since, status) in enumerate(bar.states):
            then = bar.states[place + 1][0] if place + 1 < len(bar.states) else max(end, since)
            parts.append(
                f'<rect class="state" x="{_LEFT + since * scale:.1f}" y="{y + 1.5}" height="{row - 3}" '
                f'width="{max(1.5, (then - since) * scale):.1f}" fill="{COLOURS.get(status, _OTHER)}">'
                f"{_title(f'{bar.name}: {status} for {_span(then - since)}, from {_span(since)} on')}</rect>"
            )
        if bar.problem:
            x = _LEFT + bar.problem_at * scale
            half = row / 2 - 2.5
            middle = y + row / 2
            parts.append(
                f'<path class="failure" d="M{x - half:.1f} {middle - half:.1f}l{2 * half:.1f} {2 * half:.1f}'
                f'm0 {-2 * half:.1f}l{-2 * half:.1f} {2 * half:.1f}" stroke="#111111" stroke-width="2.2" fill="none">'
                f"{_title(f'{bar.name}: {bar.problem[:500]}')}</path>"
            )
        return f'<g class="pod">{"".join(parts)}</g>'

    def _legend(self) -> str:
        last = Counter(bar.states[-1][1] for bar in self._bars.values() if bar.states)
        seen = {status for bar in self._bars.values() for _, status in bar.states}
        failures = sum(1 for bar in self._bars.values() if bar.problem)
        parts = [_text(_LEFT, 22, f"{len(self)} pods", 14)]
        x = _LEFT
        for status in sorted(seen, key=lambda name: [*COLOURS, name].index(name)):
            text = f"{status} ({last[status]} at the end)" if last[status] else status
            parts.append(
                f'<rect x="{x}" y="33" width="11" height="11" fill="{COLOURS.get(status, _OTHER)}"/>'
                + _text(x + 16, 43, text, 11)
            )
            x += 30 + int(6.4 * len(text))
        if failures:
            parts.append(_text(_LEFT + 90, 22, f"✕ {failures} failed", 14, colour=_MARK))
        return "".join(parts)

    def _axis(self, until: float, scale: float, height: float) -> str:
        step = next((step for step in _STEPS if until / step <= 10), 86400 * max(1, int(until / 864000)))
        parts = []
        for number in range(int(until / step) + 1):
            x = _LEFT + number * step * scale
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{height - 28}" stroke="#e6e6e6"/>'
                + _text(x, _TOP - 12, _span(number * step), 10, anchor="middle")
                + _text(x, height - 14, _span(number * step), 10, anchor="middle")
            )
        return "".join(parts)


def check_ending(path: str | os.PathLike[str]) -> str:
    """Return the ending of a picture's file.

    Raises InvalidRequestError for one that is neither .svg nor .html, and for a directory that is not there.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".svg", ".html"):
        raise InvalidRequestError(f"a timeline is written as .svg or .html, not as {str(path)!r}")
    if not Path(path).absolute().parent.is_dir():
        raise InvalidRequestError(f"a timeline cannot be written to {str(path)!r}: there is no such directory")
    return ending


def _text(x: float, y: float, text: str, size: int, *, anchor: str = "start", colour: str = "#333") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{_clean(text)}</text>"


def _title(text: str) -> str:
    return f"<title>{_clean(text)}</title>"


def _clean(text: str) -> str:
    """Return a server's text as XML can have it: without control characters and half surrogate pairs."""
    return escape("".join(each if each.isprintable() else "?" for each in text))


def _span(seconds: float) -> str:
    """Write a span of time as short as it can be read."""
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"
