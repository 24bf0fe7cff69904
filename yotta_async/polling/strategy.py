"""How to poll: each pod by itself, all by one list, or by a list of some statuses. No I/O.

The unit of cost is reading the id and status of one pod in a list. Measured by the client's CPU, one request costs as
much as 90 to 180 of them (`python -m benchmarks poller`); the lower figure counts, as a list costs the server too. So
- getting k pods costs 90·k: the way for a few waits, however large the account is;
- a list costs 90 + every pod of the account, those TERMINATED in the last day included: the way for many waits;
- a list of some statuses costs 90 + the pods in those, and 90 for each pod that is waited for and is in none of them,
  up to the cost of a second list that shows all. A status is worth filtering for when the pods that are waited for and
  expected in it (those that were in it, and as many new ones as last time) outweigh all pods that are in it.
However cheap gets are, at most five pods a second are polled by gets: an API limits requests before bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from typing import Literal, TypeAlias

from yotta_async.models.status import STATUS_NUMBERS, PodStatus

_REQUEST_COST_IN_PODS = 90
_MAX_GETS_PER_SECOND = 5
# While the size of the account is not known, more pods than this are polled by a list, which tells it.
_MAX_GETS_BEFORE_FIRST_LIST = 8
# A filtered list must save this share of a whole one, to be worth a second request now and then.
_MAX_FILTERED_COST_SHARE = 0.7

FetchMode: TypeAlias = Literal["gets", "list"] | tuple[PodStatus, ...]


class PollStrategy:
    """Chooses how to poll from what is known of the account."""

    def __init__(self) -> None:
        self._account: Counter[PodStatus | None] | None = None  # pods by status
        self._arrivals: Counter[PodStatus | None] = Counter()  # statuses that tracked pods have changed to
        # FAILED ends nearly every wait, and its number comes from the vendor's client, not from the API's documents.
        self._filterable = tuple(status for status in STATUS_NUMBERS if status != PodStatus.FAILED)

    def disable_filter(self) -> None:
        """Note that this API refuses filters that its documents allow."""
        self._filterable = ()

    def choose(self, wanted: int, expected: Counter[PodStatus | None], interval: float) -> FetchMode:
        """Return how to poll `wanted` of the tracked pods.

        `expected` counts all tracked pods by their last status; `interval` is in seconds.
        """
        arrivals, self._arrivals = self._arrivals, Counter()
        few = _are_few(wanted, interval)
        if self._account is None:
            return "gets" if few and wanted <= _MAX_GETS_BEFORE_FIRST_LIST else "list"
        gets_cost = _REQUEST_COST_IN_PODS * wanted if few else math.inf
        list_cost = self._list_cost(self._account)
        likely = expected + arrivals
        statuses = tuple(
            status for status in self._filterable if _REQUEST_COST_IN_PODS * likely[status] > self._account[status]
        )
        outside = sum(count for status, count in likely.items() if status not in statuses)
        shown = sum(self._account[status] for status in statuses)
        filtered_cost = _REQUEST_COST_IN_PODS + shown + min(_REQUEST_COST_IN_PODS * outside, list_cost)
        if statuses and filtered_cost < min(gets_cost, _MAX_FILTERED_COST_SHARE * list_cost):
            return statuses
        return "gets" if gets_cost <= list_cost else "list"

    def is_list_better(self, missing: int, interval: float) -> bool:
        """Whether a whole list is better than gets for the pods that a filtered list did not show."""
        if not _are_few(missing, interval):
            return True
        return self._account is not None and _REQUEST_COST_IN_PODS * missing > self._list_cost(self._account)

    def note_arrival(self, status: PodStatus | None) -> None:
        """Note that a tracked pod was observed in a new status."""
        self._arrivals[status] += 1

    def note_list(self, statuses: Collection[PodStatus], counts: Counter[PodStatus | None]) -> None:
        """Note how many pods a list showed in each status; `statuses` was its filter."""
        if self._account is None or not statuses:
            self._account = counts
        else:
            self._account.update({status: counts[status] - self._account[status] for status in statuses})

    @staticmethod
    def _list_cost(account: Counter[PodStatus | None]) -> int:
        return _REQUEST_COST_IN_PODS + account.total()


def _are_few(pods: int, interval: float) -> bool:
    return pods <= max(1.0, _MAX_GETS_PER_SECOND * interval)
