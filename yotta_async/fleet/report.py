"""Many pods at a time, and the truth about each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

import attrs

from yotta_async.errors import CreateOutcomeUnknownError, FanOutError, WaitError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodSpec
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.waiter import StatusWaiter, Targets
from yotta_async.transport.rate_limit import bulk_priority

T = TypeVar("T")

OnEvent: TypeAlias = "Callable[[FanOutItem], Awaitable[object] | object]"
"""Called with an item when something about it is known; it may be a coroutine function."""


@attrs.frozen
class FanOutItem:
    """What became of one pod: `error` is None when it is as it was wanted.

    `spec` is what it was asked for with, secrets included (None: it was there), `pod` how it was last seen, `attempts`
    how many pods were asked for before this came out, and `errors` what went wrong with each of them, the last one
    included.
    """

    spec: PodSpec | None = None
    pod_id: str | None = None
    pod: Pod | None = None
    error: Exception | None = None
    attempts: int = 1
    errors: tuple[Exception, ...] = ()

    def redacted(self) -> FanOutItem:
        """Return a copy whose spec and pod have no secrets."""
        return attrs.evolve(self, spec=self.spec and self.spec.redacted(), pod=self.pod and self.pod.redacted())


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
            raise self.error()

    def error(self, why: str = "") -> FanOutError:
        """Return the error that carries this report; `why` comes before its counts."""
        return FanOutError(why + self._summary(), report=self)

    def redacted(self) -> FanOutReport:
        """Return a copy whose specs and pods have no secrets, fit for a log or another process."""
        return FanOutReport(tuple(item.redacted() for item in self.items))

    def _summary(self) -> str:
        counts = f"{len(self.succeeded)} succeeded, {len(self.failed)} failed, {len(self.unknown)} unknown"
        first = [f"{item.pod_id}: {type(item.error).__name__}: {item.error}" for item in self.items if item.error]
        more = f" … and {len(first) - 3} more" if len(first) > 3 else ""
        return f"of {len(self.items)} pods {counts}: {' | '.join(first[:3])}{more}"


async def tell(on_event: OnEvent, item: FanOutItem) -> None:
    """Call `on_event`, and wait for it when it is a coroutine function."""
    result = on_event(item)
    if inspect.isawaitable(result):
        await result


async def call_many(
    call: Callable[[str], Awaitable[None]],
    pod_ids: Sequence[str],
    *,
    concurrency: int,
    on_event: OnEvent | None = None,
) -> FanOutReport:
    """Call for each pod, so many at a time, and report what became of each."""
    items: list[FanOutItem | None] = [None] * len(pod_ids)
    needs_poll = iter(enumerate(pod_ids))

    async def work() -> None:
        with bulk_priority():
            for index, pod_id in needs_poll:
                try:
                    await call(pod_id)
                except YottaError as error:
                    item = FanOutItem(pod_id=pod_id, error=error, errors=(error,))
                else:
                    item = FanOutItem(pod_id=pod_id)
                items[index] = item
                if on_event is not None:
                    await tell(on_event, item)

    await _all([asyncio.ensure_future(work()) for _ in range(min(concurrency, len(pod_ids)))])
    return FanOutReport(tuple(item for item in items if item is not None))


async def _all(tasks: list[asyncio.Task[T]]) -> list[T]:
    """Return what all return; of a cancel, or of what one raises, nobody goes on."""
    try:
        return await asyncio.gather(*tasks)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def wait_many(
    poller: StatusPoller,
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
            with StatusWaiter(poller, pod_id, targets, timeout=timeout, interval=interval) as waiter:
                await waiter.wait_for_observation()
                pod = await waiter.wait()
        except YottaError as error:
            last_pod = error.last_pod if isinstance(error, WaitError) else None
            item = FanOutItem(pod_id=pod_id, pod=last_pod, error=error, errors=(error,))
        else:
            item = FanOutItem(pod_id=pod_id, pod=pod)
        if on_event is not None:
            await tell(on_event, item)
        return item

    return FanOutReport(tuple(await _all([asyncio.ensure_future(wait(pod_id)) for pod_id in pod_ids])))
