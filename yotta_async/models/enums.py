"""Text enumerations of the API, which keep values that this version does not know."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class OpenStrEnum(StrEnum):
    """A text enumeration that keeps a value it does not know, as the API may add values at any time."""

    # The enumeration's own hash, without its detour through Python code: it is called for every pod of every poll.
    __hash__ = str.__hash__

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or not value:
            return None
        known = cls.__members__.get(value.upper())
        if known is not None:
            return known
        # Not registered with the class: a server could fill the memory with new names.
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member

    # Until Python 3.11.4 the enumeration's own ways look a member up by name, which fails for an unknown value.
    def __reduce_ex__(self, _: object) -> tuple[type[Self], tuple[str]]:
        return type(self), (self._value_,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


class ResourceType(OpenStrEnum):
    """What a pod runs on.

    Attributes:
        GPU: GPUs.
        CPU: CPUs alone.
    """

    GPU = "GPU"
    CPU = "CPU"


class ImagePublicType(OpenStrEnum):
    """Who may pull the image.

    Attributes:
        PUBLIC: Everyone.
        PRIVATE: Those with credentials for the registry, which the spec must name.
        OFFICIAL: One of the vendor's images.
        CUSTOM: Any other image.
    """

    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"
    # The guide names these two here, the OpenAPI document only as values of `officialImage`: both are accepted.
    OFFICIAL = "OFFICIAL"
    CUSTOM = "CUSTOM"


class ImageSource(OpenStrEnum):
    """Whether the image is one of the vendor's (the wire's `officialImage`).

    Attributes:
        OFFICIAL: The vendor's.
        CUSTOM: Any other.
    """

    OFFICIAL = "OFFICIAL"
    CUSTOM = "CUSTOM"


class CloudType(OpenStrEnum):
    """Whose machines the pod runs on.

    Source: `CloudTypeEnum` of the API's OpenAPI document, which has no more than the names.

    Attributes:
        SECURE: The API's secure cloud.
        COMMUNITY: The API's community cloud.
    """

    SECURE = "SECURE"
    COMMUNITY = "COMMUNITY"
