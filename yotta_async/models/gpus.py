"""GPU types that can be rented, and where."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from yotta_async.models.gpu_names import gpu_key
from yotta_async.models.pod import Pod


@attrs.frozen
class GpuRegion:
    """A region that has a GPU type.

    Attributes:
        name: The name of the region, as `PodSpec.region` takes it.
        is_available: Whether a GPU of the type is free there now. None: the API does not say.

    """

    name: str
    is_available: bool | None = None


@attrs.frozen
class GpuOffer:
    """A GPU type that can be rented.

    Attributes:
        gpu_type: The name of the type, as `PodSpec.gpu_type` takes it.
        display_name: The name for people, or `gpu_type` where none is known.
        vram_in_gb: The memory of one GPU in GB. None: unknown.
        hourly_price: What one GPU costs in USD per hour, by the account's own pods. None: no pod shows it.
        regions: The regions that have the type.

    """

    gpu_type: str
    display_name: str
    vram_in_gb: int | None = None
    hourly_price: float | None = None
    regions: tuple[GpuRegion, ...] = ()

    @property
    def available_regions(self) -> tuple[str, ...]:
        """The names of the regions in which a GPU of the type is free."""
        return tuple(region.name for region in self.regions if region.is_available)


def price_offers(offers: Iterable[GpuOffer], pods: Iterable[Pod]) -> list[GpuOffer]:
    """Return the offers with the prices that pods show: the first pod of a type that has a price counts."""
    prices: dict[str, float] = {}
    for pod in pods:
        if pod.gpu_type is not None and pod.single_card_price is not None:
            prices.setdefault(gpu_key(pod.gpu_type), pod.single_card_price)
    return [attrs.evolve(offer, hourly_price=prices.get(gpu_key(offer.gpu_type))) for offer in offers]


def narrow_to_region(offers: Iterable[GpuOffer], name: str) -> list[GpuOffer]:
    """Return the offers that a region has, each with that region alone."""
    narrowed = []
    for offer in offers:
        regions = tuple(region for region in offer.regions if region.name == name)
        if regions:
            narrowed.append(attrs.evolve(offer, regions=regions))
    return narrowed
