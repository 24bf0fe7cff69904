"""A picture of what happened to many pods: a bar for each, coloured by status over time, with failures marked.

`create_many` reports the response to each create and each outcome. For the statuses in between, pass the timeline the
events of `watch` too, or use it as `on_change`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path

import attrs

from yotta_async import FanOutItem, InvalidRequestError, Pod, PodEvent, PodStatus

# They differ in lightness, for readers who cannot tell red from green.
COLOURS = {
    **dict.fromkeys(("INITIALIZE", "PENDING", "PREPARING"), "#f2c14e"),
    "RUNNING": "#2a9d5c",
    "PAUSING": "#9db4d6",
    "PAUSED": "#5b7db1",
    "TERMINATING": "#b9a7c9",
    "TERMINATED": "#d9d9d9",
    "FAILED": "#c8324b",
}
_OTHER_COLOUR = "#8a8a8a"
_FAILURE_COLOUR = "#c8324b"
# Lengths are in pixels.
_LEFT, _WIDTH, _RIGHT, _TOP, _BOTTOM = 190, 760, 24, 78, 34
_ROW_HEIGHT, _DENSE_ROW_HEIGHT, _MAX_SPACIOUS_ROWS = 18, 11, 60
_MAX_NAME_LENGTH, _MAX_ERROR_LENGTH = 26, 500  # characters
_MIN_DURATION_S = 0.001
_MAX_TICKS = 10
_DAY_S = 86400
_TICK_INTERVALS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, _DAY_S)


@attrs.define
class _Bar:
    name: str
    statuses: list[tuple[float, str]] = attrs.field(factory=list)  # with the time at which each began
    failure: str = ""
    failed_at: float = 0.0
    ended_at: float | None = None


class Timeline:
    """The statuses of each pod over time, in the order in which the pods were first seen.

    Call it with each FanOutItem, PodEvent or Pod as soon as it is known.

    Args:
        now: A function that returns the time in seconds; by default the machine's monotonic clock. With an emulator,
            `emulator.clock.time`.

    Example:
        ```python
        timeline = Timeline()
        report = await yotta.pods.create_many(specs, until="RUNNING", on_event=timeline)
        timeline.write("run.svg")
        ```
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._start = now()
        self._bars: dict[object, _Bar] = {}

    def __call__(self, event: FanOutItem | PodEvent | Pod) -> None:
        """Record an event, as of now.

        Args:
            event: What happened to a pod.

        Raises:
            InvalidRequestError: The event is of another class.
        """
        if isinstance(event, FanOutItem):
            self._record_item(event)
        elif isinstance(event, PodEvent):
            self._record_pod(event.pod, is_removed=event.kind == "removed")
        elif isinstance(event, Pod):
            self._record_pod(event)
        else:
            raise InvalidRequestError(f"a Timeline takes FanOutItem, PodEvent or Pod, not {type(event).__name__}")

    def __len__(self) -> int:
        return len(self._bars)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file.

        Args:
            path: A name that ends in .svg or .html.

        Raises:
            InvalidRequestError: The name has another ending, or the directory does not exist.
        """
        ending = check_ending(path)
        Path(path).write_text(self.svg() if ending == ".svg" else self.html(), encoding="utf-8")

    def html(self) -> str:
        """Draw the picture as an HTML page.

        Returns:
            The page; it loads nothing from elsewhere.
        """
        style = "body{margin:0;background:#fff}svg{display:block;margin:0 auto;max-width:100%;height:auto}"
        head = f'<meta charset="utf-8"><title>{len(self)} pods</title><style>{style}</style>'
        return f'<!doctype html><html lang="en"><head>{head}</head><body>{self.svg()}</body></html>\n'

    def svg(self) -> str:
        """Draw the picture as SVG.

        Returns:
            The document; it loads nothing from elsewhere.
        """
        bars = list(self._bars.values())
        row = _ROW_HEIGHT if len(bars) <= _MAX_SPACIOUS_ROWS else _DENSE_ROW_HEIGHT
        now = self._elapsed()
        moments = [now if bar.ended_at is None else bar.ended_at for bar in bars] + [bar.failed_at for bar in bars]
        end = max([_MIN_DURATION_S, *moments, *(start for bar in bars for start, _ in bar.statuses)])
        scale = _WIDTH / end
        width, height = _LEFT + _WIDTH + _RIGHT, _TOP + row * len(bars) + _BOTTOM
        size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif">',
                f'<rect width="100%" height="{height}" fill="#ffffff"/>',
                _draw_legend(bars),
                _draw_axis(end, scale, height),
                *(_draw_bar(bar, _TOP + index * row, row, end, scale) for index, bar in enumerate(bars)),
                "</svg>\n",
            ]
        )

    def _record_item(self, item: FanOutItem) -> None:
        if item.pod is not None:
            self._record_pod(item.pod)
        name = (item.spec.pod_name if item.spec else None) or item.pod_id or "not created"
        bar = self._get_bar(item.pod_id or object(), name)
        if item.pod is None and not bar.statuses and item.pod_id is not None:
            bar.statuses.append((self._elapsed(), "INITIALIZE"))
        if item.error is not None:
            bar.failure, bar.failed_at = f"{type(item.error).__name__}: {item.error}", self._elapsed()
            if item.pod_id is None:
                bar.ended_at = self._elapsed()

    def _record_pod(self, pod: Pod, *, is_removed: bool = False) -> None:
        bar = self._get_bar(pod.id, pod.pod_name or pod.id)
        status = "TERMINATED" if is_removed else str(pod.status or "unknown")
        if not bar.statuses or bar.statuses[-1][1] != status:
            bar.statuses.append((self._elapsed(), status))
        if status == PodStatus.FAILED and not bar.failure:
            bar.failure, bar.failed_at = "it turned FAILED", self._elapsed()
        bar.ended_at = self._elapsed() if status == PodStatus.TERMINATED else None

    def _get_bar(self, key: object, name: str) -> _Bar:
        bar = self._bars.setdefault(key, _Bar(name))
        if bar.name == key:
            bar.name = name
        return bar

    def _elapsed(self) -> float:
        return self._now() - self._start


def check_ending(path: str | os.PathLike[str]) -> str:
    """Check the name of a picture's file before the work that it shows.

    Args:
        path: The name of the file.

    Returns:
        ".svg" or ".html".

    Raises:
        InvalidRequestError: The ending is neither .svg nor .html, or the directory does not exist.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".svg", ".html"):
        raise InvalidRequestError(f"a timeline is written as .svg or .html, not as {str(path)!r}")
    if not Path(path).absolute().parent.is_dir():
        raise InvalidRequestError(f"a timeline cannot be written to {str(path)!r}: no such directory")
    return ending


