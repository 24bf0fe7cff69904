"""Creating a pod so that nobody loses one: never sent twice when it may have been heard, cleaned up when cancelled."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from yotta_async._endpoints import Endpoints
from yotta_async._retry import maybe_done
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
        self._closing = False

    async def create(self, spec: PodSpec) -> str:
        """Create a pod and return its id.

        Raises CreateOutcomeUnknownError when the create may have been heard and its answer is not known. When it is
        cancelled it waits for the answer, deletes the pod, and then lets the cancel through, after 30 s at the latest:
        what takes longer goes on in the client, and `aclose` waits for it.
        """
        if self._closing:
            raise ConfigurationError("this YottaClient is being closed: keep it open while it is in use")
        making = self._own(self._send(spec))
        try:
            await asyncio.wait({making})
        except asyncio.CancelledError as error:
            cancelled = error
        else:
            return making.result()
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
        """Take no more creates, and wait for those in flight and for the deletes of those that were cancelled."""
        self._closing = True
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

    async def _send(self, spec: PodSpec) -> str:
        token = secrets.token_hex(16) if self._client_token else None
        try:
            return await self._endpoints.create(spec, token)
        except YottaError as error:
            if not maybe_done(error):
                raise
            cause = error
        marked = "has no client token to be found by" if token is None else f"would bear {CLIENT_TOKEN}={token}"
        problem = CreateOutcomeUnknownError(
            f"a create was sent and may have made a pod, which {marked}; it is not sent again. {cause} "
            "Call `await error.resolve()` until the pod shows, or look at `pods.list()`.",
            client_token=token,
        )
        if token is not None:
            problem._look = lambda: self.find(token)  # noqa: SLF001  # the error's own way back to its client
        raise problem from cause

    async def _undo(self, making: asyncio.Task[str]) -> None:
        """Delete what a cancelled create makes."""
        try:
            pod_id = await making
        except CreateOutcomeUnknownError as error:
            logger.error("a cancelled create may have left a pod: %s", error)  # noqa: TRY400  # no traceback is needed
            return
        except YottaError:
            return
        try:
            await self._endpoints.delete(pod_id)
        except YottaError as error:
            logger.error("pod %s of a cancelled create is left, delete it: %s", pod_id, error)  # noqa: TRY400  # likewise
