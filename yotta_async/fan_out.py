"""Many pods at a time, and the truth about each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import attrs

from yotta_async._hub import Hub
from yotta_async.errors import CreateOutcomeUnknownError, FanOutError, WaitError, YottaError
from yotta_async.models import Pod
from yotta_async.spec import PodSpec
from yotta_async.waiters import Eye, Targets

OnEvent: TypeAlias = "Callable[[FanOutItem], Awaitable[object] | object]"
"""Called with an item when something about it is known; it may be a coroutine function."""


@attrs.frozen
class FanOutItem:
    """What became of one pod: `error` is None when it is as it was wanted.

    `spec` is what it was asked for with (None: it was there), `pod` how it was last seen, `attempts` how many pods were
    asked for before this came out.
    """

    spec: PodSpec | None = None
    pod_id: str | None = None
    pod: Pod | None = None
    error: Exception | None = None
    attempts: int = 1


@attrs.frozen
class FanOutReport:
    """What became of each, in the order given."""

    items: tuple[FanOutItem, ...]

    @property
    def succeeded(self) -> tuple[FanOutItem, ...]:
        """The items that are as they were wanted."""
        return tuple(item for item in self.items if item.error is None)

    @property
    def unknown(self) -> tuple[FanOutItem, ...]:
        """The items of which nobody can say whether there is a pod."""
        return tuple(item for item in self.items if isinstance(item.error, CreateOutcomeUnknownError))

    @property
    def failed(self) -> tuple[FanOutItem, ...]:
        """The items that are neither."""
        return tuple(
            item for item in self.items if item.error and not isinstance(item.error, CreateOutcomeUnknownError)
        )

    def raise_for_failures(self) -> None:
        """Raise FanOutError, which carries this report, unless every item succeeded."""
        if len(self.succeeded) < len(self.items):
            # An error goes into logs and across processes, where no environment value may go with it.
            masked = tuple(
                attrs.evolve(item, pod=item.pod.without_values() if item.pod else None) for item in self.items
            )
            raise FanOutError(self._summary(), report=FanOutReport(masked))

    def _summary(self) -> str:
        counts = f"{len(self.succeeded)} succeeded, {len(self.failed)} failed, {len(self.unknown)} unknown"
        first = [f"{item.pod_id}: {type(item.error).__name__}: {item.error}" for item in self.items if item.error]
        more = f" … and {len(first) - 3} more" if len(first) > 3 else ""
        return f"of {len(self.items)} pods {counts}: {' | '.join(first[:3])}{more}"


async def wait_many(
    hub: Hub,
    pod_ids: Sequence[str],
    targets: Targets,
    *,
    timeout: float,
    interval: float,
    on_event: OnEvent | None = None,
) -> FanOutReport:
    """Wait for each; see `Pods.wait_many`."""

    async def wait(pod_id: str) -> FanOutItem:
        try:
            pod = await Eye(hub, pod_id, targets, timeout=timeout, interval=interval).reached()
        except YottaError as error:
            last_pod = error.last_pod if isinstance(error, WaitError) else None
            item = FanOutItem(pod_id=pod_id, pod=last_pod, error=error)
        else:
            item = FanOutItem(pod_id=pod_id, pod=pod)
        if on_event is not None:
            result = on_event(item)
            if inspect.isawaitable(result):
                await result
        return item

    waits = [asyncio.ensure_future(wait(pod_id)) for pod_id in pod_ids]
    try:
        return FanOutReport(tuple(await asyncio.gather(*waits)))
    finally:
        # Of a cancel, or of what `on_event` raises, nobody goes on waiting.
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
