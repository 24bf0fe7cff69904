"""A pod for the length of a block, deleted on every way out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, NoReturn, TypeAlias, TypeVar

import attrs

from yotta_async.creation.creator import PodCreator
from yotta_async.errors import CapacityError, ConfigurationError, YottaError
from yotta_async.models.spec import Alternatives, PodSpec
from yotta_async.polling.wait_errors import PodFailedError
from yotta_async.support.clock import Clock
from yotta_async.support.tasks import wait_deferring_cancel

H_co = TypeVar("H_co", covariant=True)

RecordPod: TypeAlias = Callable[[str, PodSpec], None]
"""Called with the id and the spec of a pod that was created."""

logger = logging.getLogger("yotta_async")


@attrs.define(eq=False, repr=False)
class Ephemeral(Generic[H_co]):
    """A pod for a block, to be entered once with `async with`. Not constructed directly: `Pods.ephemeral` returns it.

    `find_alternatives` takes a deadline, and returns what is tried in turn. `reserve` takes these alternatives, and
    yields the function that records each created pod. `wait_for` takes a pod's id and a number of seconds, waits for
    the pod, and returns its handle.
    """

    _creator: PodCreator
    _clock: Clock
    _find_alternatives: Callable[[float], Awaitable[Alternatives]]
    _reserve: Callable[[Alternatives], AbstractAsyncContextManager[RecordPod]]
    _wait_for: Callable[[str, float], Awaitable[H_co]]
    _timeout: float
    _was_entered: bool = attrs.field(init=False, default=False)
    _pod_id: str = attrs.field(init=False, default="")

    def __enter__(self) -> NoReturn:
        raise ConfigurationError("ephemeral() is for `async with`: `async with yotta.pods.ephemeral(…) as handle:`")

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> H_co:
        if self._was_entered:
            raise ConfigurationError("an ephemeral pod is entered once: call `pods.ephemeral` for each block")
        self._was_entered = True
        deadline = self._clock.time() + self._timeout
        alternatives = await self._find_alternatives(deadline)
        failures: list[YottaError] = []
        async with self._reserve(alternatives) as record_pod:
            for spec in alternatives:
                try:
                    return await self._start(spec, record_pod, deadline)
                except YottaError as error:
                    for earlier in failures:
                        error.add_note(f"Before it, another alternative: {type(earlier).__name__}: {earlier}")
                    if spec is alternatives[-1] or not isinstance(error, CapacityError | PodFailedError):
                        raise
                    failures.append(error)
        raise AssertionError  # the last alternative returns or raises

    async def _start(self, spec: PodSpec, record_pod: RecordPod, deadline: float) -> H_co:
        """Create one pod and wait for it; leave none behind when that fails."""
        # Cancelled here, the create deletes its pod itself.
        self._pod_id = await self._creator.create(spec, self._creator.new_attempt(delete_on_exit=True))
        record_pod(self._pod_id, spec)
        try:
            return await self._wait_for(self._pod_id, max(0.001, deadline - self._clock.time()))
        except BaseException as error:
            await self._delete(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._delete(error)

    async def _delete(self, leaving: BaseException | None) -> None:
        """Delete the pod. `leaving` is the exception that the block is left by."""
        failure: BaseException | None
        deletion = self._creator.start_deletion(self._pod_id)
        if deletion is None:
            return  # the client was closed around the block, and deleted it
        cancelled = await wait_deferring_cancel(
            deletion, leaving if isinstance(leaving, asyncio.CancelledError) else None
        )
        if not deletion.done():
            failure = YottaError(f"pod {self._pod_id} is still being deleted: closing the client waits for it")
        elif deletion.cancelled():
            failure = YottaError(f"pod {self._pod_id} is left, and may bill: its deletion was cancelled. Delete it")
        else:
            failure = deletion.exception()
        if failure is None:
            if cancelled is not None and cancelled is not leaving:
                raise cancelled
            return
        if cancelled is not None:
            # A caller that cancels waits for the cancel, and would take another error for the block's own.
            logger.error("%s", failure)
            cancelled.add_note(str(failure))
            raise cancelled
        raise failure
