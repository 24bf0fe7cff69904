"""Creating a pod so that none is lost: a create that may have reached the server is never sent again.

Every create has a random token. Without a usable response the client searches lists for a pod with that token. With a
journal, the token is on the disk before the create is sent, and stays open there until the pod is handed over or gone,
so that `reap` can clean up after a process that was killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import attrs

from yotta_async.api.endpoints import Endpoints
from yotta_async.creation.deletion import delete_until_gone
from yotta_async.creation.journal import Journal
from yotta_async.creation.recovery import CreateRecovery
from yotta_async.errors import ConfigurationError, YottaError
from yotta_async.models.client_tokens import CLIENT_TOKEN_VARIABLE, build_pod_name, draw_token
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodSpec
from yotta_async.polling.poller import StatusPoller
from yotta_async.support.tasks import spawn, wait_deferring_cancel
from yotta_async.transport.messages import SendState
from yotta_async.transport.retry import may_have_been_processed

T = TypeVar("T")

logger = logging.getLogger("yotta_async")

_RESOLVE_ADVICE = "Call `await error.resolve()` until the pod shows, or see `pods.list()`."
_COMPARE_ADVICE = "Compare `pods.list()` with the pods that you know, and keep or delete the one that is new."


class CreateUnknownError(YottaError):
    """A create was sent, no usable response came, and no pod has been found, so there may be a pod that bills.

    A client raises it as CreateOutcomeUnknownError, which can find the pod.

    Attributes:
        client_token: the value of the environment variable YOTTA_CLIENT_TOKEN that such a pod has, or None when the
            client sends none.

    """

    def __init__(self, message: str = "", *, client_token: str | None = None) -> None:
        super().__init__(message)
        self.client_token = client_token


@attrs.define
class CreateAttempt:
    """One create: its token, how far its request got, and whether the client deletes its pod when it is closed.

    `is_undone`: it was cancelled, and there is no pod of it. `pod` is the pod in the response, if the API shows it
    there.
    """

    token: str | None
    delete_on_exit: bool
    send_state: SendState = attrs.field(factory=SendState)
    is_undone: bool = False
    pod: Pod | None = None


@attrs.define(eq=False)
class PodCreator:
    """One client's creates and deletions. They run in tasks of the client's own, which no caller's cancel ends.

    `delete_on_exit` has the pods that `drain` deletes, with their tokens.
    """

    _endpoints: Endpoints
    _poller: StatusPoller
    recovery: CreateRecovery
    journal: Journal | None
    _client_token: bool
    _make_unknown_error: Callable[[str, str | None], CreateUnknownError]
    delete_on_exit: dict[str, str | None] = attrs.field(init=False, factory=dict)
    closing: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)
    _tasks: set[asyncio.Task[Any]] = attrs.field(init=False, factory=set)
    _creating: dict[asyncio.Task[str], CreateAttempt] = attrs.field(init=False, factory=dict)
    _deletions: dict[str, asyncio.Task[None]] = attrs.field(init=False, factory=dict)

    def new_attempt(self, *, delete_on_exit: bool) -> CreateAttempt:
        """Return a new attempt. With `delete_on_exit` its pod is deleted by `start_deletion`, or by `drain`."""
        return CreateAttempt(draw_token() if self._client_token else None, delete_on_exit)

    async def create(self, spec: PodSpec, attempt: CreateAttempt) -> str:
        """Create a pod and return its id.

        When it is cancelled it waits for the outcome, deletes the pod, and then raises the cancel, after
        `CANCEL_HOLD_S` at the latest: what takes longer goes on in the client, and `drain` waits for it.

        Raises:
            CreateUnknownError: the create may have been processed, and no list has shown its pod.

        """
        if self.closing.is_set():
            raise ConfigurationError("this YottaClient is being closed: keep it open while it is in use")
        creating = self.start_task(self.send(spec, attempt))
        self._creating[creating] = attempt
        creating.add_done_callback(self._creating.pop)
        try:
            await asyncio.wait({creating})
        except asyncio.CancelledError as error:
            cancelled = error
        else:
            if creating.cancelled():
                raise ConfigurationError("the create was not sent: the client was closed, or all tasks were cancelled")
            return creating.result()
        attempt.delete_on_exit = attempt.send_state.abandoned = True
        if not attempt.send_state.request_sent:
            creating.cancel()  # nothing was sent, and nothing will be
        undoing = self.start_task(self.undo(creating, attempt.token))
        await wait_deferring_cancel(undoing, cancelled)
        attempt.is_undone = undoing.done() and not undoing.cancelled() and undoing.result()
        raise cancelled

    def start_deletion(self, pod_id: str) -> asyncio.Task[None] | None:
        """Return the task that deletes a pod of the client's own until it is gone, a running one if there is one.

        None when the pod is gone already.
        """
        if pod_id not in self.delete_on_exit:
            return None
        if not self._is_being_deleted(pod_id):
            self._deletions[pod_id] = self.start_task(self._delete(pod_id))
        return self._deletions[pod_id]

    def _is_being_deleted(self, pod_id: str) -> bool:
        return pod_id in self._deletions and not self._deletions[pod_id].done()

    async def drain(self) -> None:
        """End creates that were not sent, wait for the others, and delete the pods of the client's own.

        Pods that are left are named in the log.
        """
        for creating, attempt in self._creating.items():
            attempt.send_state.abandoned = True
            if not attempt.send_state.request_sent:
                creating.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        deletions = [task for pod_id in list(self.delete_on_exit) if (task := self.start_deletion(pod_id)) is not None]
        if deletions:
            await asyncio.wait(deletions)
        for deletion in deletions:
            if not deletion.cancelled() and (error := deletion.exception()) is not None:
                logger.error("%s", error)
        if self.journal is not None:
            await self.journal.close()

    async def resolve(self, token: str) -> str | None:
        """Return the id of the pod with the token, which is the caller's from now on, or None when no list shows it."""
        found = await self.recovery.find(token)
        if not found:
            return None
        registering = self.start_task(self._register(CreateAttempt(token, delete_on_exit=False), found))
        cancelled = await wait_deferring_cancel(registering)
        if cancelled is not None:
            await self._reopen(token, found[0])
            raise cancelled
        return registering.result()

    async def release(self, pod_ids: Iterable[str]) -> dict[str, str | None]:
        """Give pods of the client's own to the caller; return their tokens. One that is being deleted is not given."""
        released = {
            pod_id: self.delete_on_exit[pod_id]
            for pod_id in pod_ids
            if pod_id in self.delete_on_exit and not self._is_being_deleted(pod_id)
        }
        await asyncio.gather(*(self.finish_intent(token, pod_id) for pod_id, token in released.items()))
        for pod_id in released:
            del self.delete_on_exit[pod_id]
        return released

    async def reclaim(self, released: dict[str, str | None]) -> None:
        """Take pods back that were released to a caller that was cancelled meanwhile."""
        self.delete_on_exit.update(released)
        for pod_id, token in released.items():
            await self._reopen(token, pod_id)

    def start_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in a task that `drain` waits for."""
        task = spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget_task)
        return task

    def _forget_task(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone; `drain` tries again what it leaves, and logs what fails

    async def send(self, spec: PodSpec, attempt: CreateAttempt) -> str:
        """Send a create, and recover its pod if the response is lost: what `create` runs in a task."""
        try:
            if self.journal is not None and attempt.token is not None:
                await self.journal.intend(attempt.token, is_in_name=self._endpoints.draws_name(spec))
            new = await self._endpoints.create(spec, attempt.token, attempt.send_state)
            found, attempt.pod = [new.id], new.pod
        except asyncio.CancelledError:
            if not attempt.send_state.request_sent:
                await self.finish_intent(attempt.token)
                raise
            raise self.build_unknown_error(attempt.token, "All tasks were cancelled before a response came.") from None
        except YottaError as error:
            if not may_have_been_processed(error):
                await self.finish_intent(attempt.token)
                raise
            found, why = await self._recover(attempt.token)
            if not found:
                advice = self._build_advice(spec, attempt.token)
                raise self.build_unknown_error(attempt.token, f"{error}{why}", advice) from error
        return await self._register(attempt, found)

    def _build_advice(self, spec: PodSpec, token: str | None) -> str:
        """Say how to find the pod of a create where lists may show the pod and not its token; elsewhere nothing."""
        if token is None:
            return ""
        if not self._endpoints.draws_name(spec):
            return _build_name_advice(spec) if self.recovery.may_hide_tokens else ""
        if not self.recovery.may_hide_names:
            return ""
        return (
            "Lists show neither the environment nor the name of every pod, so none can show this token. Find the pod "
            f"in the console by its name, {build_pod_name(token)!r}, or in `pods.list()` by its time, and keep or "
            "delete it."
        )

    async def _recover(self, token: str | None) -> tuple[list[str], str]:
        """Return the ids of the pods with the token, and without any the reason."""
        if token is None:
            return [], ""
        try:
            found = await self.recovery.wait_for(token)
        except asyncio.CancelledError:
            return [], " The search for it was cancelled."
        except YottaError as error:
            return [], f" It cannot be searched for: {type(error).__name__}."
        if found:
            return found, ""
        failure = self._poller.last_list_error
        # The type alone: a server's words may repeat what the create held.
        return [], " No list has shown it." + (f" The last list failed: {type(failure).__name__}." if failure else "")

    async def _register(self, attempt: CreateAttempt, found: list[str]) -> str:
        """Keep the first of the pods with the token, and delete the others, which a proxy's retry may have made."""
        pod_id, *others = found
        # The API may not know it yet on every server.
        self._poller.recently_created.add(pod_id)
        for other in others:
            self.delete_on_exit[other] = None
            self.start_deletion(other)
        # A cancel of every task must not lose the id; the line is written nevertheless.
        with suppress(asyncio.CancelledError):
            if not attempt.delete_on_exit:
                await self.finish_intent(attempt.token, pod_id)
            elif self.journal is not None and attempt.token is not None:
                await self.journal.record_pod(attempt.token, pod_id)
        if attempt.delete_on_exit:
            self.delete_on_exit[pod_id] = attempt.token
        return pod_id

    async def finish_intent(self, token: str | None, pod_id: str | None = None) -> None:
        """Note in the journal that a create left nothing to clean up."""
        if self.journal is not None and token is not None:
            await self.journal.finish(token, pod_id)

    async def _reopen(self, token: str | None, pod_id: str) -> None:
        """Note in the journal that a pod was not handed over after all."""
        if self.journal is not None and token is not None and token not in self.journal.open:
            with suppress(ConfigurationError):
                await self.journal.intend(token)
                await self.journal.record_pod(token, pod_id)

    async def _delete(self, pod_id: str) -> None:
        await delete_until_gone(
            self._endpoints, self._poller.clock, pod_id, recently_created=self._poller.recently_created
        )
        self._poller.note_deleted(pod_id)
        await self.finish_intent(self.delete_on_exit[pod_id])
        del self.delete_on_exit[pod_id], self._deletions[pod_id]

    def build_unknown_error(self, token: str | None, what: str, advice: str = "") -> CreateUnknownError:
        """Build the error of a create that may have made a pod."""
        mark = "has no client token to be found by" if token is None else f"has {CLIENT_TOKEN_VARIABLE}={token}"
        advice = advice or (_COMPARE_ADVICE if token is None else _RESOLVE_ADVICE)
        text = f"a create was sent and may have made a pod, which {mark}; it is not sent again. {what} {advice}"
        return self._make_unknown_error(text, token)

    async def undo(self, creating: asyncio.Task[str], token: str | None) -> bool:
        """Delete what a cancelled create makes, and return whether nothing is left; log what may be left."""
        await asyncio.wait({creating})
        if creating.cancelled():
            return True  # it was not sent
        failure = creating.exception()
        if failure is not None and not isinstance(failure, CreateUnknownError):
            return True  # there is no pod
        left = str(failure or f"pod {creating.result()}")
        try:
            if failure is None:
                found = [creating.result()]
            else:
                found = await self.recovery.find(token) if token is not None else []
            self.delete_on_exit |= dict.fromkeys(found)
            if found:
                self.delete_on_exit[found[0]] = token
                await self._reopen(token, found[0])
            for pod_id in reversed(found):  # the first ends the intent
                deletion = self.start_deletion(pod_id)
                if deletion is not None:
                    await deletion
            if found:
                return True
        except YottaError as error:
            left += f" ({error})"
        logger.error("a cancelled create may have left a pod: %s", left)
        return False


def _build_name_advice(spec: PodSpec) -> str:
    """Say what to do where lists show neither a pod's environment nor a name that the client drew."""
    return (
        "Lists of this API version do not show the environment of every pod, so none can show this token. Find the pod "
        f"by the name that you gave it, {(spec.pod_name or '')[:80]!r}, in `pods.list()`, and keep or delete it. "
        "Without pod_name, the client draws a name by which it finds such a pod itself."
    )
