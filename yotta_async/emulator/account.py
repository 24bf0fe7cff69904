"""The emulated account: its pods and their status changes, its GPUs and its money.

Nothing here runs by itself: every call first applies all changes that were due before it, each at its own time. So time
may move in steps of any size. All times are seconds since 1970.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

from yotta_async.emulator.billing import Billing, BillingRecord
from yotta_async.emulator.catalogue import CATALOGUE, CapacityPool, GpuType
from yotta_async.emulator.faults import Fault
from yotta_async.emulator.pod import EmulatedPod, IdForm, build_pod
from yotta_async.emulator.runtime import Runtime
from yotta_async.emulator.schema import Create, ErrorResponse
from yotta_async.emulator.statuses import DELETABLE, NEXT_STATUS, Timings
from yotta_async.emulator.store import Store

Scarcity: TypeAlias = Literal["fail", "refuse"]

_FIRST_POD_ID = 331_864_222_263_676_928
_PROXY_PORTS = range(32_000, 61_000)
# What follows TERMINATED: the pod is no longer visible.
_GONE = "GONE"


class PodNotFoundError(ErrorResponse):
    """The pod does not exist."""

    code = 13000


class WrongStatusError(ErrorResponse):
    """The pod's status does not allow the operation."""

    code = 12001


class InsufficientResourcesError(ErrorResponse):
    """No GPU of the type is free, or the balance is zero. No source documents the code: 10001 is a guess."""


