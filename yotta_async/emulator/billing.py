"""Money: a balance that runs down while pods run, and a record of each stretch that one ran."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from yotta_async.emulator.pod import EmulatedPod

# Less than this is what rounding leaves of a balance that was spent.
_NOTHING = 1e-9


@attrs.frozen
class BillingRecord:
    """One stretch that a pod ran. Times are seconds since 1970, prices US dollars; `ended_at` is None while it runs."""

    pod_id: str
    pod_name: str
    gpu_type: str
    gpu_count: int
    hourly_price: float
    started_at: float
    ended_at: float | None = None

    def cost(self, now: float) -> float:
        """Return what it has cost until now, in US dollars."""
        return (min(now, self.ended_at or now) - self.started_at) * self.hourly_price / 3600


class Billing:
    """The account's money; `balance` is None for an account whose money has no end."""

    def __init__(self, balance: float | None) -> None:
        self._left = balance
        self._as_of = 0.0  # when that was left
        self._closed: list[BillingRecord] = []
        self._open: dict[str, BillingRecord] = {}
        self._rate = 0.0  # of all that run, per second

    @property
    def records(self) -> list[BillingRecord]:
        """Every stretch, by its beginning."""
        return sorted([*self._closed, *self._open.values()], key=lambda record: (record.started_at, record.pod_id))

    def started(self, pod: EmulatedPod, now: float) -> BillingRecord:
        """Begin to bill a pod, and return its stretch."""
        self._pass(now)
        wire = pod.wire
        record = BillingRecord(pod.id, wire.pod_name, wire.gpu_type, wire.gpu_count, pod.hourly_price, started_at=now)
        self._open[pod.id] = record
        self._rate += record.hourly_price / 3600
        return record

    def stopped(self, pod_id: str, now: float) -> BillingRecord | None:
        """Bill a pod no more, and return its stretch, or None when it was not billed."""
        self._pass(now)
        record = self._open.pop(pod_id, None)
        if record is None:
            return None
        self._rate = self._rate - record.hourly_price / 3600 if self._open else 0.0
        self._closed.append(attrs.evolve(record, ended_at=now))
        return self._closed[-1]

    def balance(self, now: float) -> float | None:
        """Return what is left, in US dollars."""
        self._pass(now)
        return self._left

    def deposit(self, amount: float) -> None:
        """Add to the balance."""
        if self._left is not None:
            self._left += amount

    def empty_at(self) -> float:
        """Return when nothing will be left, in seconds since 1970; math.inf for never."""
        return math.inf if self._left is None or not self._rate else self._as_of + self._left / self._rate

    def drain(self, now: float) -> None:
        """Note that the balance has come to its end, which rounding would miss, and that nothing runs."""
        self._pass(now)
        self._left = 0.0
        self._closed += [attrs.evolve(record, ended_at=now) for record in self._open.values()]
        self._open.clear()
        self._rate = 0.0

    def restore(self, funds: float | None, records: Sequence[BillingRecord]) -> None:
        """Go on from what was kept: all the money that there ever was, and what it was spent on."""
        self._as_of = max((record.ended_at or record.started_at for record in records), default=0.0)
        if funds is not None:
            left = funds - math.fsum(record.cost(self._as_of) for record in records)
            funds = left if left > _NOTHING else 0.0
        self._left = funds
        self._closed = [record for record in records if record.ended_at is not None]
        self._open = {record.pod_id: record for record in records if record.ended_at is None}
        self._rate = math.fsum(record.hourly_price for record in self._open.values()) / 3600

    def _pass(self, now: float) -> None:
        if self._left is not None and self._open:
            self._left = max(0.0, self._left - (now - self._as_of) * self._rate)
        self._as_of = now
