"""What an agent may spend and change, what a person has to confirm, and what the agent created."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from yotta_async import (
    ConfigurationError,
    CreateOutcomeUnknownError,
    PodSpec,
    SpendLimit,
    YottaClient,
    YottaError,
)
from yotta_async.agents.failures import ToolFailedError


@attrs.frozen(kw_only=True)
class ToolPolicy:
    """What the tools may spend and change, and what needs a confirmation.

    Every delete needs a confirmation. A limit also refuses what it cannot check because a price is unknown.

    Args:
        confirm_above: US dollars an hour. A create that costs more, or whose price is unknown, needs a confirmation.
        prices: US dollars an hour for one GPU, by gpu_type, for types that no pod of the account has.
        max_pods: The number of pods that the account may have. None: no limit.
        max_hourly: US dollars an hour that the pods of the account may cost together. None: no limit.
        read_only: Refuse every change.

    Raises:
        ConfigurationError: A limit makes no sense.
    """

    confirm_above: float = 5.0
    prices: Mapping[str, float] | None = None
    max_pods: int | None = None
    max_hourly: float | None = None
    read_only: bool = False

    def __attrs_post_init__(self) -> None:
        if type(self.confirm_above) not in (int, float) or not self.confirm_above >= 0:
            raise ConfigurationError("confirm_above must be a number of US dollars an hour of at least 0")
        self._build_spend_limit()

    @property
    def spend_limit(self) -> SpendLimit | None:
        """The limit for creates, or None when there is none: checking one costs a request."""
        return None if self.max_pods is None and self.max_hourly is None else self._build_spend_limit()

    def _build_spend_limit(self) -> SpendLimit:
        return SpendLimit(max_pods=self.max_pods, max_hourly=self.max_hourly, prices=self.prices or {})


class ToolSession:
    """The client of one agent, its policy, and what it created.

    `created` has the ids of the pods that the agent created and did not delete, `unknown` the client tokens of creates
    whose outcome is unknown. Both are dicts without values, to keep the order.
    """

    def __init__(self, yotta: YottaClient, policy: ToolPolicy) -> None:
        self.pods = yotta.pods
        self.gpus = yotta.gpus
        self.policy = policy
        self.created: dict[str, None] = {}
        self.unknown: dict[str, None] = {}

    def record_unknown(self, error: CreateOutcomeUnknownError) -> None:
        """Remember the token of a create whose outcome is unknown."""
        if error.client_token is not None:
            self.unknown[error.client_token] = None

    def check_writable(self) -> None:
        """Raise ToolFailedError if nothing may be changed."""
        if self.policy.read_only:
            raise ToolFailedError(
                "Refused, and nothing was changed: this session is read-only (read_only). Ask the user to start it "
                "without that option."
            )

    async def build_create_question(self, spec: PodSpec, count: int = 1) -> str | None:
        """Return what to ask a person before `count` such pods are created, or None if they are cheap enough.

        Raises SpendLimitError if a limit forbids them, and ToolFailedError if nothing may be changed.
        """
        self.check_writable()
        policy = self.policy
        plan = await self.pods.plan([spec] * count, prices=policy.prices, spend_limit=policy.spend_limit)
        if plan.refusal is not None:
            raise plan.refusal
        price = plan.hourly_price
        if price is not None and price <= policy.confirm_above:
            return None
        cost = "at an unknown price" if price is None else f"for {price:g} USD an hour"
        pods = "a pod" if count == 1 else f"{count} pods"
        return f"Create {pods} with {spec.gpu_count or 1} x {spec.gpu_type}{' each' if count > 1 else ''}, {cost}?"

    async def require_create_confirmation(self, spec: PodSpec, count: int = 1, *, confirm: bool) -> None:
        """Raise ToolFailedError if a person has to confirm these creates and `confirm` is False."""
        question = await self.build_create_question(spec, count)
        if question is not None and not confirm:
            raise ToolFailedError(
                f"Not confirmed, and nothing was created: {question} A create that costs more than "
                f"{self.policy.confirm_above:g} USD an hour (confirm_above), or whose price is unknown, needs "
                "confirm=true: ask the user, and then call again with it."
            )

    async def build_delete_question(self, pod_id: str) -> str:
        """Return what to ask a person before a pod is deleted. Raises ToolFailedError if nothing may be changed."""
        self.check_writable()
        pod = await self.pods.get(pod_id)
        return f"Delete pod {pod.id} ({pod.pod_name or 'without a name'})?"

    async def delete_created(self) -> int:
        """Delete the pods that this session created, and return how many; `created` keeps those that it could not."""
        before = len(self.created)
        for pod_id in list(self.created):
            try:
                await self.pods.delete(pod_id, missing_ok=True)
            except YottaError:
                continue
            del self.created[pod_id]
        return before - len(self.created)
