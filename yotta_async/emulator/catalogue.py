"""What the emulated cloud rents: GPU types with their sizes and prices, and regions. The data is in gpus.json."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct, json


class GpuType(Struct, frozen=True):
    """One GPU of a type. Sizes are in GB, the price is for an hour in US dollars."""

    display_name: str
    vram: int
    ram: int
    vcpu: int
    price: float


class Catalogue(Struct, frozen=True, forbid_unknown_fields=True):
    """What is in gpus.json; `volume_price` is for a GB and an hour, `regions` are the locations by region."""

    about: str
    gpu_types: dict[str, GpuType]
    regions: dict[str, str]
    default_region: str
    volume_price: float
    container_volume_gb: int

    def gpu_type(self, name: str) -> GpuType:
        """Return what is known of a GPU type, or filler values for one that is not there."""
        if name in self.gpu_types:
            return self.gpu_types[name]
        size = re.search(r"_(\d{1,4})G$", name)
        vram = int(size[1]) if size else 16
        return GpuType(name.removeprefix("NVIDIA_").replace("_", " ")[:60], vram, 2 * vram, 8, round(vram * 0.03, 2))


CATALOGUE = json.decode((Path(__file__).parent / "gpus.json").read_bytes(), type=Catalogue)
