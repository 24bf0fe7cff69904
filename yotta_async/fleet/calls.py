"""Calls and waits for many pods at a time, each with an outcome of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from yotta_async.errors import YottaError
from yotta_async.fleet.report import FanOutItem, FanOutReport, OnEvent, call_hook, check_hook
from yotta_async.models.validators import whole_number
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.wait_errors import WaitError
from yotta_async.polling.waiter import StatusWaiter, Targets, WaitOptions
from yotta_async.support.tasks import spawn
from yotta_async.transport.rate_limit import bulk_priority

T = TypeVar("T")


async def call_many(
    call: Callable[[str], Awaitable[None]], pod_ids: Sequence[str], *, concurrency: int, on_event: OnEvent | None
) -> FanOutReport:
    """Call for each pod, at most `concurrency` at a time, and report what became of each."""
    whole_number("concurrency", concurrency)
    check_hook(on_event)
    items: list[FanOutItem | None] = [None] * len(pod_ids)
    remaining = iter(enumerate(pod_ids))

    async def work() -> None:
        with bulk_priority():
            for index, pod_id in remaining:
                try:
                    await call(pod_id)
                except YottaError as error:
                    item = FanOutItem(pod_id=pod_id, error=error, errors=(error,), index=index)
                else:
                    item = FanOutItem(pod_id=pod_id, index=index)
                items[index] = item
                await call_hook(on_event, item)

    await _gather([spawn(work()) for _ in range(min(concurrency, len(pod_ids)))])
    return FanOutReport(tuple(item for item in items if item is not None))


async def wait_many(
    poller: StatusPoller,
    pod_ids: Sequence[str],
    targets: Targets,
    options: WaitOptions,
    on_event: OnEvent | None,
) -> FanOutReport:
    """Wait for each; see `Pods.wait_many`."""
    check_hook(on_event)

    async def wait(index: int, pod_id: str) -> FanOutItem:
        try:
            with StatusWaiter(poller, pod_id, targets, options) as waiter:
                await waiter.wait_for_observation()
                pod = await waiter.wait()
        except YottaError as error:
            last_pod = error.last_pod if isinstance(error, WaitError) else None
            item = FanOutItem(pod_id=pod_id, pod=last_pod, error=error, errors=(error,), index=index)
        else:
            item = FanOutItem(pod_id=pod_id, pod=pod, index=index)
        await call_hook(on_event, item)
        return item

    return FanOutReport(tuple(await _gather([spawn(wait(index, pod_id)) for index, pod_id in enumerate(pod_ids)])))


async def _gather(tasks: list[asyncio.Task[T]]) -> list[T]:
    """Return what all return. A cancel, or an error of one, ends all."""
    try:
        return await asyncio.gather(*tasks)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
