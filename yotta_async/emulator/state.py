"""The emulated account: its pods, and how they move from state to state as time goes by.

Nothing here runs by itself: every look first lets happen what was due by then. So time may be turned in any steps.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, TypeAlias

from yotta_async.emulator.billing import Billing, BillingRecord
from yotta_async.emulator.faults import Fault
from yotta_async.emulator.pod import EmulatedPod, IdForm, new_pod
from yotta_async.emulator.ports import Runtime
from yotta_async.emulator.schema import Create
from yotta_async.emulator.stock import Stock
from yotta_async.emulator.store import Store
from yotta_async.emulator.timings import Seconds, Timings
from yotta_async.emulator.validation import PodMissingError, ScarcityError, StateError

Scarcity: TypeAlias = Literal["fail", "refuse"]

_DELETABLE = ("INITIALIZE", "PENDING", "PREPARING", "RUNNING", "PAUSING", "PAUSED", "FAILED")


class Account:
    """All pods of the one account that the emulator has."""

    def __init__(
        self,
        *,
        timings: Timings,
        seed: int,
        runtime: Runtime,
        host: str = "127.0.0.1",
        stock: Stock | None = None,
        scarcity: Scarcity = "fail",
        balance: float | None = None,
        ids: IdForm = "wire",
    ) -> None:
        self._billing = Billing(balance)
        self._stock = stock or Stock(None)
        self._scarcity = scarcity
        self._timings = timings
        self._random = random.Random(seed)  # noqa: S311  # repeats on purpose
        self._runtime = runtime
        self._store: Store | None = None
        self._host = host
        self._ids = ids
        self._pods: dict[str, EmulatedPod] = {}
        self._due: list[tuple[float, int, str]] = []
        self._stuck: set[str] = set()
        self._order = itertools.count(1)
        self._last_id = 331_864_222_263_676_928
        self._proxy_ports = itertools.cycle(range(32_000, 61_000))

    def create(self, create: Create, now: float, faults: Iterable[Fault] = ()) -> int:
        """Make a pod and return its id. Raises ScarcityError when it is refused."""
        self.settle(now)
        if self._billing.balance(now) == 0:
            raise ScarcityError("insufficient balance")
        count = create.gpu_count or 1
        regions = [create.region] if create.region else create.region_list or self._stock.regions(create.gpu_type)
        region = next((each for each in regions if self._room(create.gpu_type, each) >= count), None)
        if region is None and self._scarcity == "refuse":
            raise ScarcityError(f"insufficient capacity for {create.gpu_type}")
        self._last_id += self._random.randrange(1, 2**22)
        pod = new_pod(
            self._last_id,
            create,
            region or regions[0],
            now,
            host=self._host,
            ports=self._proxy_ports,
            random=self._random,
            ids=self._ids,
        )
        pod.faults = tuple(faults)
        self._pods[pod.id] = pod
        try:
            self._enter(pod, "INITIALIZE", now, "FAILED" if region is None else None)
        except sqlite3.Error:
            self._forget(pod)  # it could not be kept, and nobody hears of it
            raise
        return self._last_id

    def get(self, pod_id: str, now: float) -> EmulatedPod:
        """Return one pod as it is now."""
        self.settle(now)
        if pod_id not in self._pods:
            raise PodMissingError(pod_id)
        return self._pods[pod_id]

    def name_of(self, pod_id: str) -> str | None:
        """Return the name of a pod, or None when there is no such one."""
        pod = self._pods.get(pod_id)
        return pod.wire.pod_name if pod else None

    def list(self, regions: Collection[str], statuses: Collection[str], now: float) -> list[EmulatedPod]:
        """Return the pods in any of the regions and any of the statuses (none: all), the last change first."""
        self.settle(now)
        found = [
            pod
            for pod in self._pods.values()
            if (not statuses or pod.shown in statuses) and (not regions or pod.wire.region in regions)
        ]
        return sorted(found, key=lambda pod: pod.changed, reverse=True)

    def pause(self, pod_id: str, now: float) -> None:
        """Begin to pause a running pod."""
        self._enter(self._allowed(pod_id, ("RUNNING",), now), "PAUSING", now)

    def resume(self, pod_id: str, now: float) -> None:
        """Begin to start a paused pod. Raises ScarcityError when it is refused."""
        pod = self._allowed(pod_id, ("PAUSED",), now)
        if self._billing.balance(now) == 0:
            raise ScarcityError("insufficient balance")
        is_scarce = self._room(pod.wire.gpu_type, pod.wire.region) < pod.wire.gpu_count
        if is_scarce and self._scarcity == "refuse":
            raise ScarcityError(f"insufficient capacity for {pod.wire.gpu_type}")
        self._enter(pod, "INITIALIZE", now, "FAILED" if is_scarce else None)

    def delete(self, pod_id: str, now: float) -> None:
        """Begin to delete a pod."""
        self._enter(self._allowed(pod_id, _DELETABLE, now), "TERMINATING", now)

    def failed(self, pod_id: str, now: float) -> None:
        """Note that a pod that ran has ended by itself."""
        pod = self._pods.get(pod_id)
        if pod is not None and pod.status == "RUNNING":
            self._enter(pod, "FAILED", now)

    def clear(self, now: float) -> None:
        """Forget all pods, at once and without a trace."""
        self.settle(now)
        for pod in list(self._pods.values()):
            bills = self._rest(pod, now)
            if bills and self._store:
                self._store.save(pod, bills)
            self._forget(pod)
        self._due.clear()
        self._stuck.clear()
        if self._store:
            self._store.note(now)

    def keep(self, store: Store, now: float) -> None:
        """Take up what a file has kept, as it would be now had time gone on meanwhile, and keep everything there."""
        self._store = store
        past = store.past
        self._billing.restore(past.funds, past.bills)
        self._last_id = max(self._last_id, past.last_id or 0)
        for pod in past.pods:
            self._pods[pod.id] = pod
            self._stock.note(pod, is_renting=_is_renting(pod))
            self._order = itertools.count(max(next(self._order), pod.changed[1] + 1))
            if pod.next is not None:
                if past.now is not None and pod.next[0] <= past.now:
                    pod.next = (now, pod.next[1])  # a fault held it back, which ended with its emulator
                heapq.heappush(self._due, (pod.next[0], next(self._order), pod.id))
            pod.heal(is_healthy=False)
            if pod.status == "RUNNING":
                self._runtime.start(pod)
        self.settle(now)

    def next_due(self) -> float:
        """Return when something is to happen next, in seconds since 1970; math.inf for never."""
        return min(self._due[0][0] if self._due else math.inf, self._billing.empty_at())

    def settle(self, now: float) -> None:
        """Let everything happen that was due by now, in its order and at its own time."""
        while (when := self.next_due()) <= now:
            if when == self._billing.empty_at():
                self._end_all(when)
                continue
            _, _, pod_id = heapq.heappop(self._due)
            pod = self._pods.get(pod_id)
            if pod is None or pod.next is None or pod.next[0] != when:
                continue  # another change came between
            if self._is_stuck(pod_id):
                self._stuck.add(pod_id)
            elif pod.next[1] == "GONE":
                self._forget(pod)
            else:
                is_to_fail = pod.next[1] == "RUNNING" and pod.fault("failed")
                self._enter(pod, "FAILED" if is_to_fail else pod.next[1], when)

    def balance(self, now: float) -> float | None:
        """Return what is left, in US dollars; None for no end of it."""
        self.settle(now)
        return self._billing.balance(now)

    def money(self, now: float) -> tuple[float | None, Sequence[BillingRecord]]:
        """Return what is left and every stretch, as far as is known, letting nothing more happen."""
        return self._billing.balance(now), self._billing.records

    def bills(self, now: float) -> Sequence[BillingRecord]:
        """Return every stretch that a pod ran, by its beginning."""
        self.settle(now)
        return self._billing.records

    def deposit(self, amount: float, now: float) -> None:
        """Add to the balance, in US dollars."""
        self.settle(now)
        if self._store:
            self._store.deposit(amount, now)
        self._billing.deposit(amount)

    def free(self, now: float) -> None:
        """Let go on, from now on, what faults held back that are not there any more."""
        for pod in self._pods.values():
            if pod.status == "RUNNING" and any(each.kind == "unhealthy_port" for each in pod.faults):
                self._runtime.stop(pod)
                self._runtime.start(pod)
        for pod_id in [each for each in self._stuck if not self._is_stuck(each)]:
            self._stuck.discard(pod_id)
            pod = self._pods[pod_id]
            if pod.next is not None:
                pod.next = (now, pod.next[1])
                heapq.heappush(self._due, (now, next(self._order), pod_id))

    def _is_stuck(self, pod_id: str) -> bool:
        pod = self._pods.get(pod_id)
        return pod is not None and pod.fault("stuck", pod.status) is not None

    def _end_all(self, now: float) -> None:
        """Terminate every pod, as the vendor does when the balance has come to its end."""
        for pod in list(self._pods.values()):
            if pod.status in _DELETABLE:
                self._enter(pod, "TERMINATING", now)
        self._billing.drain(now)

    def _room(self, gpu_type: str, region: str) -> float:
        return self._stock.room(gpu_type, region)

    def _allowed(self, pod_id: str, statuses: Collection[str], now: float) -> EmulatedPod:
        pod = self.get(pod_id, now)
        if pod.status not in statuses:
            raise StateError(pod.status)
        return pod

    def _enter(self, pod: EmulatedPod, status: str, now: float, then: str | None = None) -> None:
        """Let a pod enter a state, and plan how it leaves it: as usual, or to the state `then`."""
        bills = [*self._rest(pod, now)] if pod.status == "RUNNING" else []
        pod.become(status, now, next(self._order))
        if status == "RUNNING":
            bills.append(self._billing.started(pod, now))
            self._runtime.start(pod)
        timings = self._timings
        stay: dict[str, tuple[Seconds, str]] = {
            "INITIALIZE": (timings.initialize, "RUNNING"),
            "PAUSING": (timings.pausing, "PAUSED"),
            "TERMINATING": (timings.terminating, "TERMINATED"),
            "TERMINATED": (timings.terminated, "GONE"),
        }
        pod.next = None
        self._stuck.discard(pod.id)
        if status in stay:
            seconds, usual = stay[status]
            pod.next = (
                now + (self._random.uniform(*seconds) if isinstance(seconds, tuple) else seconds),
                then or usual,
            )
            heapq.heappush(self._due, (pod.next[0], next(self._order), pod.id))
        self._stock.note(pod, is_renting=_is_renting(pod))
        if status == "TERMINATED":
            self._runtime.remove(pod)
        if self._store:
            self._store.save(pod, bills)

    def _rest(self, pod: EmulatedPod, now: float) -> Sequence[BillingRecord]:
        self._runtime.stop(pod)
        record = self._billing.stopped(pod.id, now)
        return [] if record is None else [record]

    def _forget(self, pod: EmulatedPod) -> None:
        del self._pods[pod.id]
        self._stuck.discard(pod.id)
        self._runtime.remove(pod)
        self._runtime.forget(pod)
        self._stock.note(pod, is_renting=False)
        if self._store:
            self._store.forget(pod)


def _is_renting(pod: EmulatedPod) -> bool:
    """Whether a pod has its GPUs: those that run or will."""
    return pod.status in ("INITIALIZE", "RUNNING") and (pod.next is None or pod.next[1] != "FAILED")
