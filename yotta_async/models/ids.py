"""Pod ids: every form that a caller may hold one in, and the text that stands for it in a path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol, TypeAlias

from yotta_async.errors import InvalidRequestError

_POD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class HasPodId(Protocol):
    """A Pod, a PodHandle, or anything else that carries a pod's id."""

    @property
    def id(self) -> str:
        """The pod's id."""
        ...


PodId: TypeAlias = str | int | HasPodId
"""What every method that takes a pod takes: its id as text or as a number, a Pod, or a PodHandle."""


def is_pod_id(text: str) -> bool:
    """Return whether the text can be a pod's id, and so may stand in a path."""
    return _POD_ID.fullmatch(text) is not None


def pod_id_of(pod: PodId) -> str:
    """Return the id of `pod` as text, fit to stand in a path.

    Raises:
        InvalidRequestError: it is not an id.
    """
    if type(pod) is str and _POD_ID.fullmatch(pod):
        return pod
    value = pod if isinstance(pod, str | int) else getattr(pod, "id", pod)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**64:
        return str(value)
    if isinstance(value, str) and _POD_ID.fullmatch(value):
        return str(value)
    what = repr(value[:80]) if isinstance(value, str) else f"a value of type {type(value).__name__}"
    raise InvalidRequestError(
        f"{what} is not a pod id: an id is a non-negative number of up to 64 digits, or 1 to 64 letters, digits, '_' "
        "and '-' that begin with a letter or a digit"
    )


def pod_ids_of(pods: Iterable[PodId]) -> list[str]:
    """Return the ids of several pods.

    Raises:
        InvalidRequestError: one of them is not an id, or there is one pod instead of several: the letters of its id
            would be taken for ids.
    """
    if isinstance(pods, str | int) or not isinstance(pods, Iterable):
        raise InvalidRequestError("several pods are wanted here: give a list of ids, Pods or PodHandles")
    return [pod_id_of(pod) for pod in pods]
