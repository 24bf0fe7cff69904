"""How many GPUs there are to rent, and how many are left."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

from yotta_async.emulator.catalogue import CATALOGUE
from yotta_async.emulator.pod import EmulatedPod

Capacity: TypeAlias = Mapping[str, int | Mapping[str, int]]
"""How many GPUs of a type there are: in all, or by region."""


class Stock:
    """What there is to rent. Raises ValueError for numbers that are none."""

    def __init__(self, capacity: Capacity | None) -> None:
        if not isinstance(capacity or {}, Mapping):
            raise TypeError("capacity must be a mapping of GPU types to numbers")
        self._capacity = dict(capacity or {})
        for entry in self._capacity.values():
            for count in entry.values() if isinstance(entry, Mapping) else (entry,):
                if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                    raise ValueError("capacity must map GPU types to whole numbers, or to whole numbers by region")
        self._renting: dict[str, EmulatedPod] = {}
        self._rented: Counter[tuple[str, str | None]] = Counter()  # by type, and by type and region

    def regions(self, gpu_type: str) -> list[str]:
        """Return where a pod may go that names no region, the usual one first."""
        entry = self._capacity.get(gpu_type)
        others = entry if isinstance(entry, Mapping) else ()
        return [CATALOGUE.default_region, *(each for each in others if each != CATALOGUE.default_region)]

    def room(self, gpu_type: str, region: str) -> float:
        """Return how many GPUs of a type are left in a region; math.inf where there is no end of them."""
        entry = self._capacity.get(gpu_type)
        if entry is None:
            return math.inf
        if isinstance(entry, Mapping):
            return entry.get(region, 0) - self._rented[gpu_type, region]
        return entry - self._rented[gpu_type, None]

    def note(self, pod: EmulatedPod, *, is_renting: bool) -> None:
        """Note whether a pod has its GPUs."""
        if is_renting == (pod.id in self._renting):
            return
        if is_renting:
            self._renting[pod.id] = pod
        else:
            del self._renting[pod.id]
        for region in (None, pod.wire.region):
            self._rented[pod.wire.gpu_type, region] += pod.wire.gpu_count if is_renting else -pod.wire.gpu_count
