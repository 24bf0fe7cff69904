"""Pods that this client has just created or deleted, of which its next polls know more than the API's answers."""

from __future__ import annotations

import math

from yotta_async.support.clock import Clock

# Lists, and even single gets, may not know a new pod for so long.
CREATE_VISIBILITY_GRACE_S = 60.0


class RecentPods:
    """The ids that were added less than a minute ago, and not discarded since."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._added_at: dict[str, float] = {}

    def add(self, pod_id: str) -> None:
        """Add an id for a minute."""
        now = self._clock.time()
        while self._added_at and next(iter(self._added_at.values())) < now - CREATE_VISIBILITY_GRACE_S:
            del self._added_at[next(iter(self._added_at))]
        self._added_at[pod_id] = now

    def discard(self, pod_id: str) -> None:
        """Remove an id, if it is there."""
        self._added_at.pop(pod_id, None)

    def __contains__(self, pod_id: object) -> bool:
        return self._clock.time() < self._added_at.get(str(pod_id), -math.inf) + CREATE_VISIBILITY_GRACE_S
