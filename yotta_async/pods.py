"""The collection `yotta.pods`. It checks what it is given, and composes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Unpack

from yotta_async.api.endpoints import Endpoints
from yotta_async.creation.creator import PodCreator
from yotta_async.creation.ephemeral import Ephemeral
from yotta_async.creation.journal import Journal
from yotta_async.creation.reaper import ReapReport, reap
from yotta_async.creation.recovery import CreateRecovery
from yotta_async.errors import ConfigurationError, InvalidRequestError
from yotta_async.fleet.many import ManyPods, all_candidates, ids_of
from yotta_async.fleet.spending import Spending, SpendLimit
from yotta_async.handle import PodHandle
from yotta_async.models.ids import PodId, pod_id_of
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodFields, PodSpec, spec_from
from yotta_async.models.status import PodStatus, Statuses, status_of, statuses_of
from yotta_async.models.validators import port_number, seconds
from yotta_async.polling.drive import drive
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.readiness import wait_until_ready
from yotta_async.polling.subscription import PollInterval, check_interval, interval_at
from yotta_async.polling.waiter import OnChange, StatusWaiter
from yotta_async.polling.watch import PodEvent, watch
from yotta_async.support.clock import Clock


class Pods(ManyPods):
    """The pods of the account that the API key belongs to.

    Every method that takes a pod takes its id as text or as a number, a Pod or a PodHandle, and raises
    InvalidRequestError before anything is sent when that is no id. Every method raises TransportError when no usable
    answer came and APIError when the API refused; which of them are repeated first, RetryPolicy says.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        clock: Clock,
        *,
        poll_interval: PollInterval,
        settle_timeout: float,
        client_token: bool,
        journal: Journal | None,
        spend_limit: SpendLimit | None,
    ) -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._poller = StatusPoller(endpoints, clock)
        self._wait_interval = poll_interval
        self._poll_interval = interval_at(poll_interval, 0.0)
        self._journal = journal
        self._spending = Spending(endpoints, self._poller.recently_created.__contains__, spend_limit)
        self._creator = PodCreator(
            endpoints,
            self._poller,
            self.handle,
            client_token=client_token,
            settling=CreateRecovery(endpoints, self._poller, seconds=settle_timeout, interval=self._poll_interval),
            journal=journal,
        )

    async def create(
        self, spec: PodSpec | None = None, /, *, spend_limit: SpendLimit | None = None, **fields: Unpack[PodFields]
    ) -> PodHandle:
        """Create a pod from a PodSpec, from its fields by name, or from a PodSpec with the given fields changed.

        Returns as soon as the API has answered with an id; the pod starts after that, so follow with `wait_until`.
        A create that may have been heard is never sent again. Its pod bears a random YOTTA_CLIENT_TOKEN in its
        environment, unless the client was made with `client_token=False`.

        Raises InvalidRequestError before anything is sent, SpendLimitError before anything is created that would pass
        `spend_limit` or the client's own, CreateOutcomeUnknownError when there may be a pod. A create that is cancelled
        deletes its pod once it is made, and only then (within 30 s) lets the cancel through.
        Source: POST /openapi/v1/pods/create.
        """
        spec = spec_from(spec, fields)
        async with self._spending.reserve([[spec]], spend_limit) as room:
            pod_id = await self._creator.create(spec, self._creator.order(delete_on_exit=False))
            room.made(pod_id, spec)
        return PodHandle(self, pod_id)

    def ephemeral(
        self,
        spec: PodSpec | None = None,
        /,
        *,
        until: Statuses = PodStatus.RUNNING,
        timeout: float = 600.0,
        fallbacks: Iterable[Mapping[str, Any]] = (),
        on_change: OnChange | None = None,
        spend_limit: SpendLimit | None = None,
        **fields: Unpack[PodFields],
    ) -> Ephemeral:
        """Return a pod for a block: `async with yotta.pods.ephemeral(image=…) as handle`, deleted on every way out.

        On entry the pod is created and waited for until its status is `until`, or one of several, both within
        `timeout` seconds; raises what `create` and `wait_until` raise, and leaves no pod then either. `fallbacks` are
        changes to the spec, tried in their order as by `create_many`; `on_change` is as for `wait_until`. At the end of
        the block, by whatever exception or cancel, and when the client is closed before, the pod is deleted, as often
        as it takes, and looked at until it is on its way out. A cancel is kept back meanwhile, for 30 s at most.

        Raises WaitTimeoutError, which names the pod, when it could not be deleted within 30 s; where the block was
        cancelled the cancel goes through with a note instead, and the log has the error. What no code of this process
        can do, after SIGKILL or a second Ctrl-C, is for the journal and `reap`.
        """
        [candidates] = all_candidates([spec_from(spec, fields)], fallbacks)
        return Ephemeral(
            self.handle,
            self._creator,
            self._clock,
            self._spending.reserve([candidates], spend_limit),
            candidates,
            until=statuses_of(until),
            timeout=seconds("timeout", timeout),
            on_change=on_change,
        )

    async def reap(self, *, dry_run: bool = False, only: Iterable[PodId] | None = None) -> ReapReport:
        """Delete the pods that dead processes left: those of creates in the journal that nobody got and nobody deleted.

        Looks at every journal in the client's journal directory that no living process holds, and at what this client's
        account lists. Only pods that bear a token from such a journal are touched. A create whose pod does not show is
        kept in mind for an hour, as it may have been slow. With `dry_run` nothing is deleted and no journal changed;
        `only` deletes none but these.

        Raises ConfigurationError without a journal; a pod that could not be deleted has its error in the report.
        """
        select_pods = None if only is None else frozenset(ids_of(only))
        return await reap(self._endpoints, self._poller, self._journal, dry_run=dry_run, only=select_pods)

    async def get(self, pod_id: PodId) -> Pod:
        """Return the pod as it is now. Raises NotFoundError. Source: GET /openapi/v1/pods/{podId}."""
        return await self._endpoints.get(pod_id_of(pod_id))

    async def list(self, *, regions: Iterable[str] = (), statuses: Iterable[PodStatus | str | int] = ()) -> list[Pod]:
        """Return the account's pods in the API's order, newest change first, with those TERMINATED today.

        Every pod whose id can be read is in it: a field that cannot be read is None, and named in `Pod.unreadable`. An
        item without such an id is left out: a warning on the logger `yotta_async` has their number, which is
        `unreadable_items`, too.

        Args:
            regions: only pods in one of these.
            statuses: only pods with one of these; each is a PodStatus, its name or its number. An account with very
                many pods may need this, as deleted ones stay in lists for a day.

        Source: GET /openapi/v1/pods/list.
        """
        if not isinstance(statuses, int | Iterable) or not isinstance(regions, Iterable):
            raise InvalidRequestError("regions and statuses must be lists; an empty one filters nothing")
        wanted = (statuses,) if isinstance(statuses, str | int) else statuses
        places = (regions,) if isinstance(regions, str) else tuple(regions)
        for place in places:
            if not isinstance(place, str) or not place or not place.isprintable():
                raise InvalidRequestError("regions must be names of regions, as text that can be printed")
        return (await self._endpoints.list(places, frozenset(status_of(status) for status in wanted))).pods

    @property
    def unreadable_items(self) -> int:
        """How many items of this client's last list were left out, because no pod id can be read in them.

        They may be pods that bill. A SpendLimit refuses creates while there are any; a program that decides by what
        `list` returns can do the same.
        """
        return self._endpoints.unreadable.unreadable_items

    async def pause(self, pod_id: PodId) -> None:
        """Ask for a pause; the pod goes over PAUSING to PAUSED.

        Raises NotFoundError, and InvalidStateError when its status does not allow it. When an answer is lost the pod
        is looked at, and asked again only if it did not move. Source: POST /openapi/v1/pods/pause/{podId}.
        """
        await self._endpoints.pause(pod_id_of(pod_id))

    async def resume(self, pod_id: PodId) -> None:
        """Ask a paused pod to run again; it goes over INITIALIZE to RUNNING. Raises and repeats as `pause` does.

        Source: POST /openapi/v1/pods/resume/{podId}.
        """
        await self._endpoints.resume(pod_id_of(pod_id))

    async def delete(self, pod_id: PodId, *, missing_ok: bool = False) -> None:
        """Delete the pod for good; it goes over TERMINATING to TERMINATED, and later disappears.

        Raises NotFoundError, and InvalidStateError when it was deleted already; `missing_ok` takes both for success.
        So is not finding it after a try that may have been heard. Source: DELETE /openapi/v1/pods/{podId}.
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
        """Return the pod as soon as its status is `status`, or one of several.

        `poll_interval` is in seconds, or a function from the seconds that this wait has lasted to such an interval, so
        that old waits back off: `poll_interval=lambda age: 5 if age < 60 else 30`.
        All waits of a client share one poll, every `poll_interval` seconds (None: the client's; the shortest that any
        wait asks for counts), and are satisfied only by answers to what was asked after they began. `timeout` is in
        seconds. `on_change` is called with the Pod when a status is first seen and whenever it is another; it may be a
        coroutine function, and what it raises ends this wait. A pod that is gone satisfies a wait for TERMINATED: the
        Pod is then the last one seen, with that status, or one with nothing but id and status.

        Raises WaitTimeoutError at the deadline, until when failures that may pass are borne; PodFailedError at once in
        a state from which `status` cannot come; PodGoneError when there is no such pod, which for one that this client
        created is believed only after a minute; BadRequestError, AuthenticationError and PermissionDeniedError as the
        API says them, and ConfigurationError when the client is closed.
        """
        waiter = StatusWaiter(
            self._poller,
            pod_id_of(pod_id),
            statuses_of(status),
            timeout=seconds("timeout", timeout),
            interval=self._wait_interval if poll_interval is None else check_interval(poll_interval),
            on_change=on_change,
        )
        try:  # `with` would keep an object more for each of ten thousand waiters
            await waiter.wait_for_observation()
            return await waiter.wait()
        finally:
            waiter.close()

    async def wait_until_ready(
        self,
        pod_id: PodId,
        *,
        ports: Iterable[int] | None = None,
        timeout: float = 600.0,
        on_change: OnChange | None = None,
    ) -> Pod:
        """Return the pod as soon as it can be reached.

        That is when it is RUNNING, the API does not call any of `ports` (None: every port that it exposes) unhealthy,
        and a TCP connection to each of them, at its `host` and `proxy_port`, is accepted; a UDP port is not connected
        to. One `timeout`, in seconds, is for all of it. Raises what `wait_until` raises; the text of WaitTimeoutError
        says which of the three was missing and at which port. PodFailedError also when a port is not exposed.
        """
        numbers = None if ports is None else tuple(dict.fromkeys(port_number(port) for port in ports))
        return await wait_until_ready(
            self._poller,
            pod_id_of(pod_id),
            numbers,
            timeout=seconds("timeout", timeout),
            interval=self._poll_interval,
            on_change=on_change,
        )

    async def drive(
        self,
        pod_id: PodId,
        *,
        to: PodStatus | str | int,
        timeout: float = 600.0,
        on_change: OnChange | None = None,
    ) -> Pod:
        """Bring the pod from any state to RUNNING, PAUSED or TERMINATED, and return it when it is there.

        Calls `pause`, `resume` or `delete` when the pod is in a state that allows it, and waits where it does not. When
        someone else changes the pod on the way, it looks again. `timeout`, in seconds, is for all of it. Raises what
        `wait_until` raises, and InvalidRequestError for another target.
        """
        return await drive(
            self._poller,
            self._endpoints,
            pod_id_of(pod_id),
            status_of(to),
            timeout=seconds("timeout", timeout),
            interval=self._poll_interval,
            on_change=on_change,
        )

    def watch(self, pod_ids: Iterable[PodId] | None = None) -> AsyncGenerator[PodEvent, None]:
        """Yield a PodEvent for every pod that is there, and then for each that is added, changed or removed.

        `pod_ids=None` is every pod of the account. It is fed by the poll that the waits share, and ends only when it is
        closed: `async with contextlib.aclosing(yotta.pods.watch()) as events`. A slow reader gets the newest state of
        each pod, with what was in between merged. Failures that may pass are borne; BadRequestError,
        AuthenticationError, PermissionDeniedError and ConfigurationError are raised.
        """
        wanted = None if pod_ids is None else dict.fromkeys(ids_of(pod_ids))
        return watch(self._poller, wanted, interval=self._poll_interval)

    def handle(self, pod_id: PodId) -> PodHandle:
        """Return a handle on the pod, without asking the API."""
        return PodHandle(self, pod_id_of(pod_id), pod_id if isinstance(pod_id, Pod) else None)

    async def settle(self) -> None:
        """Wait for creates in flight, and delete ephemeral pods; the client does this when it is closed."""
        await self._creator.settle()

    def stop(self) -> None:
        """Take no more creates, and let every wait raise that the client was closed."""
        self._creator.closing.set()
        self._poller.close(
            ConfigurationError("the YottaClient was closed during this wait: keep it open while it is used")
        )
