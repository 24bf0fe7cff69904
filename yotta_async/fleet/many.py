"""The calls of `yotta.pods` that are for many pods at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from yotta_async.api.endpoints import Endpoints
from yotta_async.creation.creator import PodCreator
from yotta_async.errors import InvalidRequestError
from yotta_async.fleet.create_many import CreateManyRun
from yotta_async.fleet.report import FanOutReport, OnEvent, call_many, wait_many
from yotta_async.fleet.spending import PodPlan, Spending, SpendLimit
from yotta_async.fleet.sweep import Match, SweepReport, select_pods
from yotta_async.handle import PodHandle
from yotta_async.models.ids import PodId, pod_id_of
from yotta_async.models.pod import Pod
from yotta_async.models.spec import Candidates, PodFields, PodSpec, spec_from
from yotta_async.models.status import PodStatus, Statuses, statuses_of
from yotta_async.models.validators import seconds
from yotta_async.polling.poller import StatusPoller
from yotta_async.support.clock import Clock


class ManyPods:
    """What `Pods` does with many: every item has an outcome of its own, in the order given."""

    _poller: StatusPoller
    _endpoints: Endpoints
    _creator: PodCreator
    _poll_interval: float
    _clock: Clock
    _spending: Spending

    async def create_many(
        self,
        specs: Iterable[PodSpec | Mapping[str, Any]],
        *,
        concurrency: int = 32,
        until: Statuses | None = None,
        timeout: float = 900.0,
        policy: Literal["best_effort", "all_or_nothing"] | int = "best_effort",
        fallbacks: Iterable[Mapping[str, Any]] = (),
        on_event: OnEvent | None = None,
        spend_limit: SpendLimit | None = None,
    ) -> FanOutReport:
        """Create a pod for each spec, and return what became of each, in the order given.

        At most `concurrency` creates are in flight; the API's 429 makes that fewer. `until` is a status, or several,
        that each pod is waited for; waiting takes no slot. `timeout`, in seconds, bounds everything: what is not known
        then is in the report as such. A create whose outcome is unknown is in `unknown`, and counts neither as a
        success nor as a failure.

        `policy` says when that is good enough: "best_effort" always, "all_or_nothing" when every pod came out, a number
        when at least so many did. Otherwise, and when this is cancelled or `on_event` raises, every pod that was
        started is deleted, and looked at until it is on its way out, before FanOutError, or the cancel, goes through.

        `fallbacks` are changes to a spec, such as `{"gpu_type": …, "region": …}`, tried in their order when a create is
        refused for lack of capacity or its pod turns FAILED (which is then deleted). An item's `errors` are those of
        all tries.

        `on_event` is called with a FanOutItem when a create is answered (only with `until`) and when an outcome is
        known; it may be a coroutine function.

        Raises InvalidRequestError before anything is sent, and SpendLimitError before anything is created when all of
        it would pass `spend_limit` or the client's own.
        """
        candidates = all_candidates(specs, fallbacks)
        targets = None if until is None else statuses_of(until)
        needed, most = _needed(policy, len(candidates)), _count("concurrency", concurrency)
        limit = seconds("timeout", timeout)
        deadline = self._clock.time() + limit
        on_event = _checked(on_event)
        async with self._spending.reserve(candidates, spend_limit) as room:
            launch = CreateManyRun(
                self._poller,
                self._creator,
                candidates,
                until=targets,
                needed=needed,
                concurrency=most,
                timeout=limit,
                deadline=deadline,
                interval=self._poll_interval,
                on_event=on_event,
                made=room.made,
            )
            return await launch.run()

    async def plan(
        self,
        specs: Iterable[PodSpec | Mapping[str, Any]],
        *,
        prices: Mapping[str, float] | None = None,
        fallbacks: Iterable[Mapping[str, Any]] = (),
        spend_limit: SpendLimit | None = None,
    ) -> PodPlan:
        """Return what `create_many` would create and what it would cost per hour; sends one list, and changes nothing.

        A price is that of the account's pods with the same GPU, or of `prices` (USD an hour for one GPU, by gpu_type),
        which come first. What neither has is None. What `spend_limit` or the client's own would refuse is not raised:
        it is in the plan. For that, as for `create_many`, the dearest of a spec and its `fallbacks` counts.
        """
        return await self._spending.plan(all_candidates(specs, fallbacks), prices, spend_limit)

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
        """Pause or delete the pods that nobody needs any more; with `dry_run`, only say which they are.

        A pod is chosen when its status is `idle_status`, or one of several (None: RUNNING for a pause, and for a delete
        all but TERMINATING and TERMINATED, unknown statuses included), its last change is `older_than` ago (seconds, or
        a timedelta), and its name is as the shell pattern `match` says, or `match` is a function and says yes to the
        Pod. At least one of the three must be given: to sweep everything, say `match="*"`.
        """
        if older_than is None and idle_status is None and match is None:
            raise InvalidRequestError(
                'say which pods: older_than=…, idle_status=… or match=… (match="*" is all of them)'
            )
        if action not in ("pause", "delete"):
            raise InvalidRequestError('action must be "pause" or "delete"')
        if not (match is None or isinstance(match, str) or callable(match)):
            raise InvalidRequestError("match must be a pattern for names, or a function that takes a Pod")
        age = (
            older_than
            if isinstance(older_than, timedelta | None)
            else timedelta(seconds=seconds("older_than", older_than))
        )
        statuses = None if idle_status is None else statuses_of(idle_status)
        listed = await self._endpoints.list()
        if action == "pause":
            possible = [pod for pod in listed.pods if pod.status == PodStatus.RUNNING]
        else:  # unknown and missing statuses included
            possible = [pod for pod in listed.pods if not pod.is_being_deleted]
        pods = select_pods(
            possible,
            now=datetime.fromtimestamp(self._clock.now(), UTC),
            older_than=age,
            statuses=statuses,
            match=match,
        )
        if dry_run:
            return SweepReport(pods, unreadable_items=listed.unreadable_items)
        call = self.pause_many if action == "pause" else self.delete_many
        report = await call(pods, concurrency=concurrency, on_event=on_event)
        return SweepReport(pods, report, listed.unreadable_items)

    async def wait_many(
        self,
        pod_ids: Iterable[PodId],
        *,
        status: Statuses = PodStatus.RUNNING,
        timeout: float = 600.0,
        on_event: OnEvent | None = None,
    ) -> FanOutReport:
        """Wait for each of the pods as `wait_until` does, and return what became of each, in the order given.

        One pod's failure ends no other's wait: it is the `error` of its item. `on_event` is called with each
        FanOutItem as soon as it is known; it may be a coroutine function, and what it raises ends all of it.
        """
        return await wait_many(
            self._poller,
            ids_of(pod_ids),
            statuses_of(status),
            timeout=seconds("timeout", timeout),
            interval=self._poll_interval,
            on_event=_checked(on_event),
        )

    async def pause_many(
        self, pod_ids: Iterable[PodId], *, concurrency: int = 32, on_event: OnEvent | None = None
    ) -> FanOutReport:
        """Ask for a pause of each, as `pause` does, so many at a time; the report is in the order given."""
        most = _count("concurrency", concurrency)
        return await call_many(self._endpoints.pause, ids_of(pod_ids), concurrency=most, on_event=_checked(on_event))

    async def resume_many(
        self, pod_ids: Iterable[PodId], *, concurrency: int = 32, on_event: OnEvent | None = None
    ) -> FanOutReport:
        """Ask each to run again, as `resume` does, so many at a time; the report is in the order given."""
        most = _count("concurrency", concurrency)
        return await call_many(self._endpoints.resume, ids_of(pod_ids), concurrency=most, on_event=_checked(on_event))

    async def delete_many(
        self,
        pod_ids: Iterable[PodId],
        *,
        concurrency: int = 32,
        missing_ok: bool = False,
        on_event: OnEvent | None = None,
    ) -> FanOutReport:
        """Delete each, as `delete` does, so many at a time; the report is in the order given."""

        async def delete(pod_id: str) -> None:
            await self._endpoints.delete(pod_id, missing_ok=missing_ok)
            self._poller.note_deleted(pod_id)

        most = _count("concurrency", concurrency)
        return await call_many(delete, ids_of(pod_ids), concurrency=most, on_event=_checked(on_event))


def ids_of(pods: Iterable[PodId]) -> list[str]:
    """Return the ids. One pod where several are meant is refused: the letters of its id would be taken for ids."""
    if isinstance(pods, str | int | Pod | PodHandle) or not isinstance(pods, Iterable):
        raise InvalidRequestError("several pods are wanted here: give a list of ids, Pods or PodHandles")
    return [pod_id_of(pod) for pod in pods]


def all_candidates(
    specs: Iterable[PodSpec | Mapping[str, Any]], fallbacks: Iterable[Mapping[str, Any]]
) -> list[Candidates]:
    """Return for each spec what is tried in turn: itself, and itself with each of the changes."""
    changes = [dict(each) for each in _mappings(fallbacks)]
    return [_candidates(spec, changes) for spec in _listed(specs)]


def _listed(specs: Iterable[PodSpec | Mapping[str, Any]]) -> list[PodSpec | Mapping[str, Any]]:
    if isinstance(specs, str | PodSpec | Mapping) or not isinstance(specs, Iterable):
        raise InvalidRequestError("several specs are wanted here: give a list of PodSpec, such as [spec] * 10")
    return list(specs)


def _mappings(fallbacks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    several = None if isinstance(fallbacks, str | Mapping) or not isinstance(fallbacks, Iterable) else list(fallbacks)
    if several is None or not all(isinstance(each, Mapping) for each in several):
        raise InvalidRequestError('fallbacks must be a list of changes, such as [{"gpu_type": "NVIDIA_L4_24G"}]')
    return several


def _candidates(spec: PodSpec | Mapping[str, Any], changes: list[dict[str, Any]]) -> Candidates:
    first = spec_from(None, cast("PodFields", dict(spec))) if isinstance(spec, Mapping) else spec_from(spec, {})
    return (first, *[spec_from(first, cast("PodFields", dict(change))) for change in changes])


def _needed(policy: str | int, pods: int) -> int:
    if policy == "best_effort":
        return 0
    if policy == "all_or_nothing":
        return pods
    if type(policy) is int and 1 <= policy <= pods:
        return policy
    raise InvalidRequestError(
        f'policy must be "best_effort", "all_or_nothing" or how many of the {pods} pods are needed at least'
    )


def _checked(on_event: OnEvent | None) -> OnEvent | None:
    if on_event is not None and not callable(on_event):
        raise InvalidRequestError(f"on_event must be a function, not {type(on_event).__name__}")
    return on_event


def _count(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise InvalidRequestError(f"{name} must be a whole number of at least 1")
    return value