class Account:
    """The one account that an emulator has."""

    def __init__(
        self,
        *,
        timings: Timings,
        seed: int,
        runtime: Runtime,
        host: str,
        pool: CapacityPool,
        scarcity: Scarcity,
        balance: float | None,
        ids: IdForm,
    ) -> None:
        self._billing = Billing(balance)
        self._pool = pool
        self._scarcity = scarcity
        self._timings = timings
        self._random = random.Random(seed)  # noqa: S311  # repeats on purpose
        self._runtime = runtime
        self._store: Store | None = None
        self._host = host
        self._ids = ids
        self._pods: dict[str, EmulatedPod] = {}
        self._due: list[tuple[float, int, str]] = []  # a heap of planned transitions: time, number, pod id
        self._numbers = itertools.count(1)
        self._last_id = _FIRST_POD_ID
        self._proxy_ports = itertools.cycle(_PROXY_PORTS)

    def create(self, create: Create, now: float, faults: Iterable[Fault] = ()) -> EmulatedPod:
        """Create a pod and return it. Raises InsufficientResourcesError if it is refused."""
        self._check_balance(now)
        count = create.gpu_count or 1
        pool, gpu_type = self._pool, CATALOGUE.describe_gpu_type(create.gpu_type).v1
        regions = [create.region] if create.region else create.region_list or pool.list_regions(gpu_type)
        region = next((name for name in regions if pool.count_free(gpu_type, name) >= count), None)
        if region is None:
            self._check_scarcity(gpu_type)
        self._last_id += self._random.randrange(1, 2**22)
        pod = build_pod(
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
            self._change_status(pod, "INITIALIZE", now, will_fail=region is None)
        except sqlite3.Error:
            self._remove(pod)  # it could not be stored, and the response is an error
            raise
        return pod

    def get(self, pod_id: str, now: float) -> EmulatedPod:
        """Return a pod. Raises PodNotFoundError."""
        self.apply_due_changes(now)
        if pod_id not in self._pods:
            raise PodNotFoundError("pod not found")
        return self._pods[pod_id]

    def find_name(self, pod_id: str) -> str | None:
        """Return the name of a pod, or None if it does not exist."""
        pod = self._pods.get(pod_id)
        return pod.wire.pod_name if pod else None

    def list(self, regions: Collection[str], statuses: Collection[str], now: float) -> list[EmulatedPod]:
        """Return the pods in any of the regions and any of the statuses (empty: all), the last changed first."""
        self.apply_due_changes(now)
        found = [
            pod
            for pod in self._pods.values()
            if (not statuses or pod.visible_status in statuses) and (not regions or pod.wire.region in regions)
        ]
        return sorted(found, key=lambda pod: pod.last_change, reverse=True)

    def list_gpu_types(self, now: float) -> Iterator[tuple[GpuType, dict[str, bool]]]:
        """Return every GPU type, and by region whether a GPU of it is free."""
        self.apply_due_changes(now)
        return self._pool.list_availability()

    def pause(self, pod_id: str, now: float) -> None:
        """Start to pause a running pod. Raises WrongStatusError or PodNotFoundError."""
        self._change_status(self._get_in_status(pod_id, ("RUNNING",), now), "PAUSING", now)

    def resume(self, pod_id: str, now: float) -> None:
        """Start a paused pod again. Raises as `pause` does, or InsufficientResourcesError if it is refused."""
        pod = self._get_in_status(pod_id, ("PAUSED",), now)
        self._check_balance(now)
        wire = pod.wire
        is_scarce = self._pool.count_free(wire.gpu_type, wire.region) < wire.gpu_count
        if is_scarce:
            self._check_scarcity(wire.gpu_type)
        self._change_status(pod, "INITIALIZE", now, will_fail=is_scarce)

    def delete(self, pod_id: str, now: float) -> None:
        """Start to delete a pod. Raises as `pause` does."""
        self._change_status(self._get_in_status(pod_id, DELETABLE, now), "TERMINATING", now)

    def mark_failed(self, pod_id: str, now: float) -> None:
        """Record that the process of a running pod has ended by itself."""
        pod = self._pods.get(pod_id)
        if pod is not None and pod.status == "RUNNING":
            self._change_status(pod, "FAILED", now)

    def clear(self, now: float) -> None:
        """Remove all pods at once, without a status change."""
        self.apply_due_changes(now)
        for pod in list(self._pods.values()):
            records = self._stop_running(pod, now)
            if records and self._store:
                self._store.save(pod, records)
            self._remove(pod)
        self._due.clear()
        if self._store:
            self._store.save_time(now)

    def restore(self, store: Store, now: float) -> None:
        """Continue from a store as if time had gone on meanwhile, and save all changes there from now on."""
        self._store = store
        stored = store.loaded
        self._billing.restore(stored.total_funds, stored.bills)
        self._last_id = max(self._last_id, stored.last_id or 0)
        last_number = max((pod.last_change[1] for pod in stored.pods), default=0)
        self._numbers = itertools.count(last_number + 1)
        for pod in stored.pods:
            self._pods[pod.id] = pod
            self._update_pool(pod)
            if pod.next_transition is not None:
                when, status = pod.next_transition
                if stored.now is not None and when <= stored.now:
                    when = now  # a fault delayed it, which has ended with its emulator
                self._plan(pod, when, status)
            pod.set_unhealthy()
            if pod.status == "RUNNING":
                self._runtime.start(pod)
        self.apply_due_changes(now)

    def apply_due_changes(self, now: float) -> None:
        """Apply every status change that was due by now, in order and at its own time."""
        while True:
            depletion = self._billing.predict_depletion()
            when = min(self._due[0][0], depletion) if self._due else depletion
            if when > now:
                return
            if when == depletion:
                self._terminate_all(when)
                continue
            _, _, pod_id = heapq.heappop(self._due)
            pod = self._pods.get(pod_id)
            if pod is None or pod.next_transition is None or pod.next_transition[0] != when:
                continue  # another change has replaced this one
            status = pod.next_transition[1]
            if pod.find_fault("stuck", pod.status):
                continue  # `release_pods` continues it
            if status == _GONE:
                self._remove(pod)
            else:
                self._change_status(pod, "FAILED" if status == "RUNNING" and pod.find_fault("failed") else status, when)

    def get_money(self, now: float, *, is_final: bool = False) -> tuple[float | None, Sequence[BillingRecord]]:
        """Return the balance in US dollars (None if unlimited) and all bills; `is_final` applies no more changes."""
        if not is_final:
            self.apply_due_changes(now)
        return self._billing.compute_balance(now), self._billing.records

    def deposit(self, amount: float, now: float) -> None:
        """Add US dollars to the balance."""
        self.apply_due_changes(now)
        if self._store:
            self._store.deposit(amount, now)
        self._billing.deposit(amount)

    def release_pods(self, now: float) -> None:
        """Let pods continue, from now on, that were held by faults which are no longer active."""
        for pod in self._pods.values():
            if pod.status == "RUNNING" and any(fault.kind == "unhealthy_port" for fault in pod.faults):
                self._runtime.stop(pod)
                self._runtime.start(pod)
            if pod.next_transition is not None and pod.next_transition[0] <= now:  # it is overdue
                self._plan(pod, now, pod.next_transition[1])

    def _check_balance(self, now: float) -> None:
        self.apply_due_changes(now)
        if self._billing.compute_balance(now) == 0:
            raise InsufficientResourcesError("insufficient balance")

    def _check_scarcity(self, gpu_type: str) -> None:
        if self._scarcity == "refuse":
            raise InsufficientResourcesError(f"insufficient capacity for {gpu_type}")

    def _terminate_all(self, now: float) -> None:
        """Delete every pod, as the vendor does when the balance reaches zero."""
        for pod in list(self._pods.values()):
            if pod.status in DELETABLE:
                self._change_status(pod, "TERMINATING", now)
        self._billing.deplete(now)

    def _get_in_status(self, pod_id: str, statuses: Collection[str], now: float) -> EmulatedPod:
        pod = self.get(pod_id, now)
        if pod.status not in statuses:
            raise WrongStatusError(f"the pod's status {pod.status} does not allow this operation")
        return pod

    def _change_status(self, pod: EmulatedPod, status: str, now: float, *, will_fail: bool = False) -> None:
        """Enter a status, and plan the next one: the usual one, or FAILED."""
        bills = [*self._stop_running(pod, now)] if pod.status == "RUNNING" else []
        pod.set_status(status, now, next(self._numbers))
        if status == "RUNNING":
            bills.append(self._billing.start(pod, now))
            self._runtime.start(pod)
        pod.next_transition = None
        seconds = self._timings.draw_seconds(status, self._random)
        if seconds is not None:
            self._plan(pod, now + seconds, "FAILED" if will_fail else NEXT_STATUS.get(status, _GONE))
        self._update_pool(pod)
        if status == "TERMINATED":
            self._runtime.remove(pod, keep_log=True)
        if self._store:
            self._store.save(pod, bills)

    def _plan(self, pod: EmulatedPod, when: float, status: str) -> None:
        pod.next_transition = (when, status)
        heapq.heappush(self._due, (when, next(self._numbers), pod.id))

    def _update_pool(self, pod: EmulatedPod) -> None:
        wire = pod.wire
        self._pool.set_held(pod.id, wire.gpu_type, wire.region, wire.gpu_count if pod.holds_gpus else 0)

    def _stop_running(self, pod: EmulatedPod, now: float) -> Sequence[BillingRecord]:
        self._runtime.stop(pod)
        record = self._billing.stop(pod.id, now)
        return [] if record is None else [record]

    def _remove(self, pod: EmulatedPod) -> None:
        del self._pods[pod.id]
        self._runtime.remove(pod, keep_log=False)
        self._pool.set_held(pod.id, pod.wire.gpu_type, pod.wire.region, 0)
        if self._store:
            self._store.delete(pod)