def _draw_bar(bar: _Bar, y: float, row: int, end: float, scale: float) -> str:
    is_dense = row == _DENSE_ROW_HEIGHT
    label = bar.name if len(bar.name) <= _MAX_NAME_LENGTH else bar.name[: _MAX_NAME_LENGTH - 1] + "…"
    parts = [_draw_text(_LEFT - 8, y + row * 0.72, label, 8 if is_dense else 11, anchor="end")]
    last = end if bar.ended_at is None else bar.ended_at
    for index, (start, status) in enumerate(bar.statuses):
        stop = bar.statuses[index + 1][0] if index + 1 < len(bar.statuses) else max(last, start)
        title = f"{bar.name}: {status} for {_format_duration(stop - start)}, from {_format_duration(start)} on"
        parts.append(
            f'<rect class="state" x="{_LEFT + start * scale:.1f}" y="{y + 1.5}" height="{row - 3}" '
            f'width="{max(1.5, (stop - start) * scale):.1f}" fill="{COLOURS.get(status, _OTHER_COLOUR)}">'
            f"{_draw_title(title)}</rect>"
        )
    if bar.failure:
        half = row / 2 - 2.5
        left, top = _LEFT + bar.failed_at * scale - half, y + row / 2 - half
        parts.append(
            f'<path class="failure" d="M{left:.1f} {top:.1f}l{2 * half:.1f} {2 * half:.1f}'
            f'm0 {-2 * half:.1f}l{-2 * half:.1f} {2 * half:.1f}" stroke="#111111" stroke-width="2.2" fill="none">'
            f"{_draw_title(f'{bar.name}: {bar.failure[:_MAX_ERROR_LENGTH]}')}</path>"
        )
    return f'<g class="pod">{"".join(parts)}</g>'


def _draw_legend(bars: list[_Bar]) -> str:
    last = Counter(bar.statuses[-1][1] for bar in bars if bar.statuses)
    seen = {status for bar in bars for _, status in bar.statuses}
    failures = sum(1 for bar in bars if bar.failure)
    parts = [
        _draw_text(_LEFT, 22, f"{len(bars)} pods", 14),
        _draw_text(_LEFT + _WIDTH, 22, "(n): pods with this status at the end", 10, anchor="end"),
    ]
    names = sorted(seen, key=lambda name: [*COLOURS, name].index(name))
    texts = [f"{name} ({last[name]})" if last[name] else name for name in names]
    widths = [30 + int(6.6 * len(text)) for text in texts]
    x = _LEFT if sum(widths) <= _WIDTH else _RIGHT
    for name, text, width in zip(names, texts, widths, strict=True):
        parts.append(f'<rect x="{x}" y="33" width="11" height="11" fill="{COLOURS.get(name, _OTHER_COLOUR)}"/>')
        parts.append(_draw_text(x + 16, 43, text, 11))
        x += width
    if failures:
        parts.append(_draw_text(_LEFT + 90, 22, f"✕ {failures} failed", 14, colour=_FAILURE_COLOUR))
    return "".join(parts)


def _draw_axis(end: float, scale: float, height: float) -> str:
    days = _DAY_S * max(1, int(end / (_DAY_S * _MAX_TICKS)))
    interval = next((interval for interval in _TICK_INTERVALS_S if end / interval <= _MAX_TICKS), days)
    parts = []
    for number in range(int(end / interval) + 1):
        x, label = _LEFT + number * interval * scale, _format_duration(number * interval)
        line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{height - 28}" stroke="#e6e6e6"/>'
        labels = [_draw_text(x, y, label, 10, anchor="middle") for y in (_TOP - 12, height - 14)]
        parts += [line, *labels]
    return "".join(parts)


def _draw_text(x: float, y: float, text: str, size: int, *, anchor: str = "start", colour: str = "#333") -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {attributes}>{_escape(text)}</text>"


def _draw_title(text: str) -> str:
    return f"<title>{_escape(text)}</title>"


def _escape(text: str) -> str:
    """Return text for XML, which allows no control characters and no unpaired surrogates."""
    return escape("".join(each if each.isprintable() else "?" for each in text))


def _format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"
