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
from yotta_async.api.wire import CLIENT_TOKEN
from yotta_async.creation.deletion import hold, remove
from yotta_async.creation.journal import Journal
from yotta_async.creation.recovery import Settling
from yotta_async.errors import ConfigurationError, CreateOutcomeUnknownError, YottaError
from yotta_async.models.spec import PodSpec
from yotta_async.polling.poller import Hub
from yotta_async.support.tasks import begin
from yotta_async.transport.exchange import Mark
from yotta_async.transport.retry import maybe_done

if TYPE_CHECKING:
    from yotta_async.handle import PodHandle

T = TypeVar("T")

logger = logging.getLogger("yotta_async")


class Order:
    """One create: its token, whether it may have been heard, and whether its pod is the client's to delete."""

    def __init__(self, token: str | None, *, owned: bool) -> None:
        self.token = token
        self.owned = owned
        self.mark = Mark()


class Creation:
    """One client's creates and deletes. They run in tasks that the client owns, which no caller's cancel cuts off."""

    def __init__(
        self,
        endpoints: Endpoints,
        hub: Hub,
        handle: Callable[[str], PodHandle],
        *,
        client_token: bool,
        settling: Settling,
        journal: Journal | None,
    ) -> None:
        self._endpoints = endpoints
        self._hub = hub
        self._handle = handle
        self._client_token = client_token
        self._settling = settling
        self._journal = journal
        self._tasks: set[asyncio.Task[Any]] = set()
        self._making: dict[asyncio.Task[str], Order] = {}
        self._owned: dict[str, str | None] = {}  # pods to be deleted, with their tokens
        self._removals: dict[str, asyncio.Task[None]] = {}
        self.closing = asyncio.Event()

    def order(self, *, owned: bool) -> Order:
        """Return a new order. If it is `owned` its pod is for `end` to delete, and for closing at the latest."""
        return Order(os.urandom(16).hex() if self._client_token else None, owned=owned)

    async def create(self, spec: PodSpec, order: Order) -> str:
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
        order.owned = order.mark.given_up = True
        if not making.done() and not order.mark.sent:
            making.cancel()  # nobody has heard of it, and nobody will
        await hold(self.own(self._undo(making, order.token)), cancelled)
        raise cancelled

    def end(self, pod_id: str) -> asyncio.Task[None] | None:
        """Begin to delete an owned pod, or go on with it, and return the task, which ends as `remove` does.

        None when it is owned no more: it is gone.
        """
        if pod_id not in self._owned:
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
            order.mark.given_up = True
            if not order.mark.sent:
                making.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        removals = {pod_id: removal for pod_id in list(self._owned) if (removal := self.end(pod_id)) is not None}
        if removals:
            await asyncio.wait(removals.values())
        for removal in removals.values():
            if not removal.cancelled() and (error := removal.exception()) is not None:
                logger.error("%s", error)
        if self._journal is not None:
            await self._journal.close()

    async def find(self, token: str) -> PodHandle | None:
        """Return the pod that bears the token, or None when the list shows none."""
        found = await self._settling.look(token)
        if not found:
            return None
        adopting = self.own(self._adopt(Order(token, owned=False), found))
        cancelled = await hold(adopting)
        if cancelled is not None:
            await self._reopen(token)
            raise cancelled
        return self._handle(adopting.result())

    async def keep(self, pod_ids: Iterable[str]) -> dict[str, str | None]:
        """Hand owned pods over to the caller; return their tokens."""
        kept = {pod_id: self._owned[pod_id] for pod_id in pod_ids if pod_id in self._owned}
        if self._journal is not None:
            await asyncio.gather(*(self._journal_done(token, pod_id) for pod_id, token in kept.items()))
        for pod_id in kept:
            del self._owned[pod_id]
        return kept

    async def take_back(self, kept: dict[str, str | None]) -> None:
        """Own pods again that were handed over to a caller who is not there any more."""
        self._owned.update(kept)
        for token in kept.values():
            await self._reopen(token)

    def own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in a task that closing waits for."""
        task = begin(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whose caller is gone; what it leaves is tried again, and told, when the client is closed

    async def _make(self, spec: PodSpec, order: Order) -> str:
        try:
            if self._journal is not None and order.token is not None:
                await self._journal.intend(order.token)
            found = [await self._endpoints.create(spec, order.token, order.mark)]
        except asyncio.CancelledError:
            if not order.mark.sent:
                await self._journal_done(order.token)
                raise
            raise self.unknown(order.token, "Its answer was cut off, as every task was cancelled.") from None
        except YottaError as error:
            if not maybe_done(error):
                await self._journal_done(order.token)
                raise
            found, why = await self._settled(order.token)
            if not found:
                raise self.unknown(order.token, f"{error}{why}") from error
        return await self._adopt(order, found)

    async def _settled(self, token: str | None) -> tuple[list[str], str]:
        """Return the ids of the pods that the lists show, or none, and why not."""
        if token is None:
            return [], ""
        try:
            found = await self._settling.find(token)
        except asyncio.CancelledError:
            return [], " Looking for it was cut off."
        except YottaError as error:
            return [], f" It cannot be looked for: {type(error).__name__}."
        return found, "" if found else f" No list has shown it since.{self._settling.trouble}"

    async def _adopt(self, order: Order, found: list[str]) -> str:
        """Keep the first of the pods with the token, and delete the others, which a proxy's repeat can have made."""
        pod_id, *others = found
        self._hub.looks.created(pod_id)  # one answer shows it, and the next may come from who has not heard of it yet
        for other in others:
            self._owned[other] = None
            self.end(other)
        # A cancel of every task must not lose the id; the line is written nevertheless.
        with suppress(asyncio.CancelledError):
            if not order.owned:
                await self._journal_done(order.token, pod_id)
            elif self._journal is not None and order.token is not None:
                await self._journal.made(order.token, pod_id)
        if order.owned:
            self._owned[pod_id] = order.token
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
        await remove(self._endpoints, self._hub.clock, pod_id, is_newborn=self._hub.looks.is_newborn)
        self._hub.looks.deleted(pod_id)
        await self._journal_done(self._owned[pod_id])
        del self._owned[pod_id], self._removals[pod_id]

    def unknown(self, token: str | None, what: str) -> CreateOutcomeUnknownError:
        """Make the error of a create that may have made a pod."""
        marked = "has no client token to be found by" if token is None else f"would bear {CLIENT_TOKEN}={token}"
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
                found = await self._settling.look(token) if token is not None else []
            for pod_id in found:
                self._owned[pod_id] = token
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
