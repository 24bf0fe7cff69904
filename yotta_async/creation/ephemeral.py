"""A pod for the length of a block, deleted on every way out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from yotta_async.creation.creator import PodCreator
from yotta_async.creation.deletion import wait_deferring_cancel
from yotta_async.errors import ConfigurationError, PodFailedError, YottaError
from yotta_async.fleet.spending import Reservation
from yotta_async.models.spec import Candidates, PodSpec
from yotta_async.polling.waiter import OnChange, Targets
from yotta_async.support.clock import Clock
from yotta_async.transport.retry import is_for_lack_of_capacity

if TYPE_CHECKING:
    from yotta_async.handle import PodHandle

logger = logging.getLogger("yotta_async")


class Ephemeral:
    """What `Pods.ephemeral` returns: enter it once, with `async with`."""

    def __init__(
        self,
        handle: Callable[[str], PodHandle],
        creation: PodCreator,
        clock: Clock,
        room: AbstractAsyncContextManager[Reservation],
        candidates: Candidates,
        *,
        until: Targets,
        timeout: float,
        on_change: OnChange | None,
    ) -> None:
        self._handle = handle
        self._creator = creation
        self._clock = clock
        self._room = room
        self._candidates = candidates
        self._until = until
        self._timeout = timeout
        self._on_change = on_change
        self._pod_id = ""

    async def __aenter__(self) -> PodHandle:
        candidates, self._candidates = self._candidates, ()
        if not candidates:
            raise ConfigurationError("an ephemeral pod is entered once: call `pods.ephemeral` for each block")
        deadline = self._clock.time() + self._timeout
        failed: list[YottaError] = []
        async with self._room as room:
            for spec in candidates:
                try:
                    return await self._start(spec, room, deadline)
                except YottaError as error:
                    for earlier in failed:
                        error.add_note(f"before it, another candidate: {type(earlier).__name__}: {earlier}")
                    if spec is candidates[-1] or not (
                        isinstance(error, PodFailedError) or (not self._pod_id and is_for_lack_of_capacity(error))
                    ):
                        raise
                    failed.append(error)
        raise AssertionError  # the last candidate returns or raises

    async def _start(self, spec: PodSpec, room: Reservation, deadline: float) -> PodHandle:
        """Create one pod and wait for it, or leave none."""
        self._pod_id = ""
        # Cancelled here, the create deletes its pod itself.
        self._pod_id = await self._creator.create(spec, self._creator.order(delete_on_exit=True))
        room.made(self._pod_id, spec)
        handle = self._handle(self._pod_id)
        try:
            left = max(0.001, deadline - self._clock.time())
            await handle.wait_until(status=self._until, timeout=left, on_change=self._on_change)
        except BaseException as error:
            await self._end(error)
            raise
        return handle

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end(error)

    async def _end(self, leaving: BaseException | None) -> None:
        """Delete the pod; `leaving` is what the block is left by."""
        failure: BaseException | None
        removal = self._creator.end(self._pod_id)
        if removal is None:
            return  # the client was closed around the block, and deleted it
        cancelled = await wait_deferring_cancel(
            removal, leaving if isinstance(leaving, asyncio.CancelledError) else None
        )
        if not removal.done():
            failure = YottaError(f"pod {self._pod_id} is still being deleted: closing the client waits for it")
        elif removal.cancelled():
            failure = YottaError(f"pod {self._pod_id} is left, and may bill: its deletion was cut off. Delete it")
        else:
            failure = removal.exception()
        if failure is None:
            if cancelled is not None and cancelled is not leaving:
                raise cancelled
            return
        if cancelled is not None:
            # Whoever cancelled waits for the cancel to come through, and would take another error for the block's own.
            logger.error("%s", failure)
            cancelled.add_note(str(failure))
            raise cancelled
        raise failure
