"""One coroutine per documented endpoint, each with the repeats that are safe for it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection

from yotta_async import _wire
from yotta_async._retry import Retries, may_pass, maybe_done, not_heard
from yotta_async._transport import Transport
from yotta_async.errors import InvalidStateError, NotFoundError, YottaError
from yotta_async.models import Pod
from yotta_async.spec import PodSpec
from yotta_async.status import PodStatus

_PAUSED = frozenset({PodStatus.PAUSING, PodStatus.PAUSED})
_RESUMED = frozenset({PodStatus.INITIALIZE, PodStatus.PENDING, PodStatus.PREPARING, PodStatus.RUNNING})
_DELETED = frozenset({PodStatus.TERMINATING, PodStatus.TERMINATED})


class Endpoints:
    """The API's calls for one client. A `deadline` is a time of the client's clock by which no repeat may begin."""

    def __init__(self, transport: Transport, retries: Retries) -> None:
        self._transport = transport
        self._retries = retries

    async def create(self, spec: PodSpec, client_token: str | None) -> str:
        """POST pods/create, repeated only when it cannot have been heard; return the new pod's id."""
        request = _wire.create_request(spec, client_token)

        async def attempt() -> str:
            return _wire.read_created(request, await self._transport.send(request, single_use=True))

        return await self._retries.run(attempt, attempts=self._retries.policy.max_attempts, on=not_heard)

    async def get_once(self, pod_id: str, *, seconds: float = math.inf) -> Pod:
        """GET pods/{id} without repeats, for those whose next look is the repeat."""
        request = _wire.get_request(pod_id)
        return _wire.read_pod(request, await self._transport.send(request, seconds=seconds), pod_id)

    async def get(self, pod_id: str, *, deadline: float = math.inf) -> Pod:
        """GET pods/{id}."""

        async def attempt() -> Pod:
            return await self.get_once(pod_id)

        return await self._retries.run(attempt, attempts=self._retries.policy.max_attempts, deadline=deadline)

    async def list(self, regions: Collection[str] = (), statuses: Collection[PodStatus] = ()) -> list[Pod]:
        """GET pods/list, filtered by status here too, as the wire has numbers for some statuses only."""
        request = _wire.list_request(regions, statuses)

        async def attempt() -> list[Pod]:
            return _wire.read_pods(request, await self._transport.send(request))

        pods = await self._retries.run(attempt, attempts=self._retries.policy.max_attempts)
        return [pod for pod in pods if pod.status in statuses] if statuses else pods

    async def pause(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/pause/{id}."""
        attempt = self._change(_wire.pause_request(pod_id), pod_id, _PAUSED, repeat_in=frozenset({PodStatus.RUNNING}))
        await self._retries.run(
            attempt, attempts=self._retries.policy.attempts_of_change, on=_may_change_again, deadline=deadline
        )

    async def resume(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/resume/{id}."""
        attempt = self._change(_wire.resume_request(pod_id), pod_id, _RESUMED, repeat_in=_PAUSED)
        await self._retries.run(
            attempt, attempts=self._retries.policy.attempts_of_change, on=_may_change_again, deadline=deadline
        )

    async def delete(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """DELETE pods/{id}. Not found after a try that may have been heard is success."""
        request = _wire.delete_request(pod_id)
        doubt = False

        async def attempt() -> None:
            nonlocal doubt
            try:
                _wire.read_nothing(request, await self._transport.send(request))
            except NotFoundError:
                if not doubt:
                    raise
            except InvalidStateError:
                # The first try may be what made the state one that refuses a delete.
                if not doubt or (await self.get(pod_id)).status not in _DELETED:
                    raise
            except YottaError as error:
                doubt = doubt or maybe_done(error)
                raise

        policy = self._retries.policy
        await self._retries.run(
            attempt, attempts=policy.attempts_of_delete, on=may_pass, deadline=deadline, budgeted=False
        )

    def _change(
        self, request: _wire.Request, pod_id: str, done: frozenset[PodStatus], repeat_in: frozenset[PodStatus]
    ) -> Callable[[], Awaitable[None]]:
        """Return an attempt that, after one whose outcome is not known, looks first and sends only if nothing moved."""
        doubt: YottaError | None = None

        async def attempt() -> None:
            nonlocal doubt
            if doubt is not None:
                status = (await self.get(pod_id)).status
                if status in done:
                    return
                if status not in repeat_in:
                    raise doubt
            try:
                _wire.read_nothing(request, await self._transport.send(request))
            except InvalidStateError:
                # The try in doubt may have arrived between the look and this one.
                if doubt is None or (await self.get(pod_id)).status not in done:
                    raise
            except YottaError as error:
                if maybe_done(error):
                    doubt = error
                raise

        return attempt


def _may_change_again(error: BaseException) -> bool:
    return not_heard(error) or maybe_done(error)
