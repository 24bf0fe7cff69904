"""The emulated account: its pods, and how they move from state to state as time goes by.

Nothing here runs by itself: every look first lets happen what was due by then. So time may be turned in any steps.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from yotta_async.emulator.pod import EmulatedPod, new_fields
from yotta_async.emulator.ports import Ports

Scarcity: TypeAlias = Literal["fail", "refuse"]
Seconds: TypeAlias = float | tuple[float, float]


def _duration(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    least, most = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
    for part in (least, most):
        if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part < float("inf"):
            raise ValueError(f"Timings.{field.name} must be a number of seconds, or a (least, most) pair of them")
    if least > most:
        raise ValueError(f"Timings.{field.name} must have the least first")


@attrs.frozen(kw_only=True)
class Timings:
    """How many seconds a pod stays in the states that it leaves by itself: a number, or (least, most) to draw from.

    `terminated` is how long a deleted pod can still be seen. Raises ValueError for what is no span of time.
    """

    initialize: Seconds = attrs.field(default=(1.0, 3.0), validator=_duration)
    pausing: Seconds = attrs.field(default=(0.2, 0.9), validator=_duration)
    terminating: Seconds = attrs.field(default=(0.2, 0.9), validator=_duration)
    terminated: Seconds = attrs.field(default=86_400.0, validator=_duration)


class PodMissingError(Exception):
    """There is no such pod (13000)."""


class StateError(Exception):
    """The pod's status does not allow it (12001)."""


class CapacityError(Exception):
    """There is no GPU of that type left."""


class Account:
    """All pods of the one account that the emulator has."""

    def __init__(
        self,
        *,
        timings: Timings,
        seed: int,
        ports: Ports,
        capacity: Mapping[str, int] | None = None,
        scarcity: Scarcity = "fail",
    ) -> None:
        self._capacity = dict(capacity or {})
        self._scarcity = scarcity
        self._timings = timings
        self._random = random.Random(seed)  # noqa: S311  # repeats on purpose
        self._listening = ports
        self._pods: dict[str, EmulatedPod] = {}
        self._due: list[tuple[float, int, str]] = []
        self._order = itertools.count(1)
        self._last_id = 331_864_222_263_676_928
        self._ports = itertools.cycle(range(32_000, 61_000))

    def create(self, body: dict[str, Any], now: float) -> str:
        """Make a pod from the body of a create and return its id. Raises CapacityError when none is to be had."""
        self._settle(now)
        gpu_type = body.get("gpuType")
        left = self._capacity.get(gpu_type) if isinstance(gpu_type, str) else None
        is_scarce = left is not None and self._rented(gpu_type) + (body.get("gpuCount") or 1) > left
        if is_scarce and self._scarcity == "refuse":
            raise CapacityError(gpu_type)
        self._last_id += self._random.randrange(1, 2**22)
        pod_id = str(self._last_id)
        pod = EmulatedPod(
            new_fields(pod_id, body, now, host=self._listening.host, ports=self._ports, random=self._random)
        )
        self._pods[pod_id] = pod
        self._enter(pod, "INITIALIZE", now)
        if is_scarce and pod.next is not None:
            pod.next = (pod.next[0], "FAILED")
        return pod_id

    def _rented(self, gpu_type: Any) -> int:
        """Count the GPUs of a type that are rented: those of pods that run, or will."""
        return sum(
            pod.fields["gpuCount"]
            for pod in self._pods.values()
            if pod.fields["gpuType"] == gpu_type
            and pod.status in ("INITIALIZE", "RUNNING", "PENDING", "PREPARING")
            and (pod.next is None or pod.next[1] != "FAILED")
        )

    def get(self, pod_id: str, now: float) -> EmulatedPod:
        """Return one pod as it is now."""
        self._settle(now)
        if pod_id not in self._pods:
            raise PodMissingError(pod_id)
        return self._pods[pod_id]

    def list(self, regions: Collection[str], statuses: Collection[str], now: float) -> list[EmulatedPod]:
        """Return the pods in any of the regions and any of the statuses (none: all), the last change first."""
        self._settle(now)
        found = [
            pod
            for pod in self._pods.values()
            if (not statuses or pod.status in statuses) and (not regions or pod.fields["region"] in regions)
        ]
        return sorted(found, key=lambda pod: pod.changed, reverse=True)

    def pause(self, pod_id: str, now: float) -> None:
        """Begin to pause a running pod."""
        self._move(pod_id, "PAUSING", {"RUNNING"}, now)

    def resume(self, pod_id: str, now: float) -> None:
        """Begin to start a paused pod."""
        self._move(pod_id, "INITIALIZE", {"PAUSED"}, now)

    def delete(self, pod_id: str, now: float) -> None:
        """Begin to delete a pod."""
        allowed = {"INITIALIZE", "PENDING", "PREPARING", "RUNNING", "PAUSING", "PAUSED", "FAILED"}
        self._move(pod_id, "TERMINATING", allowed, now)

    def _move(self, pod_id: str, status: str, allowed: Collection[str], now: float) -> None:
        pod = self.get(pod_id, now)
        if pod.status not in allowed:
            raise StateError(pod.status)
        self._enter(pod, status, now)

    def _enter(self, pod: EmulatedPod, status: str, now: float) -> None:
        timings = self._timings
        for exposed in pod.fields["expose"]:
            if status == "RUNNING":
                self._listening.open(exposed)
            elif pod.status == "RUNNING":
                self._listening.close(exposed)
        pod.become(status, now, next(self._order))
        pod.next = None
        stay: dict[str, tuple[Seconds, str]] = {
            "INITIALIZE": (timings.initialize, "RUNNING"),
            "PAUSING": (timings.pausing, "PAUSED"),
            "TERMINATING": (timings.terminating, "TERMINATED"),
            "TERMINATED": (timings.terminated, "GONE"),
        }
        if status in stay:
            seconds, then = stay[status]
            when = now + (self._random.uniform(*seconds) if isinstance(seconds, tuple) else seconds)
            pod.next = (when, then)
            heapq.heappush(self._due, (when, next(self._order), pod.fields["id"]))

    def _settle(self, now: float) -> None:
        """Let everything happen that was due by now, in its order and at its own time."""
        while self._due and self._due[0][0] <= now:
            when, _, pod_id = heapq.heappop(self._due)
            pod = self._pods.get(pod_id)
            if pod is None or pod.next is None or pod.next[0] != when:
                continue  # another change came between
            if pod.next[1] == "GONE":
                del self._pods[pod_id]
            else:
                self._enter(pod, pod.next[1], when)
