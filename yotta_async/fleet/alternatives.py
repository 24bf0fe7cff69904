"""What is tried in turn for each of many pods: its spec, and the spec with each fallback's changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from yotta_async.errors import InvalidRequestError
from yotta_async.models.spec import Alternatives, PodFields, PodSpec, spec_from


def build_alternatives(
    specs: Iterable[PodSpec | Mapping[str, Any]], fallbacks: Iterable[Mapping[str, Any]]
) -> list[Alternatives]:
    """Return the alternatives of each spec. Raises InvalidRequestError."""
    if isinstance(specs, str | PodSpec | Mapping) or not isinstance(specs, Iterable):
        raise InvalidRequestError("several specs are wanted here: give a list of PodSpec, such as [spec] * 10")
    listed = None if isinstance(fallbacks, str | Mapping) or not isinstance(fallbacks, Iterable) else list(fallbacks)
    if listed is None or not all(isinstance(each, Mapping) for each in listed):
        raise InvalidRequestError('fallbacks must be a list of changes, such as [{"gpu_type": "NVIDIA_L4_24G"}]')
    return [_build(spec, listed) for spec in specs]


def _build(spec: PodSpec | Mapping[str, Any], changes: list[Mapping[str, Any]]) -> Alternatives:
    first = _merge(None, spec) if isinstance(spec, Mapping) else spec_from(spec, {})
    return (first, *[_merge(first, change) for change in changes])


def _merge(spec: PodSpec | None, fields: Mapping[str, Any]) -> PodSpec:
    return spec_from(spec, cast("PodFields", dict(fields)))
