"""What binds an agent: limits of what it may spend, and what a person is asked before it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

from yotta_async.agents.results import ToolFailedError
from yotta_async.client import YottaClient
from yotta_async.errors import ConfigurationError, CreateOutcomeUnknownError
from yotta_async.fleet.spending import SpendLimit
from yotta_async.models.spec import PodFields, PodSpec, spec_from


class Bounded:
    """The limits of one session, and what it made.

    `confirm_above` is in US dollars an hour: a create that costs more, or whose price is unknown, wants `confirm=True`,
    as every delete does. `prices` are US dollars an hour for one GPU by gpu_type, for those that the account shows no
    price of. `max_pods` and `max_hourly` bind as a SpendLimit over the account does; `read_only` refuses every change.
    """

    def __init__(
        self,
        yotta: YottaClient,
        *,
        confirm_above: float = 5.0,
        prices: Mapping[str, float] | None = None,
        max_pods: int | None = None,
        max_hourly: float | None = None,
        read_only: bool = False,
    ) -> None:
        if type(confirm_above) not in (int, float) or not confirm_above >= 0:
            raise ConfigurationError("confirm_above must be a number of US dollars an hour of at least 0")
        self._pods = yotta.pods
        self._limit = SpendLimit(max_pods=max_pods, max_hourly=max_hourly, prices=prices or {})
        self._bounded = max_pods is not None or max_hourly is not None
        self._confirm_above = confirm_above
        self._read_only = read_only
        self.created: dict[str, None] = {}
        self.unknown: dict[str, None] = {}  # tokens of creates of which nobody knows whether they made a pod

    def _note_unknown(self, error: CreateOutcomeUnknownError) -> None:
        if error.client_token is not None:
            self.unknown[error.client_token] = None

    def _refuse_if_read_only(self) -> None:
        """Raise ToolFailedError when nothing may be changed."""
        if self._read_only:
            raise ToolFailedError(
                "Refused: this session is read-only (read_only), and nothing was changed. Ask the user to start it "
                "without that."
            )

    async def question(self, count: int = 1, **fields: Unpack[PodFields]) -> str | None:
        """Do what `question_about` does for pods with such fields."""
        return await self.question_about(spec_from(None, {"image": "-", **fields}), count)

    async def question_about(self, spec: PodSpec, count: int = 1) -> str | None:
        """Return what to ask a person before such pods are created, or None when they are cheap enough.

        Raises ToolFailedError when nothing may be created, and what the list of pods raises.
        """
        self._refuse_if_read_only()
        plan = await self._pods.plan([spec] * count, prices=self._limit.prices)
        if self._limit.max_pods is not None and plan.pods_now + count > self._limit.max_pods:
            raise ToolFailedError(
                f"Refused, and nothing was created: there are {plan.pods_now} pods, and max_pods, which is "
                f"{self._limit.max_pods}, would be passed. Delete a pod, ask for fewer, or ask for a higher limit."
            )
        price = plan.hourly_price
        if price is not None and price <= self._confirm_above:
            return None
        cost = "at a price that nobody knows before" if price is None else f"for {price:g} USD an hour"
        pods = "a pod" if count == 1 else f"{count} pods"
        return f"Create {pods} with {spec.gpu_count or 1} x {spec.gpu_type}{' each' if count > 1 else ''}, {cost}?"

    async def _agree(self, spec: PodSpec, count: int = 1, *, confirm: bool) -> None:
        question = await self.question_about(spec, count)
        if question is not None and not confirm:
            raise ToolFailedError(
                f"Not confirmed, and nothing was created: {question} Whatever costs more than "
                f"{self._confirm_above:g} USD an hour (confirm_above), or has no known price, wants confirm=true: ask "
                "the user, and then call again with it."
            )
