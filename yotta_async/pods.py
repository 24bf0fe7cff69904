"""The collection `yotta.pods`. It checks what it is given, and composes."""

from __future__ import annotations

import asyncio
import builtins  # in the class `Pods`, `list` is its method
import itertools
import math
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal, Unpack

from yotta_async.api.endpoints import Endpoints
from yotta_async.creation.creator import PodCreator
from yotta_async.creation.ephemeral import Ephemeral
from yotta_async.creation.reaper import ReapReport, reap
from yotta_async.errors import InvalidRequestError
from yotta_async.fleet.alternatives import Fallbacks, add_available, build_alternatives
from yotta_async.fleet.calls import call_many, wait_many
from yotta_async.fleet.create_many import CreateManyRun
from yotta_async.fleet.limit import SpendLimit
from yotta_async.fleet.report import FanOutReport, OnEvent
from yotta_async.fleet.spending import PodPlan, SpendTracker
from yotta_async.fleet.sweep import Match, SweepReport, SweepRule
from yotta_async.handle import PodHandle
from yotta_async.models.ids import PodId, pod_id_of, pod_ids_of
from yotta_async.models.pod import Pod
from yotta_async.models.spec import Alternatives, PodFields, PodSpec, spec_from
from yotta_async.models.status import PodStatus, Statuses, status_of, statuses_of
from yotta_async.models.tables import PodTable
from yotta_async.models.validators import port_number, seconds
from yotta_async.polling.drive import drive
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.readiness import wait_until_ready
from yotta_async.polling.subscription import PollInterval, interval_at
from yotta_async.polling.waiter import OnChange, StatusWaiter, WaitOptions
from yotta_async.polling.watch import PodEvent, watch


