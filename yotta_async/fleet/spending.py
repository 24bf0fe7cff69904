"""What one client may still create: reservations against limits, checked before anything is sent."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs

from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import PodList
from yotta_async.creation.ephemeral import RecordPod
from yotta_async.errors import InvalidRequestError, SpendLimitError
from yotta_async.fleet.limit import SpendLimit
from yotta_async.fleet.prices import PriceTable, check_prices, fill_volume_prices
from yotta_async.models.pod import Pod
from yotta_async.models.prices import sum_prices
from yotta_async.models.spec import Alternatives, PodSpec
from yotta_async.models.status import NOT_BILLED

_ROUNDING_USD = 1e-9
_NAMED_PODS = 3
_NO_LIST = PodList([], 0)


@attrs.frozen
class PlannedPod:
    """A pod that would be created.

    Attributes:
        spec: what it would be created from.
        hourly_price: USD an hour while it runs; None: no price is given for its GPU, and no pod of the account has one.

    """

    spec: PodSpec
    hourly_price: float | None


@attrs.frozen
class PodPlan:
    """What would be created, beside what exists.

    Attributes:
        items: the pods that would be created.
        pods_now: how many pods the account has.
        hourly_now: what they cost in USD an hour; None: unknown.
        fits: how many of `items`, from the first on, the limits allow.
        refusal: the SpendLimitError that creating all of it would raise, or None.
        unreadable_items: how many items of the account's list have no pod id that can be read: there may be more pods.

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
        return sum_prices(item.hourly_price for item in self.items)

    @property
    def unpriced(self) -> tuple[PodSpec, ...]:
        """The specs whose price is unknown."""
        return tuple(item.spec for item in self.items if item.hourly_price is None)


@attrs.define(eq=False)
class Reservation:
    """What one call may still create. A pod counts in it until it has been created."""

    prices: list[float | None]
    _table: PriceTable
    _created: dict[str, float | None]

    def record_pod(self, pod_id: str, spec: PodSpec) -> None:
        """Note that a pod was created, which counts by itself from now on."""
        price = self._table.price(spec)
        if self.prices:
            self.prices.remove(price if price in self.prices else self.prices[0])
        self._created[pod_id] = price


