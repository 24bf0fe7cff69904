"""What the emulated cloud rents: GPU types with their sizes and prices, and regions."""

from __future__ import annotations

import re

import attrs


@attrs.frozen
class GpuType:
    """One GPU of a type. Sizes are in GB, the price is for an hour in US dollars."""

    display_name: str
    vram: int
    ram: int
    vcpu: int
    price: float


# The names are the guide's; the L4's sizes and price are those of the guide's example, the others are of that kind.
GPU_TYPES = {
    "NVIDIA_L4_24G": GpuType("L4", 24, 10, 3, 0.6),
    "NVIDIA_GeForce_RTX_4090_24G": GpuType("RTX 4090", 24, 62, 16, 0.65),
    "NVIDIA_GeForce_RTX_5090_32G": GpuType("RTX 5090", 32, 92, 12, 0.89),
    "NVIDIA_H100_80GB_HBM3_80G": GpuType("H100", 80, 180, 26, 2.95),
}

REGIONS = {"us-west-1": "CA", "us-east-2": "OH", "gke-dev-us-west-1": "OR", "ap-southeast-1": "SG"}
DEFAULT_REGION = "us-west-1"

VOLUME_PRICE = 0.00005  # per GB and hour, as in the guide's example
CONTAINER_VOLUME_GB = 252  # likewise


def gpu_type_of(name: str) -> GpuType:
    """Return what is known of a GPU type, or filler values for one that the catalogue does not have."""
    if name in GPU_TYPES:
        return GPU_TYPES[name]
    size = re.search(r"_(\d{1,4})G$", name)
    vram = int(size[1]) if size else 16
    return GpuType(name.removeprefix("NVIDIA_").replace("_", " ")[:60], vram, 2 * vram, 8, round(vram * 0.03, 2))
