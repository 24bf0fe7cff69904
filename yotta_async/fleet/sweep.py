"""Lifecycle hygiene: pausing or deleting pods that nobody needs any more. Source: the guide's "Lifecycle hygiene"."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

import attrs

from yotta_async.fleet.report import FanOutReport
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus

Match: TypeAlias = str | Callable[[Pod], bool]
"""A shell pattern for the pod's name, such as "ci-*", or a function that says yes to a Pod."""


@attrs.frozen
class SweepReport:
    """The `pods` that were chosen, and what became of each.

    `report` is None after a dry run. `unreadable_items` counts items of the list in which no pod id can be read: these
    may be pods, and are never chosen.
    """

    pods: tuple[Pod, ...]
    report: FanOutReport | None = None
    unreadable_items: int = 0

    @property
    def hourly_price(self) -> float | None:
        """What the chosen pods cost in USD an hour while they run; None when the price of any is unknown."""
        prices = [pod.hourly_price for pod in self.pods]
        return None if None in prices else sum(price for price in prices if price is not None)


def select_pods(
    pods: Sequence[Pod],
    *,
    now: datetime,
    older_than: timedelta | None,
    statuses: frozenset[PodStatus] | None,
    match: Match | None,
) -> tuple[Pod, ...]:
    """Return the pods to sweep. `statuses` None is any; a pod whose last change is unknown is not old."""

    def is_chosen(pod: Pod) -> bool:
        changed = pod.updated_at or pod.created_at
        if statuses is not None and pod.status not in statuses:
            return False
        if older_than is not None and (changed is None or now - changed < older_than):
            return False
        if isinstance(match, str):
            return fnmatch.fnmatchcase(pod.pod_name or "", match)
        return match is None or bool(match(pod))

    return tuple(pod for pod in pods if is_chosen(pod))
