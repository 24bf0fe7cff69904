"""What the emulated cloud rents: GPU types, their sizes and prices, regions (gpus.json), and how many GPUs are free."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, ValidationError, convert, json

Capacity: TypeAlias = Mapping[str, int | Mapping[str, int]]
"""How many GPUs of a type exist: in total, or by region."""
_GpuCount: TypeAlias = Annotated[int, Meta(ge=0)]


class GpuType(Struct, frozen=True):
    """One GPU of a type. Sizes are in GB, the price is in US dollars per hour."""

    display_name: str
    vram: int
    ram: int
    vcpu: int
    price: float


class Catalogue(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of gpus.json. `volume_price` is per GB and hour; `regions` maps a region to its location."""

    about: str
    gpu_types: dict[str, GpuType]
    regions: dict[str, str]
    default_region: str
    volume_price: float
    container_volume_gb: int

    def describe_gpu_type(self, name: str) -> GpuType:
        """Return the entry of a GPU type, or filler values for an unknown one."""
        if name in self.gpu_types:
            return self.gpu_types[name]
        size = re.search(r"_(\d{1,4})G$", name)
        vram = int(size[1]) if size else 16
        return GpuType(name.removeprefix("NVIDIA_").replace("_", " ")[:60], vram, 2 * vram, 8, round(vram * 0.03, 2))


CATALOGUE = json.decode((Path(__file__).parent / "gpus.json").read_bytes(), type=Catalogue)


class CapacityPool:
    """How many GPUs exist and how many pods hold. Raises ValueError for a capacity that is not numbers."""

    def __init__(self, capacity: Capacity | None) -> None:
        try:
            self._capacity = convert(capacity or {}, dict[str, _GpuCount | dict[str, _GpuCount]])
        except ValidationError:
            problem = "capacity must map GPU types to whole numbers, or to whole numbers by region"
            raise ValueError(f"{problem}, not {capacity!r}") from None
        self._held_by_pod: dict[str, int] = {}
        self._held: Counter[tuple[str, str | None]] = Counter()  # by GPU type, and by GPU type and region

    def list_regions(self, gpu_type: str) -> list[str]:
        """Return the regions for a pod that requests none, the default region first."""
        entry = self._capacity.get(gpu_type)
        others = entry if isinstance(entry, dict) else ()
        return [CATALOGUE.default_region, *(region for region in others if region != CATALOGUE.default_region)]

    def count_free(self, gpu_type: str, region: str) -> float:
        """Return how many GPUs of a type are free in a region; math.inf if unlimited."""
        entry = self._capacity.get(gpu_type)
        if entry is None:
            return math.inf
        if isinstance(entry, dict):
            return entry.get(region, 0) - self._held[gpu_type, region]
        return entry - self._held[gpu_type, None]

    def set_held(self, pod_id: str, gpu_type: str, region: str, count: int) -> None:
        """Record how many GPUs a pod holds; 0 returns them to the pool."""
        change = count - self._held_by_pod.pop(pod_id, 0)
        self._held[gpu_type, None] += change
        self._held[gpu_type, region] += change
        if count:
            self._held_by_pod[pod_id] = count
