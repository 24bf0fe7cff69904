"""Lists of pods that are easy to read in a terminal and in a notebook."""

from __future__ import annotations

from collections import Counter

from yotta_async.models.pod import Pod
from yotta_async.support.html import build_html_table

_SHOWN_PODS = 20
_COLUMNS = ("id", "name", "status", "GPU", "region", "$/h", "created")


class PodTable(list[Pod]):
    """The pods that `pods.list` returns. Its repr has a line for each pod; a notebook shows a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        lines = ["  ".join(cell for cell in _cells_of(pod) if cell) for pod in self[:_SHOWN_PODS]]
        if len(self) > _SHOWN_PODS:
            lines.append(f"… and {len(self) - _SHOWN_PODS} more")
        return "\n  ".join([f"<{_count(self)}>", *lines])

    def _repr_html_(self) -> str:
        return build_html_table(_count(self), _COLUMNS, map(_cells_of, self))


def _cells_of(pod: Pod) -> tuple[str, ...]:
    gpu = pod.gpu_display_name or pod.gpu_type or ""
    cells = (
        pod.id,
        pod.pod_name or "",
        str(pod.status or "?"),
        f"{pod.gpu_count}x {gpu}" if gpu and pod.gpu_count is not None else gpu,
        pod.region or "",
        "?" if pod.hourly_price is None else f"{pod.hourly_price:.2f}",
        "" if pod.created_at is None else f"{pod.created_at:%Y-%m-%d %H:%M}",
    )
    return tuple("".join(letter if letter.isprintable() else "?" for letter in cell) for cell in cells)


def _count(pods: list[Pod]) -> str:
    statuses = Counter(str(pod.status or "?") for pod in pods)
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    return f"{len(pods)} pod{'' if len(pods) == 1 else 's'}{': ' if counts else ''}{counts}"
