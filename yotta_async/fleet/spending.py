"""What pods cost, and a limit on it that is checked before anything is sent.

The API names the price of a pod that is there, and none before. So a price that is to come is taken from what the
caller says, or from pods of the account: with the same GPU, and with any volume. What neither has is unknown, which is
not zero.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

import attrs

from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import PodList
from yotta_async.errors import ConfigurationError, InvalidRequestError, SpendLimitError
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodSpec
from yotta_async.models.status import NOT_BILLED


def _amount(_: object, field: attrs.Attribute[Any], value: object) -> None:
    kinds: tuple[type, ...] = (int,) if field.name == "max_pods" else (int, float)
    if value is not None and (type(value) not in kinds or not 0 <= value < float("inf")):  # type: ignore[operator]  # a number, by the first half
        raise ConfigurationError(f"SpendLimit.{field.name} must be a number of at least 0, or None for no limit")


def _prices(value: Mapping[str, float] | None) -> dict[str, float]:
    prices = dict(value or {})
    if not all(isinstance(gpu, str) and type(price) in (int, float) and price >= 0 for gpu, price in prices.items()):
        raise ConfigurationError("prices must map each gpu_type to USD an hour for one GPU")
    return prices


@attrs.frozen(kw_only=True)
class SpendLimit:
    """How much may be rented at a time: for a client, or for one call.

    `max_pods` is how many pods there may be, `max_hourly` how many USD an hour they may cost together while they run.
    Both count the pods of the whole account, or with `of="client"` only those that this client made. Every pod counts
    that is not TERMINATING or TERMINATED, whatever its status; one that FAILED costs nothing. A create is refused where
    the account cannot be counted: with `max_hourly` when a price that counts is missing or cannot be read, and with
    both when the list has items in which no pod id can be read.

    `prices` are USD an hour for one GPU, by `gpu_type`, and `volume_price` is USD an hour for one GB of
    `container_volume_in_gb` or `persistent_volume_in_gb`, where no pod of the account shows them. With `max_hourly` a
    create whose price is unknown is refused. What volumes of `persistent_volumes` cost is not in a pod's price, and
    not counted. Raises ConfigurationError for a limit that makes no sense.
    """

    max_pods: int | None = attrs.field(default=None, validator=_amount)
    max_hourly: float | None = attrs.field(default=None, validator=_amount)
    prices: Mapping[str, float] = attrs.field(factory=dict, converter=_prices)
    volume_price: float | None = attrs.field(default=None, validator=_amount)
    of: Literal["account", "client"] = attrs.field(default="account")

    @of.validator
    def _of_whom(self, _: object, value: object) -> None:
        if value not in ("account", "client"):
            raise ConfigurationError('SpendLimit.of must be "account" or "client"')


@attrs.frozen
class PlannedPod:
    """A pod that would be created, and its USD an hour; None: the API names no price before, and no pod shows one."""

    spec: PodSpec
    hourly_price: float | None


@attrs.frozen
class PodPlan:
    """What would be created, beside what there is: `pods_now` and `hourly_now` (None: unknown) are the account's.

    `unreadable_items` counts items of the account's list in which no pod id can be read: there may be more pods.

    `refusal` is the SpendLimitError that creating all of it would raise, or None; `fits` is how many of `items`, from
    the first on, the limits leave room for.
    """

    items: tuple[PlannedPod, ...]
    pods_now: int
    hourly_now: float | None
    fits: int
    refusal: SpendLimitError | None = None
    unreadable_items: int = 0

    @property
    def hourly_price(self) -> float | None:
        """What all of it would cost in USD an hour, or None while the price of any is unknown."""
        return _sum(item.hourly_price for item in self.items)

    @property
    def unpriced(self) -> tuple[PodSpec, ...]:
        """The specs whose price is unknown."""
        return tuple(item.spec for item in self.items if item.hourly_price is None)


class PriceTable(NamedTuple):
    """USD an hour: of one GPU by its type, and of one GB of each volume; None where nobody knows.

    By a pod that is there, a GPU includes the container's volume, whose size most specs leave to the API.
    """

    gpus: Mapping[str, float] = {}
    container_gb: float | None = None
    persistent_gb: float | None = None


class Reservation:
    """What one call may still create: it counts until its pods are there."""

    def __init__(self, spending: Spending) -> None:
        self._spending = spending
        self.coming: list[float | None] = []
        self.rates = PriceTable()

    def made(self, pod_id: str, spec: PodSpec) -> None:
        """Note that a pod is there, which counts from now on by itself."""
        if self.coming:
            price = _price(spec, self.rates)
            self.coming.remove(price if price in self.coming else self.coming[0])
        self._spending.made[pod_id] = _price(spec, self.rates)


class Spending:
    """One client's pods and what they cost, as far as they are known."""

    def __init__(
        self, endpoints: Endpoints, is_recently_created: Callable[[str], bool], limit: SpendLimit | None
    ) -> None:
        self._endpoints = endpoints
        self._is_newborn = is_recently_created
        self.limit = limit
        self.made: dict[str, float | None] = {}  # this client's pods, and what they cost by our reckoning
        self._rooms: set[Reservation] = set()
        self._asking = asyncio.Lock()
        self._asked = 0
        self._answered = 0  # the list shows what was there when so many had asked for one
        self._listing = PodList([], 0)

    async def plan(
        self,
        candidates: Sequence[Sequence[PodSpec]],
        prices: Mapping[str, float] | None,
        limit: SpendLimit | None,
    ) -> PodPlan:
        """Return what would be created, and what there is; sends one list."""
        table, limits = _prices(prices), self._limits(limit)
        volume_price = next((each.volume_price for each in limits if each.volume_price is not None), None)
        listing = await self._endpoints.list()
        there = [pod for pod in listing.pods if not pod.is_being_deleted]
        hourly_now = None if listing.unreadable_items else _sum(map(_cost_now, there))
        rates = _rates(listing.pods, table, volume_price)
        items = tuple(PlannedPod(some[0], _price(some[0], rates)) for some in candidates)

        def refusal(count: int) -> SpendLimitError | None:
            try:
                for each in limits:
                    known = _rates(listing.pods, each.prices, each.volume_price)
                    self._check(each, [_dearest(some, known) for some in candidates[:count]], listing)
            except SpendLimitError as error:
                return error
            return None

        refused = refusal(len(items))
        fits = len(items) if refused is None else bisect_right(range(1, len(items)), 0, key=lambda n: bool(refusal(n)))
        return PodPlan(items, len(there), hourly_now, fits, refused, listing.unreadable_items)

    def _limits(self, limit: SpendLimit | None) -> list[SpendLimit]:
        if limit is not None and not isinstance(limit, SpendLimit):
            raise InvalidRequestError(f"spend_limit must be a SpendLimit, not {type(limit).__name__}")
        return [each for each in (limit, self.limit) if each is not None]

    async def _listed(self) -> PodList:
        """Return what is there now. One list is for all who asked before it was sent."""
        self._asked += 1
        turn = self._asked
        async with self._asking:
            if self._answered < turn:
                answered = self._asked
                self._listing = await self._endpoints.list()
                self._answered = answered
            listing = self._listing
            if turn == self._asked:
                self._listing = PodList([], 0)  # nobody else waits for it
            return listing

    @asynccontextmanager
    async def reserve(
        self, candidates: Sequence[Sequence[PodSpec]], limit: SpendLimit | None
    ) -> AsyncIterator[Reservation]:
        """Keep room for these pods while the block creates them. Raises SpendLimitError when there is none.

        Sends a list when there is a limit, and nothing otherwise. Of several candidates for one pod the dearest counts.
        """
        limits = self._limits(limit)
        room = Reservation(self)
        coming: list[float | None] = []
        if limits:
            listing = await self._listed()
            # Nobody else looks between these checks and the room that they leave.
            for each in limits:
                room.rates = _rates(listing.pods, each.prices, each.volume_price)
                coming = [_dearest(some, room.rates) for some in candidates]
                self._check(each, coming, listing)
            room.coming = coming
            self._rooms.add(room)
        try:
            yield room
        finally:
            self._rooms.discard(room)

    def _check(self, limit: SpendLimit, coming: list[float | None], listing: PodList) -> None:
        """Raise SpendLimitError when creating pods at these prices would pass the limit, or may."""
        shown = {pod.id for pod in listing.pods}
        # A pod that no list shows any more is gone, unless it is so new that none shows it yet.
        self.made = {pod_id: cost for pod_id, cost in self.made.items() if pod_id in shown or self._is_newborn(pod_id)}
        if limit.max_pods is None and limit.max_hourly is None:
            return
        if listing.unreadable_items:
            raise SpendLimitError(
                f"nothing was sent: no pod id can be read for {listing.unreadable_items} of the items of the account's "
                "list. They may be pods, so the limit cannot be checked. Look at the account in the console, and tell "
                "the vendor; `pods.unreadable_items` says after a list whether it is still so"
            )
        counted = [
            pod for pod in listing.pods if not pod.is_being_deleted and (limit.of == "account" or pod.id in self.made)
        ]
        costs = [_cost_now(pod) for pod in counted]
        costs += [cost for pod_id, cost in self.made.items() if pod_id not in shown]
        costs += [cost for room in self._rooms for cost in room.coming]
        whose = "this client's" if limit.of == "client" else "the account's"
        if limit.max_pods is not None and len(costs) + len(coming) > limit.max_pods:
            raise SpendLimitError(
                f"nothing was sent: {len(coming)} more on top of {whose} {len(costs)} pods would pass "
                f"max_pods={limit.max_pods}. Delete some, or raise the limit"
            )
        if limit.max_hourly is None:
            return
        before, more = _sum(costs), _sum(coming)
        if more is None:
            raise SpendLimitError(
                f"nothing was sent: the price of what is to be created is unknown, so max_hourly={limit.max_hourly:g} "
                "cannot be checked. Give SpendLimit(prices={gpu_type: USD an hour for one GPU}), and volume_price=USD "
                "an hour for one GB where a size of a volume is asked for"
            )
        if before is None:
            unpriced = [f"pod {pod.id}{_name_unreadable(pod)}" for pod in counted if _cost_now(pod) is None]
            named = f": {', '.join(unpriced[:3])}{' …' if len(unpriced) > 3 else ''}" if unpriced else ""
            raise SpendLimitError(
                f"nothing was sent: the price of one of {whose} pods is unknown, so max_hourly={limit.max_hourly:g} "
                f"cannot be checked{named}. Delete it, or use max_pods until the API tells its price"
            )
        if before + more > limit.max_hourly + 1e-9:
            raise SpendLimitError(
                f"nothing was sent: ${more:.2f} an hour on top of {whose} ${before:.2f} would pass "
                f"max_hourly={limit.max_hourly:g}. Delete or pause some pods, or raise the limit"
            )


