"""What is tried in turn for each of many pods: its spec, and then the fallbacks.

Fallbacks are changes to the spec that the caller gives, or, by the word "available", other regions and GPU types that
the API says are available.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import attrs

from yotta_async.errors import InvalidRequestError
from yotta_async.models.gpu_names import find_gpu, gpu_key
from yotta_async.models.gpus import GpuOffer
from yotta_async.models.spec import Alternatives, PodFields, PodSpec, spec_from

Fallbacks: TypeAlias = Iterable[Mapping[str, Any]] | Literal["available"]
"""Changes to a spec, tried in their order, or "available": what the API says is available."""

# If all pods fail, the image may be the cause, and each further type costs a create and a deletion.
_MAX_OTHER_GPU_TYPES = 8


def build_alternatives(specs: Iterable[PodSpec | Mapping[str, Any]], fallbacks: Fallbacks) -> list[Alternatives]:
    """Return the alternatives of each spec; with "available" these are the specs alone, for `add_available`.

    Raises InvalidRequestError.
    """
    if isinstance(specs, str | PodSpec | Mapping) or not isinstance(specs, Iterable):
        raise InvalidRequestError("several specs are wanted here: give a list of PodSpec, such as [spec] * 10")
    changes = [] if fallbacks == "available" else _check_changes(fallbacks)
    return [_build(spec, changes) for spec in specs]


def _check_changes(fallbacks: object) -> list[Mapping[str, Any]]:
    changes = None if isinstance(fallbacks, str | Mapping) or not isinstance(fallbacks, Iterable) else list(fallbacks)
    if changes is None or not all(isinstance(each, Mapping) for each in changes):
        raise InvalidRequestError(
            'fallbacks must be "available" or a list of changes, such as [{"gpu_type": "NVIDIA_L4_24G"}]'
        )
    return changes


def _build(spec: PodSpec | Mapping[str, Any], changes: list[Mapping[str, Any]]) -> Alternatives:
    first = _merge(None, spec) if isinstance(spec, Mapping) else spec_from(spec, {})
    return (first, *[_merge(first, change) for change in changes])


def _merge(spec: PodSpec | None, fields: Mapping[str, Any]) -> PodSpec:
    return spec_from(spec, cast("PodFields", dict(fields)))


def add_available(spec: PodSpec, offers: Sequence[GpuOffer]) -> Alternatives:
    """Return the spec, then its GPU type in other regions, then other GPU types, as far as they are available.

    Other types have at least as much memory, and are of the same vendor, as an image is built for one vendor's GPUs.
    Those in the spec's own regions come first, and of these those with the least memory.
    """
    own_regions = {spec.region, *spec.region_list} - {None, ""}
    alternatives = [spec]
    min_vram = _find_min_vram(spec, offers)
    others: list[tuple[bool, int, PodSpec]] = []
    for offer in offers:
        regions = offer.available_regions
        if gpu_key(offer.gpu_type) == gpu_key(spec.gpu_type):
            elsewhere = tuple(region for region in regions if region not in own_regions)
            alternatives += [attrs.evolve(spec, region=None, region_list=elsewhere)] if elsewhere else []
        elif regions and min_vram is not None and offer.vram_in_gb is not None and offer.vram_in_gb >= min_vram:
            if _vendor(offer.gpu_type) != _vendor(spec.gpu_type):
                continue
            near = tuple(region for region in regions if region in own_regions)
            other = attrs.evolve(spec, gpu_type=offer.gpu_type, region=None, region_list=near or regions)
            others.append((not near, offer.vram_in_gb, other))
    others.sort(key=lambda each: each[:2])
    return (*alternatives, *[other for _, _, other in others[:_MAX_OTHER_GPU_TYPES]])


def _find_min_vram(spec: PodSpec, offers: Iterable[GpuOffer]) -> int | None:
    """Return how much memory another GPU must have in GB, or None if that of the spec's own type is unknown."""
    known = find_gpu(spec.gpu_type)
    own = None if known is None else known.vram
    for offer in offers:
        if gpu_key(offer.gpu_type) == gpu_key(spec.gpu_type):
            own = offer.vram_in_gb or own
    return None if own is None else max(own, spec.min_single_card_vram_in_gb or 0)


def _vendor(gpu_type: str) -> str:
    return gpu_type.partition("_")[0]
