"""What a pod would cost.

The API names the price of a pod that exists, and none before. So a price to come is taken from what the caller says, or
from pods of the account: with the same GPU, and with any volume. What neither has is unknown, which is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import attrs

from yotta_async.api.pod_list import PodList
from yotta_async.errors import ConfigurationError
from yotta_async.models.gpu_names import gpu_key
from yotta_async.models.pod import Pod
from yotta_async.models.spec import Alternatives, PodSpec


def check_prices(prices: Mapping[str, float] | None) -> dict[str, float]:
    """Return prices that a caller gave. Raises ConfigurationError."""
    checked = dict(prices or {})
    if not all(isinstance(gpu, str) and type(price) in (int, float) and price >= 0 for gpu, price in checked.items()):
        raise ConfigurationError("prices must map each gpu_type to USD an hour for one GPU")
    return checked


def fill_volume_prices(listed: PodList, volume_price: float | None) -> PodList:
    """Take `volume_price` for the volumes of pods whose price the API does not name, as v2 names none."""
    if volume_price is None:
        return listed
    return listed._replace(pods=[_fill_volume_prices(pod, volume_price) for pod in listed.pods])


def _fill_volume_prices(pod: Pod, price: float) -> Pod:
    if not {"containerVolumePrice", "persistentVolumePrice"}.isdisjoint(pod.unreadable):
        return pod  # the API names one
    return attrs.evolve(
        pod,
        container_volume_price=price if pod.container_volume_price is None else pod.container_volume_price,
        persistent_volume_price=price if pod.persistent_volume_price is None else pod.persistent_volume_price,
    )


class PriceTable(NamedTuple):
    """USD an hour: of one GPU by the key of its type, and of one GB of each volume; None where it is unknown.

    From a pod that exists, a GPU includes the container's volume, whose size most specs leave to the API.
    """

    gpus: Mapping[str, float] = {}
    container_gb: float | None = None
    persistent_gb: float | None = None

    @classmethod
    def build(cls, pods: Sequence[Pod], prices: Mapping[str, float], volume_price: float | None) -> PriceTable:
        """Take what the caller says, or else what the account's pods cost."""
        gpus: dict[str, float] = {}
        for pod in pods:
            if pod.gpu_count and pod.hourly_price is not None and pod.gpu_type is not None:
                volume = (pod.persistent_volume_price or 0.0) * (pod.persistent_volume_in_gb or 0)
                gpus[gpu_key(pod.gpu_type)] = (pod.hourly_price - volume) / pod.gpu_count
        gpus |= {gpu_key(name): price for name, price in prices.items()}
        if volume_price is not None:
            return cls(gpus, volume_price, volume_price)
        container = (pod.container_volume_price for pod in pods if pod.container_volume_price is not None)
        persistent = (pod.persistent_volume_price for pod in pods if pod.persistent_volume_price is not None)
        return cls(gpus, max(container, default=None), max(persistent, default=None))

    def price(self, spec: PodSpec) -> float | None:
        """Return what a pod would cost in USD an hour, rather too much than too little, or None if it is unknown."""
        gpu = self.gpus.get(gpu_key(spec.gpu_type))
        container, persistent = spec.container_volume_in_gb or 0, spec.persistent_volume_in_gb or 0
        if gpu is None or (container and self.container_gb is None) or (persistent and self.persistent_gb is None):
            return None
        volumes = container * (self.container_gb or 0.0) + persistent * (self.persistent_gb or 0.0)
        return gpu * (spec.gpu_count or 1) + volumes

    def highest_price(self, alternatives: Alternatives) -> float | None:
        """Return the price of the dearest of the alternatives, or None if any is unknown."""
        prices = [self.price(spec) for spec in alternatives]
        known = [price for price in prices if price is not None]
        return max(known) if len(known) == len(prices) else None
