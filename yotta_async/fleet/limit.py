"""The limit on what may be rented at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from yotta_async.errors import ConfigurationError
from yotta_async.fleet.prices import check_prices


def _check_amount(_: object, field: attrs.Attribute[Any], value: object) -> None:
    kinds: tuple[type, ...] = (int,) if field.name == "max_pods" else (int, float)
    if value is not None and (type(value) not in kinds or not 0 <= value < float("inf")):  # type: ignore[operator]  # a number, by the first half
        raise ConfigurationError(f"SpendLimit.{field.name} must be a number of at least 0, or None for no limit")


@attrs.frozen(kw_only=True)
class SpendLimit:
    """How much may be rented at a time: for a client, or for one call.

    Every pod counts that is not TERMINATING or TERMINATED, whatever its status; one that FAILED costs nothing. A create
    is refused where the account cannot be counted: with `max_hourly` when a price that counts is missing or cannot be
    read, and with both limits when the list has items in which no pod id can be read. With `max_hourly` a create whose
    price is unknown is refused. Volumes of `persistent_volumes` are in no pod's price, and are not counted.

    Args:
        max_pods: how many pods there may be.
        max_hourly: how many USD an hour they may cost together while they run.
        prices: USD an hour for one GPU, by `gpu_type`, where no pod of the account shows them.
        volume_price: USD an hour for one GB of `container_volume_in_gb` or `persistent_volume_in_gb`, likewise, and of
            pods that exist where the API names no price. API v2 names none.
        of: "account" counts all pods of the account, "client" only those that this client made.

    Raises:
        ConfigurationError: for a limit that makes no sense.

    """

    max_pods: int | None = attrs.field(default=None, validator=_check_amount)
    max_hourly: float | None = attrs.field(default=None, validator=_check_amount)
    prices: Mapping[str, float] = attrs.field(factory=dict, converter=check_prices)
    volume_price: float | None = attrs.field(default=None, validator=_check_amount)
    of: Literal["account", "client"] = attrs.field(default="account")

    @of.validator
    def _check_of(self, _: object, value: object) -> None:
        if value not in ("account", "client"):
            raise ConfigurationError('SpendLimit.of must be "account" or "client"')
