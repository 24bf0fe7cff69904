"""One coroutine per documented endpoint, each with the repeats that are safe for it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Collection

from yotta_async.api import wire
from yotta_async.api.pieces import parse_pods
from yotta_async.api.pod_list import PodListSnapshot, parse_snapshot
from yotta_async.errors import ConfigurationError, InvalidStateError, NotFoundError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodSpec
from yotta_async.models.status import ENDING, PodStatus
from yotta_async.transport.exchange import SendState
from yotta_async.transport.retry import Retries, is_known_unprocessed, is_transient, may_have_been_processed
from yotta_async.transport.transport import Transport

_PAUSED = frozenset({PodStatus.PAUSING, PodStatus.PAUSED})
_RESUMED = frozenset({PodStatus.INITIALIZE, PodStatus.PENDING, PodStatus.PREPARING, PodStatus.RUNNING})


class Endpoints:
    """The API's calls for one client. A `deadline`, of the client's clock, bounds tries and repeats."""

    def __init__(self, transport: Transport, retries: Retries) -> None:
        self._transport = transport
        self._retries = retries

    def check(self) -> None:
        """Raise ConfigurationError when the client is closed or belongs to another event loop."""
        self._transport.check()

    async def create(self, spec: PodSpec, client_token: str | None, send_state: SendState) -> str:
        """POST pods/create, repeated only when it cannot have been heard; return the new pod's id.

        `mark` is set exactly while the request on its way may have been heard; once it is given up nothing is repeated.
        """
        request = wire.create_request(spec, client_token)

        async def attempt() -> str:
            try:
                return wire.parse_created(
                    request, await self._transport.send(request, send_state=send_state, single_use=True)
                )
            except YottaError as error:
                send_state.sent = not is_known_unprocessed(error)
                raise

        def again(error: BaseException) -> bool:
            return is_known_unprocessed(error) and not send_state.abandoned

        return await self._retries.run(attempt, attempts=self._retries.policy.max_attempts, on=again)

    async def get_once(self, pod_id: str, *, seconds: float = math.inf) -> Pod:
        """GET pods/{id} without repeats, for those whose next look is the repeat."""
        request = wire.get_request(pod_id)
        return wire.parse_pod(request, await self._transport.send(request, seconds=seconds), pod_id)

    async def get(self, pod_id: str, *, deadline: float = math.inf) -> Pod:
        """GET pods/{id}."""
        # What `Retries.run` does, without the functions around a first try: they would take a twentieth of the call.
        request, retries = wire.get_request(pod_id), self._retries
        try:
            pod = wire.parse_pod(request, await self._transport.send(request, seconds=retries.left(deadline)), pod_id)
        except YottaError as error:
            first = error
        else:
            retries.went_well()
            return pod

        def attempt() -> Awaitable[Pod]:
            return self.get_once(pod_id, seconds=retries.left(deadline))

        return await retries.again(first, attempt, attempts=retries.policy.max_attempts, deadline=deadline)

    async def list(self, regions: Collection[str] = (), statuses: Collection[PodStatus] = ()) -> list[Pod]:
        """GET pods/list, filtered by status here too, as the wire has numbers for some statuses only."""
        request = wire.list_request(regions, statuses)

        async def attempt() -> list[Pod]:
            return await parse_pods(request, await self._transport.send(request))

        pods = await self._retries.run(attempt, attempts=self._retries.policy.max_attempts)
        return [pod for pod in pods if pod.status in statuses] if statuses else pods

    async def snapshot(self) -> PodListSnapshot:
        """GET pods/list, of all pods, with no pod built yet."""
        attempts = self._retries.policy.max_attempts
        return await self._retries.run(lambda: self.snapshot_once(()), attempts=attempts)

    async def snapshot_once(self, statuses: Collection[PodStatus]) -> PodListSnapshot:
        """GET pods/list without repeats, and with no pod built yet."""
        request = wire.list_request((), statuses)
        return parse_snapshot(request, await self._transport.send(request))

    async def pause(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/pause/{id}."""
        request = wire.pause_request(pod_id)
        await self._change(request, pod_id, done=_PAUSED, unmoved=frozenset({PodStatus.RUNNING}), deadline=deadline)

    async def resume(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/resume/{id}."""
        request = wire.resume_request(pod_id)
        await self._change(request, pod_id, done=_RESUMED, unmoved=_PAUSED, deadline=deadline)

    async def delete(
        self, pod_id: str, *, missing_ok: bool = False, recently_created: bool = False, deadline: float = math.inf
    ) -> None:
        """DELETE pods/{id}. Not found after a try that may have been heard is success, but not for a newborn pod."""
        request = wire.delete_request(pod_id)
        ambiguous_error: YottaError | None = None

        async def attempt() -> None:
            nonlocal ambiguous_error
            try:
                wire.parse_empty(request, await self._transport.send(request, seconds=self._retries.left(deadline)))
            except NotFoundError:
                if recently_created or (ambiguous_error is None and not missing_ok):
                    raise
            except InvalidStateError:
                # The delete that came before may be what made the state one that refuses a delete.
                if (ambiguous_error is None and not missing_ok) or not await self._is_in(pod_id, ENDING, deadline):
                    raise
            except YottaError as error:
                ambiguous_error = error if may_have_been_processed(error) else ambiguous_error
                raise

        tries = self._retries.policy.attempts_of_delete
        try:
            await self._retries.run(attempt, attempts=tries, on=is_transient, deadline=deadline, budgeted=False)
        except YottaError as error:
            problem = _prefer_ambiguous(error, ambiguous_error)
        else:
            return
        raise problem

    async def _change(
        self,
        request: wire.Request,
        pod_id: str,
        *,
        done: frozenset[PodStatus],
        unmoved: frozenset[PodStatus],
        deadline: float,
    ) -> None:
        """Send a pause or resume; after a try in doubt, look first, and send again only if nothing moved."""
        ambiguous_error: YottaError | None = None
        settled = False

        async def attempt() -> None:
            nonlocal ambiguous_error, settled
            if ambiguous_error is not None:
                status = (await self.get_once(pod_id, seconds=self._retries.left(deadline))).status
                if status in done:
                    return
                if status not in unmoved:
                    settled = True
                    raise ambiguous_error
            try:
                wire.parse_empty(request, await self._transport.send(request, seconds=self._retries.left(deadline)))
            except InvalidStateError:
                # The try in doubt may have arrived between the look and this one.
                if ambiguous_error is None or not await self._is_in(pod_id, done, deadline):
                    raise
            except YottaError as error:
                ambiguous_error = error if may_have_been_processed(error) else ambiguous_error
                raise

        def again(error: BaseException) -> bool:
            return not settled and (is_known_unprocessed(error) or may_have_been_processed(error))

        tries = self._retries.policy.attempts_of_change
        try:
            await self._retries.run(attempt, attempts=tries, on=again, deadline=deadline)
        except YottaError as error:
            problem = _prefer_ambiguous(error, ambiguous_error)
        else:
            return
        raise problem

    async def _is_in(self, pod_id: str, statuses: frozenset[PodStatus], deadline: float) -> bool:
        """Look whether the pod is in one of these; a pod that is gone is in every state of a deleted one."""
        try:
            return (await self.get_once(pod_id, seconds=self._retries.left(deadline))).status in statuses
        except NotFoundError:
            return PodStatus.TERMINATED in statuses


def _prefer_ambiguous(error: YottaError, ambiguous_error: YottaError | None) -> YottaError:
    """Return the error to raise after a try that may have been heard; no later failure may hide that."""
    if ambiguous_error is None or error is ambiguous_error:
        return error
    if is_transient(error) or isinstance(error, ConfigurationError):
        ambiguous_error.__cause__ = error
        return ambiguous_error
    error.__cause__ = ambiguous_error
    return error
