"""Creating a pod so that nobody loses one: sent at most once when it may have been heard, and then looked for.

Every create bears a random token. Without a usable answer it is not sent again: lists show whether there is a pod with
the token. With a journal, the token is on the disk before the create is sent, and stays open there until the pod was
handed over or is gone, so that `reap` can clean up after a process that was killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from yotta_async.api.endpoints import Endpoints
from yotta_async.creation.deletion import remove, wait_deferring_cancel
from yotta_async.creation.journal import Journal
from yotta_async.creation.recovery import CreateRecovery
from yotta_async.errors import ConfigurationError, CreateOutcomeUnknownError, YottaError
from yotta_async.models.pod import CLIENT_TOKEN_VARIABLE
from yotta_async.models.spec import PodSpec
from yotta_async.polling.poller import StatusPoller
from yotta_async.support.tasks import spawn
from yotta_async.transport.messages import SendState
from yotta_async.transport.retry import may_have_been_processed

if TYPE_CHECKING:
    from yotta_async.handle import PodHandle

T = TypeVar("T")

logger = logging.getLogger("yotta_async")


class CreateAttempt:
    """One create: its token, whether it may have been heard, and whether its pod is the client's to delete."""

    def __init__(self, token: str | None, *, delete_on_exit: bool) -> None:
        self.token = token
        self.delete_on_exit = delete_on_exit
        self.send_state = SendState()