@attrs.define(eq=False)
class SpendTracker:
    """One client's pods and what they cost, as far as it is known, and what its calls may still create."""

    _endpoints: Endpoints
    _recently_created: Container[str]
    _limit: SpendLimit | None
    _created: dict[str, float | None] = attrs.field(init=False, factory=dict)  # this client's pods, and their prices
    _reservations: set[Reservation] = attrs.field(init=False, factory=set)
    _listing: asyncio.Lock = attrs.field(init=False, factory=asyncio.Lock)
    _callers: int = attrs.field(init=False, default=0)
    _served: int = attrs.field(init=False, default=0)  # how many callers had come when the last list was sent
    _last_list: PodList = attrs.field(init=False, default=_NO_LIST)

    async def plan(
        self, alternatives: Sequence[Alternatives], prices: Mapping[str, float] | None, limit: SpendLimit | None
    ) -> PodPlan:
        """Return what would be created, and what exists; sends one list."""
        given, limits = check_prices(prices), self._limits(limit)
        volume_price = next((each.volume_price for each in limits if each.volume_price is not None), None)
        listed = await self._endpoints.list()
        priced_pods = fill_volume_prices(listed, volume_price).pods
        existing = [pod for pod in priced_pods if not pod.is_being_deleted]
        hourly_now = None if listed.unreadable_items else sum_prices(map(_current_price, existing))
        table = PriceTable.build(priced_pods, given, volume_price)
        items = tuple(PlannedPod(each[0], table.price(each[0])) for each in alternatives)

        def find_refusal(count: int) -> SpendLimitError | None:
            try:
                for each in limits:
                    priced = fill_volume_prices(listed, each.volume_price)
                    known = PriceTable.build(priced.pods, each.prices, each.volume_price)
                    self._check(each, [known.highest_price(some) for some in alternatives[:count]], priced)
            except SpendLimitError as error:
                return error
            return None

        refusal, fits = find_refusal(len(items)), len(items)
        if refusal is not None:
            fits = bisect_right(range(1, len(items)), 0, key=lambda count: bool(find_refusal(count)))
        return PodPlan(items, len(existing), hourly_now, fits, refusal, listed.unreadable_items)

    def has_price_limit(self, limit: SpendLimit | None) -> bool:
        """Return whether `limit` or the client's own bounds the price. Raises InvalidRequestError."""
        return any(each.max_hourly is not None for each in self._limits(limit))

    async def keep_affordable(
        self, alternatives: Sequence[Alternatives], limit: SpendLimit | None
    ) -> Sequence[Alternatives]:
        """Leave out alternatives that cost more than the first, or an unknown price; sends one list.

        Of several alternatives the dearest counts for a limit, so that without this it might refuse a spec for what the
        caller did not name.
        """
        listed = await self._list()
        for each in self._limits(limit):
            if each.max_hourly is None:
                continue
            table = PriceTable.build(listed.pods, each.prices, each.volume_price)
            alternatives = [_drop_dearer(some, table) for some in alternatives]
        return alternatives

    def _limits(self, limit: SpendLimit | None) -> list[SpendLimit]:
        if limit is not None and not isinstance(limit, SpendLimit):
            raise InvalidRequestError(f"spend_limit must be a SpendLimit, not {type(limit).__name__}")
        return [each for each in (limit, self._limit) if each is not None]

    async def _list(self) -> PodList:
        """Return what exists now. All callers that came before a list was sent share it."""
        self._callers += 1
        number = self._callers
        async with self._listing:
            if self._served < number:
                served = self._callers
                self._last_list = await self._endpoints.list()
                self._served = served
            listed = self._last_list
            if number == self._callers:
                self._last_list = _NO_LIST  # no other caller waits for it
            return listed

    @asynccontextmanager
    async def reserve(self, alternatives: Sequence[Alternatives], limit: SpendLimit | None) -> AsyncIterator[RecordPod]:
        """Reserve these pods while the block creates them; yields what it calls with each pod that it created.

        Sends a list when there is a limit, and nothing otherwise. Of several alternatives the dearest counts.

        Raises:
            SpendLimitError: a limit does not allow them.

        """
        prices: list[float | None] = []
        table = PriceTable()
        limits = self._limits(limit)
        if limits:
            listed = await self._list()
            # Nothing is awaited from here on until the reservation counts.
            for each in limits:
                priced = fill_volume_prices(listed, each.volume_price)
                table = PriceTable.build(priced.pods, each.prices, each.volume_price)
                prices = [table.highest_price(some) for some in alternatives]
                self._check(each, prices, priced)
        reservation = Reservation(prices, table, self._created)
        self._reservations.add(reservation)
        try:
            yield reservation.record_pod
        finally:
            self._reservations.discard(reservation)

    def _check(self, limit: SpendLimit, more: list[float | None], listed: PodList) -> None:
        """Raise SpendLimitError when creating pods at these prices would pass the limit, or may."""
        shown = {pod.id for pod in listed.pods}
        # A pod that the list does not show is gone, unless it is too new to be shown.
        for pod_id in self._created.keys() - shown:
            if pod_id not in self._recently_created:
                del self._created[pod_id]
        if limit.max_pods is None and limit.max_hourly is None:
            return
        if listed.unreadable_items:
            raise SpendLimitError(
                f"nothing was sent: no pod id can be read for {listed.unreadable_items} of the items of the account's "
                "list. They may be pods, so the limit cannot be checked. Check the account in the console, and tell "
                "the vendor; `pods.unreadable_items` says after a list whether it is still so"
            )
        counted = [
            pod
            for pod in listed.pods
            if not pod.is_being_deleted and (limit.of == "account" or pod.id in self._created)
        ]
        prices = [_current_price(pod) for pod in counted]
        prices += [price for pod_id, price in self._created.items() if pod_id not in shown]
        prices += [price for reservation in self._reservations for price in reservation.prices]
        whose = "this client's" if limit.of == "client" else "the account's"
        if limit.max_pods is not None and len(prices) + len(more) > limit.max_pods:
            raise SpendLimitError(
                f"nothing was sent: {len(more)} more on top of {whose} {len(prices)} pods would pass "
                f"max_pods={limit.max_pods}. Delete some, or raise the limit"
            )
        if limit.max_hourly is None:
            return
        before, added = sum_prices(prices), sum_prices(more)
        if added is None:
            raise SpendLimitError(
                f"nothing was sent: the price of what is to be created is unknown, so max_hourly={limit.max_hourly:g} "
                "cannot be checked. Give SpendLimit(prices={gpu_type: USD an hour for one GPU}), and volume_price=USD "
                "an hour for one GB where a size of a volume is asked for"
            )
        if before is None:
            unpriced = [f"pod {pod.id}{_name_unreadable(pod)}" for pod in counted if _current_price(pod) is None]
            named = ", ".join(unpriced[:_NAMED_PODS]) + (" …" if len(unpriced) > _NAMED_PODS else "")
            raise SpendLimitError(
                f"nothing was sent: the price of one of {whose} pods is unknown, so max_hourly={limit.max_hourly:g} "
                f"cannot be checked{named and f': {named}'}. Delete it, or use max_pods until the API tells its price; "
                "where it tells none for volumes, as API v2, give SpendLimit(volume_price=USD an hour for one GB)"
            )
        if before + added > limit.max_hourly + _ROUNDING_USD:
            raise SpendLimitError(
                f"nothing was sent: ${added:.2f} an hour on top of {whose} ${before:.2f} would pass "
                f"max_hourly={limit.max_hourly:g}. Delete or pause some pods, or raise the limit"
            )


def _drop_dearer(alternatives: Alternatives, table: PriceTable) -> Alternatives:
    first, *others = alternatives
    most = table.price(first)
    priced = ((other, table.price(other)) for other in others)
    return (first, *[other for other, price in priced if price is not None and most is not None and price <= most])


def _current_price(pod: Pod) -> float | None:
    """Return the USD an hour of a pod that exists; None: unknown."""
    return 0.0 if pod.status in NOT_BILLED else pod.hourly_price


def _name_unreadable(pod: Pod) -> str:
    return f" (cannot be read: {', '.join(pod.unreadable)})" if pod.unreadable else ""
