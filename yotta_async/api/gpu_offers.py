"""The response that lists GPU types, without any I/O.

Source: `GET /v2/vms/types` in the vendor's guide of API v2; v1 has no documented response of this kind.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from yotta_async.api.converter import StructureError, structure
from yotta_async.api.responses import invalid_response, parse_data
from yotta_async.models.gpu_names import find_gpu
from yotta_async.models.gpus import GpuOffer, GpuRegion
from yotta_async.models.pod import Id
from yotta_async.support.secrets import strip_traceback_frames
from yotta_async.transport.messages import Request, Response

logger = logging.getLogger("yotta_async")


@attrs.frozen(kw_only=True)
class _Region:
    """A region of a GPU type, as the wire has it."""

    region: str | None = None
    region_name: str | None = None
    available: bool | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class _GpuType:
    """A GPU type, as the wire has it. The fields for its name and memory are those of a pod, and may be missing."""

    gpu_type: Id
    gpu_display_name: str | None = None
    single_card_vram_in_gb: int | None = None
    regions: tuple[_Region, ...] = ()
    extra: Mapping[str, Any] = attrs.field(factory=dict)


@strip_traceback_frames
def parse_gpu_offers(request: Request, response: Response) -> tuple[GpuOffer, ...]:
    """Return the GPU types of a response, without prices. A type whose name can be read is an offer.

    Raises:
        APIError: the API refused.
        ProtocolError: it is not the documented envelope, or no list.
    """
    items = parse_data(request, response)
    if type(items) is not list:
        raise invalid_response(request, response, "data is not a list")
    types = [gpu_type for gpu_type in map(_parse_type, items) if gpu_type is not None]
    if len(types) < len(items):
        logger.warning(
            "%s: items left out of the list of GPU types: %d, as no name can be read in them.",
            request.path, len(items) - len(types),
        )  # fmt: skip
    by_name: dict[str, list[_GpuType]] = {}  # a type that the list has twice is one offer
    for gpu_type in types:
        by_name.setdefault(gpu_type.gpu_type, []).append(gpu_type)
    return tuple(_build_offer(name, same) for name, same in by_name.items())


def _parse_type(item: Any) -> _GpuType | None:
    if type(item) is dict and type(item.get("regions")) is list:
        # An example of the vendor's client has names in place of objects.
        regions = [{"region": each} if type(each) is str else each for each in item["regions"]]
        item = {**item, "regions": regions}
    try:
        gpu_type: _GpuType | None = structure(item, _GpuType)
    except StructureError as error:
        gpu_type = error.readable  # None where the name is what cannot be read
    return gpu_type


def _build_offer(name: str, types: list[_GpuType]) -> GpuOffer:
    known = find_gpu(name)
    display_names = (each.gpu_display_name for each in types if each.gpu_display_name)
    sizes = (each.single_card_vram_in_gb for each in types if each.single_card_vram_in_gb)
    return GpuOffer(
        gpu_type=name,
        display_name=next(display_names, name if known is None else known.display_name),
        vram_in_gb=next(sizes, None if known is None else known.vram),
        regions=_build_regions(region for each in types for region in each.regions),
    )


def _build_regions(regions: Iterable[_Region]) -> tuple[GpuRegion, ...]:
    """Return each region once. One that is named twice is available if one of the two is."""
    availability: dict[str, bool | None] = {}
    for each in regions:
        name = each.region or each.region_name
        if name is not None:
            earlier = availability.get(name)
            availability[name] = earlier or (each.available if each.available is not None else earlier)
    return tuple(GpuRegion(name, is_available) for name, is_available in availability.items())
