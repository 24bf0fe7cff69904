"""Creating many pods: a few workers, a policy for all of them, and for each pod what became of it.

A worker sends creates one after another. No task waits for a pod to run: the poller notifies the run, and a worker then
tries the next alternative or finishes the item. Every pod is the client's own until the report is returned, so whatever
ends the run early, all pods that it started are deleted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Literal, TypeAlias

import attrs

from yotta_async.creation.creator import CreateAttempt, PodCreator
from yotta_async.creation.ephemeral import RecordPod
from yotta_async.errors import CapacityError, ConfigurationError, InvalidRequestError, YottaError
from yotta_async.fleet.report import FanOutItem, FanOutReport, OnEvent, RolledBackError, call_hook, check_hook
from yotta_async.models.pod import Pod
from yotta_async.models.spec import Alternatives
from yotta_async.models.validators import whole_number
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import Observation, PollInterval
from yotta_async.polling.wait_errors import PodFailedError, WaitTimeoutError
from yotta_async.polling.waiter import StatusWaiter, Targets, WaitOptions
from yotta_async.support.clock import wait_within
from yotta_async.support.tasks import CANCEL_HOLD_S, wait_deferring_cancel
from yotta_async.transport.rate_limit import bulk_priority

Policy: TypeAlias = Literal["best_effort", "all_or_nothing"] | int
"""How many pods must be as they were wanted: any number, all, or at least this number."""

# Pods that are deleted at a time: each deletion has a time limit, and shares the client's rate limit with the others.
_MAX_DELETIONS_IN_FLIGHT = 16


@attrs.define(eq=False, repr=False)
class PodSlot:
    """One item of the run: its place in the order given, its alternatives, how many were tried, and its pod."""

    index: int
    alternatives: Alternatives
    tries: int = 0
    errors: tuple[YottaError, ...] = ()
    attempt: CreateAttempt | None = None  # while a create is in flight
    pod_id: str | None = None
    waiter: StatusWaiter | None = None
    item: FanOutItem | None = None  # once its outcome is known

    def build_item(self, error: YottaError | None, pod: Pod | None = None) -> FanOutItem:
        """Build the item of the report."""
        errors = self.errors if error is None or error in self.errors else (*self.errors, error)
        return FanOutItem(self.alternatives[0], self.pod_id, pod, error, max(1, self.tries), errors, index=self.index)


class CreateManyRun:
    """One `create_many`."""

    def __init__(
        self,
        creator: PodCreator,
        poller: StatusPoller,
        alternatives: Sequence[Alternatives],
        *,
        until: Targets | None,
        policy: Policy,
        concurrency: int,
        timeout: float,
        deadline: float,
        interval: PollInterval,
        on_event: OnEvent | None,
    ) -> None:
        self._creator = creator
        self._poller = poller
        self._slots = [PodSlot(index, each) for index, each in enumerate(alternatives)]
        self._until = until
        self._needed = _count_needed(policy, len(self._slots))
        self._concurrency = whole_number("concurrency", concurrency)
        self._timeout = timeout
        self._deadline = deadline
        self._interval = interval
        self._on_event = check_hook(on_event)
        self._record_pod: RecordPod
        self._unsent = iter(self._slots)
        self._observed: deque[tuple[PodSlot, Observation]] = deque()
        self._has_work = asyncio.Event()
        self._is_decided = asyncio.Event()  # every outcome is known, or the policy cannot be met any more
        self._unfinished = len(self._slots)
        self._failed = 0
        self._failure: BaseException | None = None  # what `on_event` raised
        self._is_stopping = False

    def set_alternatives(self, alternatives: Sequence[Alternatives]) -> None:
        """Replace what is tried in turn for each pod, before the run."""
        for slot, some in zip(self._slots, alternatives, strict=True):
            slot.alternatives = some

    @property
    def _goal(self) -> str:
        return " or ".join(sorted(self._until or ()))

    async def run(self, record_pod: RecordPod) -> FanOutReport:
        """Create all, wait for all, and return the report; or delete all, and raise.

        `record_pod` is called with each pod that is created.
        """
        self._record_pod = record_pod
        workers = [self._creator.start_task(self._work()) for _ in range(min(self._concurrency, len(self._slots)))]
        cancelled = await self._wait()
        self._is_stopping = True
        is_late = self._poller.clock.time() >= self._deadline
        for slot in self._slots:
            if slot.waiter is not None:
                slot.waiter.close()
        for worker in workers:
            worker.cancel()
        succeeded = sum(slot.item is not None and slot.item.error is None for slot in self._slots)
        if cancelled is None and self._failure is None and succeeded >= self._needed:
            report = self._build_report(is_late=is_late)
            pod_ids = [slot.pod_id for slot in self._slots if slot.pod_id is not None]
            releasing = self._creator.start_task(self._creator.release(pod_ids))
            cancelled = await wait_deferring_cancel(releasing)
            if cancelled is None:
                return report
            await self._creator.reclaim(await releasing)
        rolling_back = self._creator.start_task(self._roll_back(workers))
        cancelled = await wait_deferring_cancel(rolling_back, cancelled)
        if cancelled is not None:
            raise cancelled
        if self._failure is not None:
            raise self._failure
        why = f"at least {self._needed} were wanted, so all that were started are deleted; "
        raise self._build_report(is_late=is_late).error(why)

    async def _wait(self) -> asyncio.CancelledError | None:
        """Wait until the outcome is decided, the deadline, or the client's end; return a cancel that came first."""
        if not self._slots:
            return None
        deciding = asyncio.ensure_future(self._is_decided.wait())
        closing = asyncio.ensure_future(self._creator.closing.wait())
        clock = self._poller.clock
        try:
            await wait_within(clock, max(0.0, self._deadline - clock.time()), deciding, closing)
        except asyncio.CancelledError as error:
            return error
        finally:
            if closing.done() and not deciding.done():
                text = "the YottaClient was closed during create_many: what it made is deleted"
                self._failure = ConfigurationError(text)
            deciding.cancel()
            closing.cancel()
        return None

    # What a worker does

    async def _work(self) -> None:
        with bulk_priority():
            while True:
                try:
                    if self._observed:
                        await self._judge(*self._observed.popleft())
                    elif (slot := next(self._unsent, None)) is not None:
                        await self._create(slot)
                    else:
                        self._has_work.clear()
                        await self._has_work.wait()
                except BaseException as error:
                    if not self._is_stopping:  # else it is our own cancel
                        self._failure = error  # `on_event` may raise anything
                        self._is_decided.set()
                    if not isinstance(error, Exception):
                        raise
                    return

    async def _create(self, slot: PodSlot) -> None:
        while True:
            spec = slot.alternatives[slot.tries]
            slot.tries += 1
            slot.attempt = self._creator.new_attempt(delete_on_exit=True)
            try:
                slot.pod_id = await self._creator.create(spec, slot.attempt)
            except YottaError as error:
                slot.errors += (error,)
                if slot.tries < len(slot.alternatives) and isinstance(error, CapacityError):
                    continue
                await self._finish(slot, error)
                return
            slot.attempt = None
            self._record_pod(slot.pod_id, spec)
            if self._until is None:
                await self._finish(slot, None)
                return
            await call_hook(self._on_event, slot.build_item(None))
            options = WaitOptions(max(0.001, self._deadline - self._poller.clock.time()), self._interval)
            slot.waiter = StatusWaiter(
                self._poller, slot.pod_id, self._until, options, on_observation=partial(self._observe, slot)
            )
            return

    def _observe(self, slot: PodSlot, observation: Observation) -> None:
        """Give a pod to a worker; whatever is observed ends its wait."""
        if slot.waiter is not None:
            slot.waiter.close()
        self._observed.append((slot, observation))
        self._has_work.set()

    async def _judge(self, slot: PodSlot, observation: Observation) -> None:
        if slot.waiter is None:
            return  # its wait ended before
        try:
            pod = slot.waiter.judge(observation)
        except YottaError as error:
            slot.errors += (error,)
            if isinstance(error, PodFailedError) and len(slot.alternatives) > 1:
                await self._fall_back(slot, error)
            else:
                last_pod = error.last_pod if isinstance(error, PodFailedError) else None
                await self._finish(slot, error, last_pod)
        else:
            await self._finish(slot, None, pod)

    async def _fall_back(self, slot: PodSlot, error: PodFailedError) -> None:
        """Delete the pod that failed, and try the next alternative, if there is one."""
        deletion = self._creator.start_deletion(slot.pod_id or "")
        try:
            if deletion is not None:
                await asyncio.shield(deletion)
            slot.pod_id = slot.waiter = None
        except YottaError as failure:
            slot.errors += (failure,)
            await self._finish(slot, failure)
            return
        if slot.tries < len(slot.alternatives):
            await self._create(slot)
            return
        text = f"{error} (all {slot.tries} alternatives failed: the image may be the cause)"
        last = PodFailedError(text, pod_id=error.pod_id, last_pod=error.last_pod, history=error.history)
        slot.errors = (*slot.errors[:-1], last)
        await self._finish(slot, last)

    async def _finish(self, slot: PodSlot, error: YottaError | None, pod: Pod | None = None) -> None:
        slot.item = slot.build_item(error, pod)
        await call_hook(self._on_event, slot.item)
        self._unfinished -= 1
        self._failed += error is not None
        if self._unfinished == 0 or len(self._slots) - self._failed < self._needed:
            self._is_decided.set()

    # The end

    def _build_report(self, *, is_late: bool) -> FanOutReport:
        return FanOutReport(
            tuple(slot.item or slot.build_item(self._explain_unfinished(slot, is_late=is_late)) for slot in self._slots)
        )

    def _explain_unfinished(self, slot: PodSlot, *, is_late: bool) -> YottaError:
        """Build the error of an item that has no outcome when the run ends."""
        attempt = slot.attempt
        if attempt is not None and attempt.send_state.request_sent and not attempt.is_undone:
            what = "It was in flight when the run ended; if it makes a pod, the client deletes that."
            return self._creator.build_unknown_error(attempt.token, what)
        if not is_late:
            return self._build_rolled_back_error(slot)
        when = f"within {self._timeout:g} s"
        if slot.waiter is not None:
            return slot.waiter.build_error(WaitTimeoutError, f"it was not {self._goal} {when}")
        if slot.pod_id is not None:
            text = f"pod {slot.pod_id}: it was created, and not seen to be {self._goal} {when}"
            return WaitTimeoutError(text, pod_id=slot.pod_id)
        if attempt is not None and attempt.send_state.request_sent:
            return WaitTimeoutError(f"the create was not answered {when}, and no pod of it is left")
        return WaitTimeoutError(f"the create was not sent {when}")

    def _build_rolled_back_error(self, slot: PodSlot) -> RolledBackError:
        done = "no pod was created" if slot.pod_id is None else f"pod {slot.pod_id} was deleted"
        text = f"{done}, as fewer than {self._needed} of the {len(self._slots)} pods can be as they were wanted"
        return RolledBackError(text, pod_id=slot.pod_id or "")

    async def _roll_back(self, workers: list[asyncio.Task[None]]) -> None:
        """Delete all pods that were started, and note it in their items."""
        # A cancelled create waits for its outcome and deletes its pod.
        if workers:
            await asyncio.wait(workers, timeout=CANCEL_HOLD_S + 1)
        started = [slot for slot in self._slots if slot.pod_id is not None]
        at_once = min(self._concurrency, _MAX_DELETIONS_IN_FLIGHT)
        for first in range(0, len(started), at_once):
            batch = [
                (slot, self._creator.start_deletion(slot.pod_id or "")) for slot in started[first : first + at_once]
            ]
            running = [deletion for _, deletion in batch if deletion is not None]
            if running:
                await asyncio.wait(running)
            for slot, deletion in batch:
                failure = deletion.exception() if deletion is not None and not deletion.cancelled() else None
                pod = slot.item.pod if slot.item is not None else None
                if isinstance(failure, YottaError):
                    slot.item = slot.build_item(failure, pod)
                elif slot.item is not None and slot.item.error is None:
                    slot.item = slot.build_item(self._build_rolled_back_error(slot), pod)


def _count_needed(policy: Policy, pods: int) -> int:
    if policy == "best_effort":
        return 0
    if policy == "all_or_nothing":
        return pods
    if type(policy) is int and 1 <= policy <= pods:
        return policy
    raise InvalidRequestError(
        f'policy must be "best_effort", "all_or_nothing" or how many of the {pods} pods are needed at least'
    )