class PodCreator:
    """One client's creates and deletes. They run in tasks that the client owns, which no caller's cancel cuts off."""

    def __init__(
        self,
        endpoints: Endpoints,
        poller: StatusPoller,
        handle: Callable[[str], PodHandle],
        *,
        client_token: bool,
        settling: CreateRecovery,
        journal: Journal | None,
    ) -> None:
        self._endpoints = endpoints
        self._poller = poller
        self._handle = handle
        self._client_token = client_token
        self._recovery = settling
        self._journal = journal
        self._tasks: set[asyncio.Task[Any]] = set()
        self._making: dict[asyncio.Task[str], CreateAttempt] = {}
        self._delete_on_exit: dict[str, str | None] = {}  # pods to be deleted, with their tokens
        self._removals: dict[str, asyncio.Task[None]] = {}
        self.closing = asyncio.Event()

    def order(self, *, delete_on_exit: bool) -> CreateAttempt:
        """Return a new order. If it is `owned` its pod is for `end` to delete, and for closing at the latest."""
        return CreateAttempt(os.urandom(16).hex() if self._client_token else None, delete_on_exit=delete_on_exit)

    async def create(self, spec: PodSpec, order: CreateAttempt) -> str:
        """Create a pod and return its id.

        Raises CreateOutcomeUnknownError when the create may have been heard and its outcome does not show. When it is
        cancelled it waits for the outcome, deletes the pod, and then lets the cancel through, after 30 s at the latest:
        what takes longer goes on in the client, and closing waits for it.
        """
        if self.closing.is_set():
            raise ConfigurationError("this YottaClient is being closed: keep it open while it is in use")
        making = self.own(self._make(spec, order))
        self._making[making] = order
        making.add_done_callback(self._making.pop)
        try:
            await asyncio.wait({making})
        except asyncio.CancelledError as error:
            cancelled = error
        else:
            if making.cancelled():
                raise ConfigurationError("the create was not sent: the client was closed, or all tasks were cancelled")
            return making.result()
        order.delete_on_exit = order.send_state.abandoned = True
        if not making.done() and not order.send_state.request_sent:
            making.cancel()  # nobody has heard of it, and nobody will
        await wait_deferring_cancel(self.own(self._undo(making, order.token)), cancelled)
        raise cancelled

    def end(self, pod_id: str) -> asyncio.Task[None] | None:
        """Begin to delete an owned pod, or go on with it, and return the task, which ends as `remove` does.

        None when it is owned no more: it is gone.
        """
        if pod_id not in self._delete_on_exit:
            return None
        removal = self._removals.get(pod_id)
        if removal is None or removal.done():
            removal = self._removals[pod_id] = self.own(self._remove(pod_id))
        return removal

    async def settle(self) -> None:
        """End creates that nobody has heard, wait for the others, and delete what is owned.

        Pods that are left are named in the log.
        """
        for making, order in self._making.items():
            order.send_state.abandoned = True
            if not order.send_state.request_sent:
                making.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        removals = {
            pod_id: removal for pod_id in list(self._delete_on_exit) if (removal := self.end(pod_id)) is not None
        }
        if removals:
            await asyncio.wait(removals.values())
        for removal in removals.values():
            if not removal.cancelled() and (error := removal.exception()) is not None:
                logger.error("%s", error)
        if self._journal is not None:
            await self._journal.close()

    async def find(self, token: str) -> PodHandle | None:
        """Return the pod that bears the token, or None when the list shows none."""
        found = await self._recovery.look(token)
        if not found:
            return None
        adopting = self.own(self._register(CreateAttempt(token, delete_on_exit=False), found))
        cancelled = await wait_deferring_cancel(adopting)
        if cancelled is not None:
            await self._reopen(token)
            raise cancelled
        return self._handle(adopting.result())

    async def release(self, pod_ids: Iterable[str]) -> dict[str, str | None]:
        """Hand owned pods over to the caller; return their tokens."""
        kept = {pod_id: self._delete_on_exit[pod_id] for pod_id in pod_ids if pod_id in self._delete_on_exit}
        if self._journal is not None:
            await asyncio.gather(*(self._journal_done(token, pod_id) for pod_id, token in kept.items()))
        for pod_id in kept:
            del self._delete_on_exit[pod_id]
        return kept

    async def reclaim(self, kept: dict[str, str | None]) -> None:
        """Own pods again that were handed over to a caller who is not there any more."""
        self._delete_on_exit.update(kept)
        for token in kept.values():
            await self._reopen(token)

    def own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in a task that closing waits for."""
        task = spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whose caller is gone; what it leaves is tried again, and told, when the client is closed

    async def _make(self, spec: PodSpec, order: CreateAttempt) -> str:
        try:
            if self._journal is not None and order.token is not None:
                await self._journal.intend(order.token)
            found = [await self._endpoints.create(spec, order.token, order.send_state)]
        except asyncio.CancelledError:
            if not order.send_state.request_sent:
                await self._journal_done(order.token)
                raise
            raise self.unknown(order.token, "Its answer was cut off, as every task was cancelled.") from None
        except YottaError as error:
            if not may_have_been_processed(error):
                await self._journal_done(order.token)
                raise
            found, why = await self._settled(order.token)
            if not found:
                raise self.unknown(order.token, f"{error}{why}") from error
        return await self._register(order, found)

    async def _settled(self, token: str | None) -> tuple[list[str], str]:
        """Return the ids of the pods that the lists show, or none, and why not."""
        if token is None:
            return [], ""
        try:
            found = await self._recovery.find(token)
        except asyncio.CancelledError:
            return [], " Looking for it was cut off."
        except YottaError as error:
            return [], f" It cannot be looked for: {type(error).__name__}."
        return found, "" if found else f" No list has shown it since.{self._recovery.trouble}"

    async def _register(self, order: CreateAttempt, found: list[str]) -> str:
        """Keep the first of the pods with the token, and delete the others, which a proxy's repeat can have made."""
        pod_id, *others = found
        self._poller.recently_created.add(
            pod_id
        )  # one answer shows it, and the next may come from who has not heard of it yet
        for other in others:
            self._delete_on_exit[other] = None
            self.end(other)
        # A cancel of every task must not lose the id; the line is written nevertheless.
        with suppress(asyncio.CancelledError):
            if not order.delete_on_exit:
                await self._journal_done(order.token, pod_id)
            elif self._journal is not None and order.token is not None:
                await self._journal.made(order.token, pod_id)
        if order.delete_on_exit:
            self._delete_on_exit[pod_id] = order.token
        return pod_id

    async def _journal_done(self, token: str | None, pod_id: str | None = None) -> None:
        if self._journal is not None and token is not None:
            await self._journal.done(token, pod_id)

    async def _reopen(self, token: str | None) -> None:
        """Note that a pod, handed over at the very moment of the caller's cancel, is nobody's after all."""
        if self._journal is not None and token is not None and token not in self._journal.open:
            with suppress(ConfigurationError):
                await self._journal.intend(token)

    async def _remove(self, pod_id: str) -> None:
        await remove(
            self._endpoints, self._poller.clock, pod_id, is_recently_created=self._poller.recently_created.__contains__
        )
        self._poller.note_deleted(pod_id)
        await self._journal_done(self._delete_on_exit[pod_id])
        del self._delete_on_exit[pod_id], self._removals[pod_id]

    def unknown(self, token: str | None, what: str) -> CreateOutcomeUnknownError:
        """Make the error of a create that may have made a pod."""
        marked = (
            "has no client token to be found by" if token is None else f"would bear {CLIENT_TOKEN_VARIABLE}={token}"
        )
        problem = CreateOutcomeUnknownError(
            f"a create was sent and may have made a pod, which {marked}; it is not sent again. {what} "
            "Call `await error.resolve()` until the pod shows, or look at `pods.list()`.",
            client_token=token,
        )
        if token is not None:
            problem._look = lambda: self.find(token)  # noqa: SLF001  # the error's own way back to its client
        return problem

    async def _undo(self, making: asyncio.Task[str], token: str | None) -> None:
        """Delete what a cancelled create makes, or say what may be left."""
        await asyncio.wait({making})
        if making.cancelled():
            return  # it was not sent
        failure = making.exception()
        if failure is not None and not isinstance(failure, CreateOutcomeUnknownError):
            return  # there is no pod
        left = str(failure or f"pod {making.result()}")
        try:
            if failure is None:
                found = [making.result()]
            else:
                found = await self._recovery.look(token) if token is not None else []
            for pod_id in found:
                self._delete_on_exit[pod_id] = token
            await self._reopen(token)
            for pod_id in found:
                removal = self.end(pod_id)
                if removal is not None:
                    await removal
            if found:
                return
        except YottaError as error:
            left += f" ({error})"
        logger.error("a cancelled create may have left a pod: %s", left)
