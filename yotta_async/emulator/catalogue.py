"""What the emulated cloud rents: GPU types, their sizes and prices, regions (gpus.json), and how many GPUs are free.

A GPU type has a name in each version of the API. The account uses that of v1; both are understood everywhere.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, ValidationError, convert, json

Capacity: TypeAlias = Mapping[str, int | Mapping[str, int]]
"""How many GPUs of a type exist: in total, or by region."""
_GpuCount: TypeAlias = Annotated[int, Meta(ge=0)]


class GpuType(Struct, frozen=True):
    """One GPU of a type, with its name in each version. Sizes are in GB, the price is in US dollars per hour."""

    v1: str
    v2: str
    display_name: str
    vram: int
    ram: int
    vcpu: int
    price: float


class Region(Struct, frozen=True):
    """A region: its location in v1's pods, and its display name in v2."""

    location: str
    name: str


class Catalogue(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """The content of gpus.json. `volume_price` is per GB and hour."""

    about: str
    gpu_types: tuple[GpuType, ...]
    regions: dict[str, Region]
    default_region: str
    volume_price: float
    container_volume_gb: int

    @cached_property
    def gpu_types_by_name(self) -> dict[str, GpuType]:
        """The GPU types by their names in v1 and in v2."""
        return {name: gpu for gpu in self.gpu_types for name in (gpu.v1, gpu.v2)}

    def describe_gpu_type(self, name: str) -> GpuType:
        """Return the entry of a GPU type, or filler values for an unknown one."""
        if name in self.gpu_types_by_name:
            return self.gpu_types_by_name[name]
        size = re.search(r"_(\d{1,4})G$", name)
        vram = int(size[1]) if size else 16
        display_name = name.removeprefix("NVIDIA_").replace("_", " ")[:60]
        return GpuType(name, name, display_name, vram, 2 * vram, 8, round(vram * 0.03, 2))

    def describe_region(self, name: str) -> Region:
        """Return the entry of a region, or filler values for an unknown one."""
        return self.regions.get(name) or Region(location="US", name=name)


CATALOGUE = json.decode((Path(__file__).parents[1] / "gpus.json").read_bytes(), type=Catalogue)


class CapacityPool:
    """How many GPUs exist and how many pods hold, by the names of v1.

    Raises:
        ValueError: the capacity is not numbers, or has a GPU type twice.

    """

    def __init__(self, capacity: Capacity | None) -> None:
        try:
            self._capacity = convert(capacity or {}, dict[str, _GpuCount | dict[str, _GpuCount]])
        except ValidationError:
            problem = "capacity must map GPU types to whole numbers, or to whole numbers by region"
            raise ValueError(f"{problem}, not {capacity!r}") from None
        named = [CATALOGUE.describe_gpu_type(name).v1 for name in self._capacity]
        if len(set(named)) < len(named):
            raise ValueError(f"capacity names a GPU type twice, by both of its names: {', '.join(self._capacity)}")
        self._capacity = dict(zip(named, self._capacity.values(), strict=True))
        self._held_by_pod: dict[str, int] = {}
        self._held: Counter[tuple[str, str | None]] = Counter()  # by GPU type, and by GPU type and region

    def list_regions(self, gpu_type: str) -> list[str]:
        """Return the regions for a pod that requests none, the default region first."""
        entry = self._capacity.get(gpu_type)
        others = entry if isinstance(entry, dict) else ()
        return [CATALOGUE.default_region, *(region for region in others if region != CATALOGUE.default_region)]

    def list_availability(self) -> Iterator[tuple[GpuType, dict[str, bool]]]:
        """Return every GPU type, and by region whether a GPU of it is free."""
        for name in dict.fromkeys([*(gpu.v1 for gpu in CATALOGUE.gpu_types), *self._capacity]):
            regions = (*CATALOGUE.regions, *self.list_regions(name))
            yield CATALOGUE.describe_gpu_type(name), {region: self.count_free(name, region) >= 1 for region in regions}

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