class Pods:
    """The pods of the account that the API key belongs to, as `YottaClient.pods`. Not constructed directly.

    Every method that takes a pod takes its id as text or as a number, a Pod or a PodHandle, and raises
    InvalidRequestError before anything is sent when that is no id. Every method raises TransportError when no usable
    response came and APIError when the API refused; RetryPolicy says which of them are retried first. Methods for many
    pods return a report with an outcome for each, in the order given.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        poller: StatusPoller,
        creator: PodCreator,
        spending: SpendTracker,
        *,
        poll_interval: PollInterval,
    ) -> None:
        self._endpoints = endpoints
        self._poller = poller
        self._creator = creator
        self._spending = spending
        self._wait_interval = poll_interval
        self._poll_interval = interval_at(poll_interval, 0.0)

    async def create(
        self, spec: PodSpec | None = None, /, *, spend_limit: SpendLimit | None = None, **fields: Unpack[PodFields]
    ) -> PodHandle:
        """Create a pod from a PodSpec, from its fields by name, or from a PodSpec with the given fields changed.

        Returns as soon as the API has answered with an id; the pod starts after that, so follow with `wait_until`.
        A create that may have reached the server is never sent again: the client searches for its pod instead, by a
        random YOTTA_CLIENT_TOKEN in the pod's environment (with API v2 also in a name that the client draws, if you
        give no `pod_name`), unless it was made with `client_token=False`. A create that is cancelled deletes its pod,
        and only then (within 30 s) raises the cancel. API v2 answers with the pod, so that `handle.pod` is set.

        Args:
            spec: the pod to create; None: `fields` are all of it.
            spend_limit: a limit for this create, besides the client's own; None: the client's own alone.
            fields: fields of `PodSpec` by their names, which replace those of `spec`.

        Returns:
            A handle on the pod.

        Raises:
            InvalidRequestError: before anything is sent.
            SpendLimitError: before anything is created that would pass `spend_limit` or the client's own.
            CapacityError: the API has no such GPU free.
            CreateOutcomeUnknownError: there may be a pod.

        Example:
            ```python
            handle = await yotta.pods.create(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G", expose=[22])
            pod = await handle.wait_until_ready(timeout=900)
            ```

        Source: POST /openapi/v1/pods/create. The paths of v2 are in `api/versions.py`.
        """
        spec = spec_from(spec, fields)
        self._endpoints.check_spec(spec)
        attempt = self._creator.new_attempt(delete_on_exit=False)
        async with self._spending.reserve([(spec,)], spend_limit) as record_pod:
            pod_id = await self._creator.create(spec, attempt)
            record_pod(pod_id, spec)
        return PodHandle(self, pod_id, attempt.pod)

    def _build_alternatives(
        self, specs: Iterable[PodSpec | Mapping[str, Any]], fallbacks: Fallbacks
    ) -> Sequence[Alternatives]:
        """Return each spec with its fallbacks. Raises InvalidRequestError for one that cannot be sent."""
        built = build_alternatives(specs, fallbacks)
        for spec in itertools.chain.from_iterable(built):
            self._endpoints.check_spec(spec)
        return built

    def ephemeral(
        self,
        spec: PodSpec | None = None,
        /,
        *,
        until: Statuses = PodStatus.RUNNING,
        timeout: float = 600.0,
        fallbacks: Fallbacks = (),
        on_change: OnChange | None = None,
        spend_limit: SpendLimit | None = None,
        **fields: Unpack[PodFields],
    ) -> Ephemeral[PodHandle]:
        """Make a pod for a block: `async with yotta.pods.ephemeral(image=…) as handle`, deleted on every way out.

        On entry the pod is created and waited for. At the end of the block, by whatever exception or cancel, and when
        the client is closed before, it is deleted: the delete is repeated until a get shows that it had effect. A
        cancel is deferred meanwhile, for 30 s at most. After SIGKILL, or a second Ctrl-C, the journal and `reap` do it.

        Args:
            spec: as for `create`.
            until: the status, or several, that the pod is waited for.
            timeout: seconds for the create and the wait together.
            fallbacks: changes to the spec, or "available", as for `create_many`.
            on_change: as for `wait_until`.
            spend_limit: as for `create`.
            fields: as for `create`.

        Returns:
            A context manager, to be entered once, whose `as` is the PodHandle. Nothing is sent before it is entered.

        Raises:
            WaitTimeoutError: the pod could not be deleted within 30 s; the error names it. Where the block was
                cancelled, the cancel is raised with a note instead, and the log has the error.
            YottaError: on entry, what `create` and `wait_until` raise; no pod is left then either.

        Example:
            ```python
            async with yotta.pods.ephemeral(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G", timeout=900) as handle:
                print(handle.pod)
            ```

        """
        alternatives = self._build_alternatives([spec_from(spec, fields)], fallbacks)
        targets = statuses_of(until)

        async def complete(deadline: float) -> Alternatives:
            return (await self._add_available(alternatives, fallbacks, spend_limit, deadline=deadline))[0]

        async def wait_for(pod_id: str, seconds_left: float) -> PodHandle:
            handle = self.handle(pod_id)
            await handle.wait_until(status=targets, timeout=seconds_left, on_change=on_change)
            return handle

        return Ephemeral(
            self._creator,
            self._poller.clock,
            complete,
            lambda some: self._spending.reserve([some], spend_limit),
            wait_for,
            timeout=seconds("timeout", timeout),
        )

    async def create_many(
        self,
        specs: Iterable[PodSpec | Mapping[str, Any]],
        *,
        concurrency: int = 32,
        until: Statuses | None = None,
        timeout: float = 900.0,
        policy: Literal["best_effort", "all_or_nothing"] | int = "best_effort",
        fallbacks: Fallbacks = (),
        on_event: OnEvent | None = None,
        spend_limit: SpendLimit | None = None,
    ) -> FanOutReport:
        """Create a pod for each spec, at most `concurrency` at a time.

        A create whose outcome is unknown is in the report's `unknown`, and counts neither as a success nor as a
        failure. When the policy is not met, and when this is cancelled or `on_event` raises, every pod that was started
        is deleted before FanOutError, or the cancel, is raised; pods that did not fail are in `rolled_back` then.

        Args:
            specs: PodSpecs, or mappings of their fields.
            concurrency: how many creates are in flight at most; the API's 429 makes that fewer.
            until: a status, or several, that each pod is waited for; waiting takes no slot. None: a pod is as it was
                wanted once it is created.
            timeout: seconds for everything: what is not known then is in the report as such.
            policy: "best_effort" is always met, "all_or_nothing" when every pod is as it was wanted, a number when at
                least that many are.
            fallbacks: changes to a spec, such as `{"gpu_type": …, "region": …}`, tried in their order when a create is
                refused with CapacityError or its pod turns FAILED (which is then deleted). An item's `errors` are those
                of all attempts. "available" makes them from `yotta.gpus.list`, in this order: the spec as it is; its
                GPU type in the other regions that have one free; then up to 8 other types of the same vendor with at
                least as much memory that are free somewhere. Of these, those in the spec's own regions come first, and
                then those with less memory. They may cost more: with a `max_hourly`, only types with a known price
                that is at most the spec's are tried.
            on_event: called with a FanOutItem when a create is answered (only with `until`) and when an outcome is
                known; it may be a coroutine function.
            spend_limit: a limit for all of these creates, besides the client's own; None: the client's own alone.

        Returns:
            The report, with an item for each spec, in the order given.

        Raises:
            InvalidRequestError: before anything is sent.
            SpendLimitError: before anything is created, when all of it would pass `spend_limit` or the client's own.
            FanOutError: the policy is not met.
            APIError, TransportError: with `fallbacks="available"` GPU types could not be listed; nothing is created.

        Example:
            ```python
            report = await yotta.pods.create_many([spec] * 8, until="RUNNING", policy=6)
            for item in report.succeeded:
                print(item.pod_id)
            ```

        """
        timeout = seconds("timeout", timeout)
        deadline = self._poller.clock.time() + timeout
        alternatives: Sequence[Alternatives] = self._build_alternatives(specs, fallbacks)
        run = CreateManyRun(
            self._creator,
            self._poller,
            alternatives,
            until=None if until is None else statuses_of(until),
            policy=policy,
            concurrency=concurrency,
            timeout=timeout,
            deadline=deadline,
            interval=self._poll_interval,
            on_event=on_event,
        )
        alternatives = await self._add_available(alternatives, fallbacks, spend_limit, deadline=deadline)
        run.set_alternatives(alternatives)
        async with self._spending.reserve(alternatives, spend_limit) as record_pod:
            return await run.run(record_pod)

    async def plan(
        self,
        specs: Iterable[PodSpec | Mapping[str, Any]],
        *,
        prices: Mapping[str, float] | None = None,
        fallbacks: Fallbacks = (),
        spend_limit: SpendLimit | None = None,
    ) -> PodPlan:
        """Compute what `create_many` would create and what it would cost per hour. Sends lists, and changes nothing.

        What `spend_limit` or the client's own would refuse is not raised: it is in the plan. For that, as for
        `create_many`, the dearest of a spec and its `fallbacks` counts.

        Args:
            specs: as for `create_many`.
            prices: USD an hour for one GPU, by gpu_type. What it lacks is taken from the account's pods with the same
                GPU, and is None without any.
            fallbacks: as for `create_many`.
            spend_limit: as for `create_many`.

        Returns:
            The plan.

        Raises:
            InvalidRequestError: a spec cannot be sent. Nothing is sent.
            ConfigurationError: `prices` are not numbers by gpu_type.

        Example:
            ```python
            plan = await yotta.pods.plan([spec] * 8, prices={"NVIDIA_L4_24G": 0.6})
            print(plan.hourly_price, plan.refusal)
            ```

        """
        alternatives = await self._add_available(self._build_alternatives(specs, fallbacks), fallbacks, spend_limit)
        return await self._spending.plan(alternatives, prices, spend_limit)

    async def _add_available(
        self,
        alternatives: Sequence[Alternatives],
        fallbacks: Fallbacks,
        limit: SpendLimit | None,
        *,
        deadline: float = math.inf,
    ) -> Sequence[Alternatives]:
        """Add what the API says is available, if the caller asks for it."""
        if fallbacks != "available" or not alternatives:
            return alternatives
        has_price_limit = self._spending.has_price_limit(limit)
        offers = await self._endpoints.list_gpu_types(deadline=deadline)
        completed = []
        for spec, *_ in alternatives:
            await asyncio.sleep(0)  # each takes some 0.6 ms, and there may be ten thousand
            completed.append(add_available(spec, offers))
        return await self._spending.keep_affordable(completed, limit) if has_price_limit else completed

    async def sweep(
        self,
        *,
        older_than: float | timedelta | None = None,
        idle_status: Statuses | None = None,
        action: Literal["pause", "delete"] = "pause",
        match: Match | None = None,
        dry_run: bool = True,
        concurrency: int = 32,
        on_event: OnEvent | None = None,
    ) -> SweepReport:
        """Pause or delete idle pods; with `dry_run`, only find them.

        A pod is chosen when all that is given applies to it. At least one of `older_than`, `idle_status` and `match`
        must be given: to sweep everything, say `match="*"`. A pod that is gone meanwhile counts as deleted.

        Args:
            older_than: how long ago the pod's last change is at least: seconds, or a timedelta.
            idle_status: the pod's status, or several; None: RUNNING for a pause, and for a delete all but TERMINATING
                and TERMINATED, unknown statuses included.
            action: what is done to the pods.
            match: a shell pattern for the pod's name, or a function that says yes to a Pod.
            dry_run: change nothing.
            concurrency: how many calls are in flight at most.
            on_event: called with each FanOutItem as soon as it is known.

        Returns:
            The pods that were chosen, and what became of each.

        Raises:
            InvalidRequestError: before anything is sent.

        Example:
            ```python
            report = await yotta.pods.sweep(older_than=timedelta(hours=8), match="ci-*", action="delete", dry_run=False)
            ```

        """
        rule = SweepRule.build(action, older_than, idle_status, match)
        listed = await self._endpoints.list()
        pods = rule.select_pods(listed.pods, self._poller.clock.now())
        if dry_run:
            return SweepReport(pods, unreadable_items=listed.unreadable_items)
        if action == "pause":
            report = await self.pause_many(pods, concurrency=concurrency, on_event=on_event)
        else:
            report = await self.delete_many(pods, concurrency=concurrency, missing_ok=True, on_event=on_event)
        return SweepReport(pods, report, listed.unreadable_items)

    async def wait_many(
        self,
        pod_ids: Iterable[PodId],
        *,
        status: Statuses = PodStatus.RUNNING,
        timeout: float = 600.0,
        on_event: OnEvent | None = None,
    ) -> FanOutReport:
        """Wait for each of the pods as `wait_until` does.

        The failure of one pod ends no other wait: it is the `error` of its item.

        Args:
            pod_ids: the pods.
            status: the status, or several, that each is waited for.
            timeout: seconds for each wait.
            on_event: called with each FanOutItem as soon as it is known; it may be a coroutine function, and what it
                raises ends all waits.

        Returns:
            The report, with an item for each pod, in the order given.

        Raises:
            InvalidRequestError: one of the ids is not valid, or an argument has a wrong value. Nothing is sent.

        """
        return await wait_many(
            self._poller, pod_ids_of(pod_ids), statuses_of(status), WaitOptions(timeout, self._poll_interval), on_event
        )

    async def pause_many(
        self, pod_ids: Iterable[PodId], *, concurrency: int = 32, on_event: OnEvent | None = None
    ) -> FanOutReport:
        """Pause each pod as `pause` does, at most `concurrency` at a time.

        The failure of one pod ends no other call: it is the `error` of its item.

        Args:
            pod_ids: the pods.
            concurrency: how many calls are in flight at most, at least 1.
            on_event: called with each FanOutItem as soon as it is known; it may be a coroutine function, and what it
                raises ends all calls.

        Returns:
            The report, with an item for each pod, in the order given.

        Raises:
            InvalidRequestError: one of the ids is not valid, or an argument has a wrong value. Nothing is sent.

        """
        return await call_many(self.pause, pod_ids_of(pod_ids), concurrency=concurrency, on_event=on_event)

    async def resume_many(
        self, pod_ids: Iterable[PodId], *, concurrency: int = 32, on_event: OnEvent | None = None
    ) -> FanOutReport:
        """Resume each pod as `resume` does, at most `concurrency` at a time.

        The failure of one pod ends no other call: it is the `error` of its item.

        Args:
            pod_ids: the pods.
            concurrency: how many calls are in flight at most, at least 1.
            on_event: called with each FanOutItem as soon as it is known; it may be a coroutine function, and what it
                raises ends all calls.

        Returns:
            The report, with an item for each pod, in the order given.

        Raises:
            InvalidRequestError: one of the ids is not valid, or an argument has a wrong value. Nothing is sent.

        """
        return await call_many(self.resume, pod_ids_of(pod_ids), concurrency=concurrency, on_event=on_event)

    async def delete_many(
        self,
        pod_ids: Iterable[PodId],
        *,
        concurrency: int = 32,
        missing_ok: bool = False,
        on_event: OnEvent | None = None,
    ) -> FanOutReport:
        """Delete each pod as `delete` does, at most `concurrency` at a time.

        The failure of one pod ends no other call: it is the `error` of its item.

        Args:
            pod_ids: the pods.
            concurrency: how many calls are in flight at most, at least 1.
            missing_ok: a pod that is gone is success.
            on_event: called with each FanOutItem as soon as it is known; it may be a coroutine function, and what it
                raises ends all calls.

        Returns:
            The report, with an item for each pod, in the order given.

        Raises:
            InvalidRequestError: one of the ids is not valid, or an argument has a wrong value. Nothing is sent.

        """
        delete = partial(self.delete, missing_ok=missing_ok)
        return await call_many(delete, pod_ids_of(pod_ids), concurrency=concurrency, on_event=on_event)

    async def reap(self, *, dry_run: bool = False, only: Iterable[PodId] | None = None) -> ReapReport:
        """Delete the pods that dead processes left: those of creates in the journal that were not handed over.

        Reads every file in the client's journal directory that no living process holds, and lists the account's pods.
        Only pods with a token from such a file are deleted. A create whose pod does not show stays in the journal for
        an hour, as it may have been slow, and so does one of which two requests could not confirm that its pod is gone:
        the report counts both as `pending`.

        Args:
            dry_run: delete nothing, and change no journal.
            only: delete none but these pods; None: all that were left.

        Returns:
            The pods that were left, each with its error if it could not be deleted.

        Raises:
            ConfigurationError: there is no journal, or another user can write to it.

        Example:
            ```python
            async with YottaClient(journal="~/.cache/my-app") as yotta:
                print(await yotta.pods.reap())
            ```

        """
        selected = None if only is None else frozenset(pod_ids_of(only))
        return await reap(self._endpoints, self._poller.clock, self._creator.journal, dry_run=dry_run, only=selected)

    async def get(self, pod_id: PodId) -> Pod:
        """Get the pod.

        Args:
            pod_id: the pod.

        Returns:
            The pod as it is now.

        Raises:
            NotFoundError: there is no such pod.

        Source: GET /openapi/v1/pods/{podId}.
        """
        return await self._endpoints.get(pod_id_of(pod_id))

    async def list(
        self, *, regions: Iterable[str] = (), statuses: Iterable[PodStatus | str | int] = ()
    ) -> builtins.list[Pod]:
        """List the account's pods, with those TERMINATED today.

        Every pod whose id can be read is in it, once: a field that cannot be read is None, and named in
        `Pod.unreadable`. Items without such an id are left out: `unreadable_items` is their number, and a warning on
        the logger `yotta_async` has it too. The list prints as one line for each pod, and as a table in a notebook.

        Args:
            regions: only pods in one of these; empty: in any.
            statuses: only pods with one of these; each is a PodStatus, its name or its number. Empty: with any. An
                account with very many pods may need this, as deleted ones stay in lists for a day.

        Returns:
            The pods in the API's order, newest change first.

        Raises:
            InvalidRequestError: a region is not text, or a status is unknown. Nothing is sent.

        Example:
            ```python
            for pod in await yotta.pods.list(statuses=["RUNNING"]):
                print(pod.id, pod.hourly_price)
            ```

        Source: GET /openapi/v1/pods/list.
        """
        if not isinstance(statuses, int | Iterable) or not isinstance(regions, Iterable):
            raise InvalidRequestError("regions and statuses must be lists; an empty one filters nothing")
        wanted = (statuses,) if isinstance(statuses, str | int) else statuses
        places = (regions,) if isinstance(regions, str) else tuple(regions)
        for place in places:
            if not isinstance(place, str) or not place or not place.isprintable():
                raise InvalidRequestError("regions must be names of regions, as text that can be printed")
        return PodTable((await self._endpoints.list(places, frozenset(status_of(status) for status in wanted))).pods)

    @property
    def unreadable_items(self) -> int:
        """How many items of this client's last list were left out, because no pod id can be read in them.

        They may be pods that bill. A SpendLimit refuses creates while there are any; a program that decides by what
        `list` returns can do the same.
        """
        return self._endpoints.unreadable.unreadable_items

    async def pause(self, pod_id: PodId) -> None:
        """Pause a running pod; it becomes PAUSING, then PAUSED.

        When the response is lost, the client gets the pod, and sends the pause again only if its status is unchanged.

        Args:
            pod_id: the pod.

        Raises:
            NotFoundError: there is no such pod.
            InvalidStateError: its status does not allow it.

        Source: POST /openapi/v1/pods/pause/{podId}.
        """
        await self._endpoints.pause(pod_id_of(pod_id))

    async def resume(self, pod_id: PodId) -> None:
        """Resume a paused pod; it becomes INITIALIZE, then RUNNING. Retries as `pause` does.

        Args:
            pod_id: the pod.

        Raises:
            NotFoundError: there is no such pod.
            InvalidStateError: its status does not allow it.

        Source: POST /openapi/v1/pods/resume/{podId}.
        """
        await self._endpoints.resume(pod_id_of(pod_id))

    async def delete(self, pod_id: PodId, *, missing_ok: bool = False) -> None:
        """Delete the pod for good; it becomes TERMINATING, then TERMINATED, and later disappears.

        One "not found" is not believed: a get must confirm it, and when that shows the pod, the delete is sent again.
        A pod that is being deleted already is success, and so is one that is gone after an attempt that may have
        reached the server.

        Args:
            pod_id: the pod.
            missing_ok: a pod that is gone is success.

        Raises:
            NotFoundError: there is no such pod.
            InvalidStateError: its status does not allow it.

        Source: DELETE /openapi/v1/pods/{podId}.
        """
        wanted = pod_id_of(pod_id)
        await self._endpoints.delete(wanted, missing_ok=missing_ok)
        self._poller.note_deleted(wanted)

    async def wait_until(
        self,
        pod_id: PodId,
        *,
        status: Statuses = PodStatus.RUNNING,
        timeout: float = 600.0,
        poll_interval: PollInterval | None = None,
        on_change: OnChange | None = None,
    ) -> Pod:
        """Wait until the pod's status is `status`, or one of several.

        All waits of a client share one poll, and take only responses to requests that started after they began. A pod
        that is gone satisfies a wait for TERMINATED: the Pod is then the last one seen, with that status, or one with
        nothing but id and status.

        Args:
            pod_id: the pod.
            status: the status, or several.
            timeout: seconds for the wait; math.inf sets no limit.
            poll_interval: seconds between polls, or a function from the seconds that this wait has lasted to such an
                interval, so that old waits back off: `poll_interval=lambda age: 5 if age < 60 else 30`. None: the
                client's. The shortest interval of all waits counts.
            on_change: called with the Pod when a status is first seen and whenever it changes; it may be a coroutine
                function, and what it raises ends this wait.

        Returns:
            The pod with the status.

        Raises:
            WaitTimeoutError: at the deadline; transient failures before it do not end the wait.
            PodFailedError: at once in a state from which `status` cannot be reached.
            PodGoneError: there is no such pod, as two requests say. For a pod that this client has just created that is
                believed after a minute only.
            BadRequestError, AuthenticationError, PermissionDeniedError: as the API says them.
            ConfigurationError: the client is closed.

        Example:
            ```python
            pod = await yotta.pods.wait_until(pod_id, status=["RUNNING", "FAILED"], timeout=900)
            ```

        """
        wanted, targets = pod_id_of(pod_id), statuses_of(status)
        options = WaitOptions(timeout, self._wait_interval if poll_interval is None else poll_interval, on_change)
        with StatusWaiter(self._poller, wanted, targets, options) as waiter:
            await waiter.wait_for_observation()
            return await waiter.wait()

    async def wait_until_ready(
        self,
        pod_id: PodId,
        *,
        ports: Iterable[int] | None = None,
        timeout: float = 600.0,
        on_change: OnChange | None = None,
    ) -> Pod:
        """Wait until the pod can be reached.

        It is RUNNING then, the API calls none of the ports unhealthy, and each accepts a TCP connection at its `host`
        and `proxy_port`; a UDP port is not connected to.

        Args:
            pod_id: the pod.
            ports: the ports that count; None: every port that the pod exposes.
            timeout: seconds for all of it.
            on_change: as for `wait_until`.

        Returns:
            The pod, RUNNING.

        Raises:
            WaitTimeoutError: at the deadline; its text says what was missing, and at which port.
            PodFailedError: also when a port is not exposed.
            YottaError: what else `wait_until` raises.

        """
        numbers = None if ports is None else tuple(dict.fromkeys(port_number(port) for port in ports))
        options = WaitOptions(timeout, self._poll_interval, on_change)
        return await wait_until_ready(self._poller, pod_id_of(pod_id), numbers, options)

    async def drive(
        self,
        pod_id: PodId,
        *,
        to: PodStatus | str | int,
        timeout: float = 600.0,
        on_change: OnChange | None = None,
    ) -> Pod:
        """Bring the pod from any state to RUNNING, PAUSED or TERMINATED.

        Calls `pause`, `resume` or `delete` when the pod's status allows it, and waits where it does not; when another
        client changes the pod meanwhile, it acts on what it is then.

        Args:
            pod_id: the pod.
            to: RUNNING, PAUSED or TERMINATED.
            timeout: seconds for all of it.
            on_change: as for `wait_until`.

        Returns:
            The pod with that status.

        Raises:
            InvalidRequestError: for another target.
            YottaError: what `wait_until` raises.

        Example:
            ```python
            await yotta.pods.drive(pod_id, to="PAUSED")
            ```

        """
        wanted, options = pod_id_of(pod_id), WaitOptions(timeout, self._poll_interval, on_change)
        return await drive(self._poller, self._endpoints, wanted, status_of(to), options)

    def watch(self, pod_ids: Iterable[PodId] | None = None) -> AsyncGenerator[PodEvent, None]:
        """Watch pods: an event for every pod that exists, and then for each that is added, changed or removed.

        It shares the poll of the waits, and ends only when it is closed. A slow reader gets the newest state of each
        pod, with what was in between merged. Transient failures do not end it.

        Args:
            pod_ids: the pods; None: every pod of the account.

        Returns:
            The events, without an end. Close it when you leave it early, as the example does.

        Raises:
            BadRequestError, AuthenticationError, PermissionDeniedError, ConfigurationError: as they come.

        Example:
            ```python
            async with contextlib.aclosing(yotta.pods.watch()) as events:
                async for event in events:
                    print(event.kind, event.pod.id)
            ```
        """
        wanted = None if pod_ids is None else dict.fromkeys(pod_ids_of(pod_ids))
        return watch(self._poller, wanted, interval=self._poll_interval)

    def handle(self, pod_id: PodId) -> PodHandle:
        """Make a handle on a pod, without a request.

        Args:
            pod_id: the pod.

        Returns:
            The handle. Its `pod` is the Pod if one was given, else None.

        """
        return PodHandle(self, pod_id_of(pod_id), pod_id if isinstance(pod_id, Pod) else None)
