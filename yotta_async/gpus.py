"""The collection `yotta.gpus`: what can be rented, and where."""

from __future__ import annotations

import builtins  # in the class `Gpus`, `list` is its method

from yotta_async.api.endpoints import Endpoints
from yotta_async.errors import InvalidRequestError
from yotta_async.models.gpus import GpuOffer, narrow_to_region, price_offers


class Gpus:
    """The GPU types that the account can rent, as `YottaClient.gpus`. Not constructed directly."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def list(self, *, region: str | None = None) -> builtins.list[GpuOffer]:
        """Return the GPU types that can be rented, in the API's order, with the regions that have them.

        The API names no prices of GPU types. `GpuOffer.hourly_price` is that of one GPU of the account's pod which
        has the type and changed last; it is None if no pod has the type. Every type whose name can be read is an
        offer, whatever else is odd. Name and memory that the API does not give are those that this version knows.

        Sends two requests, for the types and for the account's pods. Both are retried as `pods.list` is.

        Args:
            region: Only types that this region has, available or not; `GpuOffer.regions` is this region alone. None:
                all.

        Returns:
            The offers; `GpuOffer.gpu_type` is a name that `pods.create` takes, whatever version the client speaks.

        Raises:
            InvalidRequestError: `region` is no name. Nothing is sent.
            APIError: The API refused.
            TransportError: No usable response came.

        Example:
            ```python
            for offer in await yotta.gpus.list():
                print(offer.gpu_type, offer.vram_in_gb, offer.hourly_price, offer.available_regions)
            ```

        Source: GET /v2/vms/types.

        """
        if region is not None and not (isinstance(region, str) and region and region.isprintable()):
            raise InvalidRequestError("region must be the name of a region, as text that can be printed")
        offers = await self._endpoints.list_gpu_types()
        listed = await self._endpoints.list()
        return price_offers(offers if region is None else narrow_to_region(offers, region), listed.pods)
