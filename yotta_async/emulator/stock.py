"""How many GPUs there are to rent, and how many are left."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from yotta_async.emulator.catalogue import CATALOGUE
from yotta_async.emulator.pod import EmulatedPod

Capacity: TypeAlias = Mapping[str, int | Mapping[str, int]]
"""How many GPUs of a type there are: in all, or by region."""


class Stock:
    """What there is to rent. Raises ValueError for numbers that are none."""

    def __init__(self, capacity: Capacity | None) -> None:
        self._capacity = dict(capacity or {})
        for entry in self._capacity.values():
            for count in entry.values() if isinstance(entry, Mapping) else (entry,):
                if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                    raise ValueError("capacity must map GPU types to whole numbers, or to whole numbers by region")

    def regions(self, gpu_type: str) -> list[str]:
        """Return where a pod may go that names no region, the usual one first."""
        entry = self._capacity.get(gpu_type)
        others = entry if isinstance(entry, Mapping) else ()
        return [CATALOGUE.default_region, *(each for each in others if each != CATALOGUE.default_region)]

    def room(self, gpu_type: str, region: str, pods: Iterable[EmulatedPod]) -> float:
        """Return how many GPUs of a type are left in a region; math.inf where there is no end of them."""
        entry = self._capacity.get(gpu_type)
        if entry is None:
            return math.inf
        total = entry.get(region, 0) if isinstance(entry, Mapping) else entry
        return total - sum(
            pod.wire.gpu_count
            for pod in pods
            if pod.wire.gpu_type == gpu_type
            and (pod.wire.region == region or not isinstance(entry, Mapping))
            and pod.status in ("INITIALIZE", "RUNNING")
            and (pod.next is None or pod.next[1] != "FAILED")
        )
