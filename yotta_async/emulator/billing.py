"""Billing: a balance that decreases while pods run, and a record of each period that a pod ran."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from yotta_async.emulator.pod import EmulatedPod

_HOUR_S = 3600
_ROUNDING_ERROR_USD = 1e-9


@attrs.frozen
class BillingRecord:
    """One period that a pod ran, as `Emulator.bills` lists them.

    Attributes:
        pod_id: the pod's id.
        pod_name: the pod's name.
        gpu_type: the GPU type by v1's name, such as NVIDIA_L4_24G.
        gpu_count: how many GPUs.
        hourly_price: US dollars per hour for the whole pod.
        started_at: when the pod became RUNNING, in seconds since 1970 by the emulator's clock.
        ended_at: when it stopped running, likewise; None while it runs.

    """

    pod_id: str
    pod_name: str
    gpu_type: str
    gpu_count: int
    hourly_price: float
    started_at: float
    ended_at: float | None = None

    def cost(self, now: float) -> float:
        """Compute what the period costs.

        Args:
            now: the time up to which a pod that still runs is charged, in seconds since 1970, as
                `emulator.clock.now()` returns it.

        Returns:
            US dollars.

        """
        return (min(now, self.ended_at or now) - self.started_at) * self.hourly_price / _HOUR_S


class Billing:
    """The balance of the account, in US dollars; None is unlimited."""

    def __init__(self, balance: float | None) -> None:
        self._balance = balance
        self._charged_until = 0.0
        self._closed: list[BillingRecord] = []
        self._open: dict[str, BillingRecord] = {}
        self._usd_per_second = 0.0  # of all open records

    @property
    def records(self) -> list[BillingRecord]:
        """All records, by the time at which they begin."""
        return sorted([*self._closed, *self._open.values()], key=lambda record: (record.started_at, record.pod_id))

    def start(self, pod: EmulatedPod, now: float) -> BillingRecord:
        """Open a record for a pod that begins to run."""
        self._charge(now)
        wire = pod.wire
        record = BillingRecord(pod.id, wire.pod_name, wire.gpu_type, wire.gpu_count, pod.hourly_price, started_at=now)
        self._open[pod.id] = record
        self._usd_per_second += record.hourly_price / _HOUR_S
        return record

    def stop(self, pod_id: str, now: float) -> BillingRecord | None:
        """Close the record of a pod and return it; None if it has no open one."""
        self._charge(now)
        record = self._open.pop(pod_id, None)
        if record is None:
            return None
        self._usd_per_second = self._usd_per_second - record.hourly_price / _HOUR_S if self._open else 0.0
        self._closed.append(attrs.evolve(record, ended_at=now))
        return self._closed[-1]

    def compute_balance(self, now: float) -> float | None:
        """Charge for all open records until `now`, and return the balance."""
        self._charge(now)
        return self._balance

    def deposit(self, amount: float) -> None:
        """Add to the balance."""
        if self._balance is not None:
            self._balance += amount

    def predict_depletion(self) -> float:
        """Return when the balance reaches zero, in seconds since 1970; math.inf if it does not."""
        if self._balance is None or not self._usd_per_second:
            return math.inf
        return self._charged_until + self._balance / self._usd_per_second

    def deplete(self, now: float) -> None:
        """Set the balance to exactly zero and close all records."""
        for pod_id in list(self._open):
            self.stop(pod_id, now)
        self._balance = 0.0

    def restore(self, total_funds: float | None, records: Sequence[BillingRecord]) -> None:
        """Replace the state by a stored one: all money that was ever paid in, and all records."""
        self._charged_until = max((record.ended_at or record.started_at for record in records), default=0.0)
        self._balance = total_funds
        if total_funds is not None:
            balance = total_funds - math.fsum(record.cost(self._charged_until) for record in records)
            self._balance = balance if balance > _ROUNDING_ERROR_USD else 0.0
        self._closed = [record for record in records if record.ended_at is not None]
        self._open = {record.pod_id: record for record in records if record.ended_at is None}
        self._usd_per_second = math.fsum(record.hourly_price for record in self._open.values()) / _HOUR_S

    def _charge(self, now: float) -> None:
        if self._balance is not None and self._open:
            self._balance = max(0.0, self._balance - (now - self._charged_until) * self._usd_per_second)
        self._charged_until = now
