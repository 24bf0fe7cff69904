"""One coroutine per documented endpoint, each with the repeats that are safe for it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Collection

from yotta_async.api import wire
from yotta_async.api.pieces import read_pods
from yotta_async.api.pod_list import Listing, read_listing
from yotta_async.errors import ConfigurationError, InvalidStateError, NotFoundError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodSpec
from yotta_async.models.status import GOING, PodStatus
from yotta_async.transport.exchange import Mark
from yotta_async.transport.retry import Retries, may_pass, maybe_done, not_heard
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

    async def create(self, spec: PodSpec, client_token: str | None, mark: Mark) -> str:
        """POST pods/create, repeated only when it cannot have been heard; return the new pod's id.

        `mark` is set exactly while the request on its way may have been heard; once it is given up nothing is repeated.
        """
        request = wire.create_request(spec, client_token)

        async def attempt() -> str:
            try:
                return wire.read_created(request, await self._transport.send(request, mark=mark, single_use=True))
            except YottaError as error:
                mark.sent = not not_heard(error)
                raise

        def again(error: BaseException) -> bool:
            return not_heard(error) and not mark.given_up

        return await self._retries.run(attempt, attempts=self._retries.policy.max_attempts, on=again)

    async def get_once(self, pod_id: str, *, seconds: float = math.inf) -> Pod:
        """GET pods/{id} without repeats, for those whose next look is the repeat."""
        request = wire.get_request(pod_id)
        return wire.read_pod(request, await self._transport.send(request, seconds=seconds), pod_id)

    async def get(self, pod_id: str, *, deadline: float = math.inf) -> Pod:
        """GET pods/{id}."""
        # What `Retries.run` does, without the functions around a first try: they would take a twentieth of the call.
        request, retries = wire.get_request(pod_id), self._retries
        try:
            pod = wire.read_pod(request, await self._transport.send(request, seconds=retries.left(deadline)), pod_id)
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
            return await read_pods(request, await self._transport.send(request))

        pods = await self._retries.run(attempt, attempts=self._retries.policy.max_attempts)
        return [pod for pod in pods if pod.status in statuses] if statuses else pods

    async def listing(self) -> Listing:
        """GET pods/list, of all pods, with no pod built yet."""
        attempts = self._retries.policy.max_attempts
        return await self._retries.run(lambda: self.listing_once(()), attempts=attempts)

    async def listing_once(self, statuses: Collection[PodStatus]) -> Listing:
        """GET pods/list without repeats, and with no pod built yet."""
        request = wire.list_request((), statuses)
        return read_listing(request, await self._transport.send(request))

    async def pause(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/pause/{id}."""
        request = wire.pause_request(pod_id)
        await self._change(request, pod_id, done=_PAUSED, unmoved=frozenset({PodStatus.RUNNING}), deadline=deadline)

    async def resume(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/resume/{id}."""
        request = wire.resume_request(pod_id)
        await self._change(request, pod_id, done=_RESUMED, unmoved=_PAUSED, deadline=deadline)

    async def delete(
        self, pod_id: str, *, missing_ok: bool = False, newborn: bool = False, deadline: float = math.inf
    ) -> None:
        """DELETE pods/{id}. Not found after a try that may have been heard is success, but not for a newborn pod."""
        request = wire.delete_request(pod_id)
        doubt: YottaError | None = None

        async def attempt() -> None:
            nonlocal doubt
            try:
                wire.read_nothing(request, await self._transport.send(request, seconds=self._retries.left(deadline)))
            except NotFoundError:
                if newborn or (doubt is None and not missing_ok):
                    raise
            except InvalidStateError:
                # The delete that came before may be what made the state one that refuses a delete.
                if (doubt is None and not missing_ok) or not await self._is_in(pod_id, GOING, deadline):
                    raise
            except YottaError as error:
                doubt = error if maybe_done(error) else doubt
                raise

        tries = self._retries.policy.attempts_of_delete
        try:
            await self._retries.run(attempt, attempts=tries, on=may_pass, deadline=deadline, budgeted=False)
        except YottaError as error:
            problem = _with_doubt(error, doubt)
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
        doubt: YottaError | None = None
        settled = False

        async def attempt() -> None:
            nonlocal doubt, settled
            if doubt is not None:
                status = (await self.get_once(pod_id, seconds=self._retries.left(deadline))).status
                if status in done:
                    return
                if status not in unmoved:
                    settled = True
                    raise doubt
            try:
                wire.read_nothing(request, await self._transport.send(request, seconds=self._retries.left(deadline)))
            except InvalidStateError:
                # The try in doubt may have arrived between the look and this one.
                if doubt is None or not await self._is_in(pod_id, done, deadline):
                    raise
            except YottaError as error:
                doubt = error if maybe_done(error) else doubt
                raise

        def again(error: BaseException) -> bool:
            return not settled and (not_heard(error) or maybe_done(error))

        tries = self._retries.policy.attempts_of_change
        try:
            await self._retries.run(attempt, attempts=tries, on=again, deadline=deadline)
        except YottaError as error:
            problem = _with_doubt(error, doubt)
        else:
            return
        raise problem

    async def _is_in(self, pod_id: str, statuses: frozenset[PodStatus], deadline: float) -> bool:
        """Look whether the pod is in one of these; a pod that is gone is in every state of a deleted one."""
        try:
            return (await self.get_once(pod_id, seconds=self._retries.left(deadline))).status in statuses
        except NotFoundError:
            return PodStatus.TERMINATED in statuses


def _with_doubt(error: YottaError, doubt: YottaError | None) -> YottaError:
    """Return the error to raise after a try that may have been heard; no later failure may hide that."""
    if doubt is None or error is doubt:
        return error
    if may_pass(error) or isinstance(error, ConfigurationError):
        doubt.__cause__ = error
        return doubt
    error.__cause__ = doubt
    return error