def _cost_now(pod: Pod) -> float | None:
    """Return the USD an hour of a pod that is there; None: unknown."""
    return 0.0 if pod.status in NOT_BILLED else pod.hourly_price


def _name_unreadable(pod: Pod) -> str:
    return f" (cannot be read: {', '.join(pod.unreadable)})" if pod.unreadable else ""


def _rates(pods: Sequence[Pod], prices: Mapping[str, float], volume_price: float | None) -> PriceTable:
    """Return what the caller says, or else what the account's pods cost."""
    gpus: dict[str, float] = {}
    for pod in pods:
        if pod.gpu_count and pod.hourly_price is not None and pod.gpu_type is not None:
            volume = (pod.persistent_volume_price or 0.0) * (pod.persistent_volume_in_gb or 0)
            gpus[pod.gpu_type] = (pod.hourly_price - volume) / pod.gpu_count
    if volume_price is not None:
        return PriceTable({**gpus, **prices}, volume_price, volume_price)
    container = (pod.container_volume_price for pod in pods if pod.container_volume_price is not None)
    persistent = (pod.persistent_volume_price for pod in pods if pod.persistent_volume_price is not None)
    return PriceTable({**gpus, **prices}, max(container, default=None), max(persistent, default=None))


def _price(spec: PodSpec, rates: PriceTable) -> float | None:
    """Return what a pod would cost in USD an hour, rather too much than too little, or None when nothing tells."""
    gpu = rates.gpus.get(spec.gpu_type or "")
    container, persistent = spec.container_volume_in_gb or 0, spec.persistent_volume_in_gb or 0
    if gpu is None or (container and rates.container_gb is None) or (persistent and rates.persistent_gb is None):
        return None
    volumes = container * (rates.container_gb or 0.0) + persistent * (rates.persistent_gb or 0.0)
    return gpu * (spec.gpu_count or 1) + volumes


def _dearest(candidates: Sequence[PodSpec], rates: PriceTable) -> float | None:
    each = [_price(spec, rates) for spec in candidates]
    known = [price for price in each if price is not None]
    return max(known) if len(known) == len(each) else None


def _sum(prices: Any) -> float | None:
    total = 0.0
    for price in prices:
        if price is None:
            return None
        total += price
    return total
