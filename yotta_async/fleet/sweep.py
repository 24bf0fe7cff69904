"""Lifecycle hygiene: pausing or deleting idle pods. Source: the guide's section "Lifecycle hygiene"."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import attrs

from yotta_async.errors import InvalidRequestError
from yotta_async.fleet.report import FanOutReport
from yotta_async.models.pod import Pod
from yotta_async.models.prices import total_hourly_price
from yotta_async.models.status import PodStatus, Statuses, statuses_of
from yotta_async.models.validators import seconds

Match: TypeAlias = str | Callable[[Pod], bool]
"""A shell pattern for the pod's name, such as "ci-*", or a function that says yes to a Pod."""


@attrs.frozen
class SweepReport:
    """What `sweep` chose and did.

    Attributes:
        pods: the pods that were chosen.
        report: what became of each, or None after a dry run.
        unreadable_items: how many items of the list have no pod id that can be read. These may be pods, and are never
            chosen.

    """

    pods: tuple[Pod, ...]
    report: FanOutReport | None = None
    unreadable_items: int = 0

    @property
    def hourly_price(self) -> float | None:
        """What the chosen pods cost in USD an hour while they run; None when the price of any is unknown."""
        return total_hourly_price(self.pods)


@attrs.frozen
class SweepRule:
    """Which pods to sweep."""

    action: Literal["pause", "delete"]
    older_than: timedelta | None
    statuses: frozenset[PodStatus] | None
    match: Match | None

    @classmethod
    def build(
        cls,
        action: Literal["pause", "delete"],
        older_than: float | timedelta | None,
        idle_status: Statuses | None,
        match: Match | None,
    ) -> SweepRule:
        """Check what a caller gave. Raises InvalidRequestError."""
        if older_than is None and idle_status is None and match is None:
            raise InvalidRequestError(
                'say which pods: older_than=…, idle_status=… or match=… (match="*" is all of them)'
            )
        if action not in ("pause", "delete"):
            raise InvalidRequestError('action must be "pause" or "delete"')
        if not (match is None or isinstance(match, str) or callable(match)):
            raise InvalidRequestError("match must be a pattern for names, or a function that takes a Pod")
        if not isinstance(older_than, timedelta | None):
            older_than = timedelta(seconds=seconds("older_than", older_than))
        return cls(action, older_than, None if idle_status is None else statuses_of(idle_status), match)

    def select_pods(self, pods: Sequence[Pod], now: float) -> tuple[Pod, ...]:
        """Return the pods to sweep; `now` is in seconds since 1970."""
        return tuple(pod for pod in pods if self._is_selected(pod, datetime.fromtimestamp(now, UTC)))

    def _is_selected(self, pod: Pod, now: datetime) -> bool:
        # Unknown and missing statuses can be deleted.
        is_possible = pod.status == PodStatus.RUNNING if self.action == "pause" else not pod.is_being_deleted
        if not is_possible or (self.statuses is not None and pod.status not in self.statuses):
            return False
        if self.older_than is not None:
            changed = pod.updated_at or pod.created_at
            if changed is None or now - changed < self.older_than:
                return False  # a pod whose last change is unknown is not old
        if isinstance(self.match, str):
            return fnmatch.fnmatchcase(pod.pod_name or "", self.match)
        return self.match is None or bool(self.match(pod))
