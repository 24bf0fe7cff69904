"""Creating a pod so that nobody loses one: never sent twice when it may have been heard, cleaned up when cancelled."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from yotta_async._endpoints import Endpoints
from yotta_async._retry import maybe_done
from yotta_async._transport import Mark
from yotta_async._wire import CLIENT_TOKEN
from yotta_async.errors import ConfigurationError, CreateOutcomeUnknownError, YottaError
from yotta_async.spec import PodSpec

if TYPE_CHECKING:
    from yotta_async.handle import PodHandle

T = TypeVar("T")

logger = logging.getLogger("yotta_async")

# How long a cancelled create holds its caller back while its pod is being deleted again.
_CANCEL_SECONDS = 30.0


class Creation:
    """One client's creates. They run in tasks that the client owns, so that a caller's cancel does not cut them off."""

    def __init__(self, endpoints: Endpoints, handle: Callable[[str], PodHandle], *, client_token: bool) -> None:
        self._endpoints = endpoints
        self._handle = handle
        self._client_token = client_token
        self._tasks: set[asyncio.Task[Any]] = set()
        self._marks: WeakKeyDictionary[asyncio.Task[Any], Mark] = WeakKeyDictionary()
        self._closing = False

    async def create(self, spec: PodSpec) -> str:
        """Create a pod and return its id.

        Raises CreateOutcomeUnknownError when the create may have been heard and its answer is not known. When it is
        cancelled it waits for the answer, deletes the pod, and then lets the cancel through, after 30 s at the latest:
        what takes longer goes on in the client, and `aclose` waits for it.
        """
        if self._closing:
            raise ConfigurationError("this YottaClient is being closed: keep it open while it is in use")
        mark = Mark()
        making = self._own(self._send(spec, mark))
        self._marks[making] = mark
        try:
            await asyncio.wait({making})
        except asyncio.CancelledError as error:
            cancelled = error
        else:
            if making.cancelled():
                raise ConfigurationError("the create was not sent: the client was closed, or all tasks were cancelled")
            return making.result()
        if not making.done() and not mark.sent:
            making.cancel()  # nobody has heard of it, and nobody will
        undoing = self._own(self._undo(making))
        loop = asyncio.get_running_loop()
        until = loop.time() + _CANCEL_SECONDS
        while not undoing.done() and loop.time() < until:
            try:
                await asyncio.wait({undoing}, timeout=until - loop.time())
            except asyncio.CancelledError:
                pass  # a second cancel changes nothing: the first one is on its way, as soon as no pod is left
        raise cancelled

    async def settle(self) -> None:
        """Take no more creates, end those that nobody has heard, and wait for the others and for deletes under way."""
        self._closing = True
        for making, mark in self._marks.items():
            if not mark.sent:
                making.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def find(self, client_token: str) -> PodHandle | None:
        """Return the pod that bears the token, or None when the list shows none."""
        for pod in await self._endpoints.list():
            if any(item.key == CLIENT_TOKEN and item.value == client_token for item in pod.environment_vars):
                return self._handle(pod.id)
        return None

    def _own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _send(self, spec: PodSpec, mark: Mark) -> str:
        token = os.urandom(16).hex() if self._client_token else None
        cause: YottaError | None = None
        try:
            return await self._endpoints.create(spec, token, mark)
        except asyncio.CancelledError:
            if not mark.sent:
                raise
            what = "Its answer was cut off, as every task was cancelled."
        except YottaError as error:
            if not maybe_done(error):
                raise
            cause, what = error, str(error)
        marked = "has no client token to be found by" if token is None else f"would bear {CLIENT_TOKEN}={token}"
        problem = CreateOutcomeUnknownError(
            f"a create was sent and may have made a pod, which {marked}; it is not sent again. {what} "
            "Call `await error.resolve()` until the pod shows, or look at `pods.list()`.",
            client_token=token,
        )
        if token is not None:
            problem._look = lambda: self.find(token)  # noqa: SLF001  # the error's own way back to its client
        raise problem from cause

    async def _undo(self, making: asyncio.Task[str]) -> None:
        """Delete what a cancelled create makes, or say what may be left."""
        await asyncio.wait({making})
        if making.cancelled():
            return  # it was not sent
        failure = making.exception()
        if failure is not None and not isinstance(failure, CreateOutcomeUnknownError):
            return  # there is no pod
        left = str(failure or f"pod {making.result()}")
        try:
            found = making.result() if failure is None else await self._id_of(failure)
            if found is not None:
                await self._endpoints.delete(found, missing_ok=True)
                return
        except YottaError as error:
            left += f" ({error})"
        logger.error("a cancelled create may have left a pod: %s", left)

    async def _id_of(self, failure: CreateOutcomeUnknownError) -> str | None:
        found = await self.find(failure.client_token) if failure.client_token else None
        return found.id if found else None
