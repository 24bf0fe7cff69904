"""How a tick looks at the pods that are waited for: each by itself, all by a list, or by a list of some statuses.

The unit of cost is the reading of id and status of one pod in a list. By the client's CPU one request costs as much as
90 to 180 of them (`python -m benchmarks hub` measures it); the lower figure counts, as a list costs the server too. So
- asking for k pods by themselves costs 90·k: the way for a few waiters, however large the account is;
- a list costs 90 + every pod of the account, a day's TERMINATED ones included: the way when most pods are waited for;
- a list of some statuses costs 90 + the pods in those, and 90 for each pod that is waited for and is in none of them,
  up to the cost of a second list that shows them all. A status is worth its place in the filter when the waiters' pods
  that are expected in it (those that were there, and as many newcomers as last time) outweigh all pods that are in it.
However cheap, no more than five pods a second are asked for by themselves: an API limits requests before bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal, TypeAlias

from yotta_async.models.status import STATUS_NUMBERS, PodStatus

_REQUEST = 90
# Without knowing how large the account is, more pods than this are asked for by a list, which tells.
_UNKNOWN = 8
_GETS_A_SECOND = 5
# A filter must save so much of an unfiltered list to be worth a second request now and then.
_WORTH = 0.7

FetchMode: TypeAlias = Literal["gets", "list"] | tuple[PodStatus, ...]


class PollStrategy:
    """What is known of the account, and the way of the next look."""

    def __init__(self) -> None:
        self._counts: Counter[str | None] | None = None
        self._arrivals: Counter[str | None] = Counter()
        # FAILED ends nearly every wait, and its number is not the API's own word but the vendor's client's.
        self._filterable = tuple(status for status in STATUS_NUMBERS if status != PodStatus.FAILED)

    def no_filter(self) -> None:
        """Note that this API refuses filters that its documents allow."""
        self._filterable = ()

    def choose(self, looked_at: int, waited_for: Counter[PodStatus | None], pause: float) -> FetchMode:
        """Return the way to look at so many of the pods that are waited for, which had these statuses."""
        arrivals, self._arrivals = self._arrivals, Counter()
        few = looked_at <= max(1.0, _GETS_A_SECOND * pause)
        if self._counts is None:
            return "gets" if few and looked_at <= _UNKNOWN else "list"
        gets = _REQUEST * looked_at if few else math.inf
        notify_every_poll = _REQUEST + self._counts.total()
        expected = Counter[str | None](waited_for) + arrivals
        inside = tuple(status for status in self._filterable if _REQUEST * expected[status] > self._counts[status])
        outside = sum(count for status, count in expected.items() if status not in inside)
        some = _REQUEST + sum(self._counts[status] for status in inside) + min(_REQUEST * outside, notify_every_poll)
        if inside and some < min(gets, _WORTH * notify_every_poll):
            return inside
        return "gets" if gets <= notify_every_poll else "list"

    def list_is_better(self, pods: int, pause: float) -> bool:
        """Whether so many pods that a filtered list did not show are better looked for by a whole one."""
        many = pods > max(1.0, _GETS_A_SECOND * pause)
        return many or (self._counts is not None and _REQUEST * pods > _REQUEST + self._counts.total())

    def arrived(self, status: PodStatus | None) -> None:
        """Note that a pod that is waited for was seen in a new status."""
        self._arrivals[status] += 1

    def listed(self, statuses: Iterable[PodStatus], counts: Counter[str | None]) -> None:
        """Note how many pods a list showed in each status; `statuses` was its filter."""
        filtered = tuple(statuses)
        if self._counts is None or not filtered:
            self._counts = counts
        else:
            self._counts.update({status: counts[status] - self._counts[status] for status in filtered})
