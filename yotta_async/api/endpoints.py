"""One coroutine for each documented endpoint, with the retries that are safe for it."""

from __future__ import annotations

import math
from collections.abc import Collection

from yotta_async.api import requests
from yotta_async.api.pod_list import PodList, PodListSnapshot, parse_pods, parse_snapshot
from yotta_async.api.responses import UnreadableLog, parse_created, parse_empty, parse_pod
from yotta_async.errors import ConfigurationError, InvalidStateError, NotFoundError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodSpec
from yotta_async.models.status import ENDING, PAUSED, RESUMED, PodStatus
from yotta_async.transport.messages import Request, SendState
from yotta_async.transport.retry import Retrier, is_known_unprocessed, is_transient, may_have_been_processed
from yotta_async.transport.transport import Transport


class Endpoints:
    """The API's calls for one client. A `deadline`, in seconds of the client's clock, bounds attempts and retries."""

    def __init__(self, transport: Transport, retrier: Retrier) -> None:
        self._transport = transport
        self._retrier = retrier
        self.unreadable = UnreadableLog()

    def check(self) -> None:
        """Raise ConfigurationError when the client is closed or belongs to another event loop."""
        self._transport.check()

    async def create(self, spec: PodSpec, client_token: str | None, send_state: SendState) -> str:
        """POST pods/create, and return the new pod's id. Retried only when it cannot have been processed.

        `send_state.request_sent` is true exactly while the request in flight may reach the server; nothing is retried
        once the state is `abandoned`.
        """
        request = requests.build_create_request(spec, client_token)

        async def attempt() -> str:
            try:
                return parse_created(request, await self._transport.send(request, send_state=send_state))
            except YottaError as error:
                send_state.request_sent = not is_known_unprocessed(error)
                raise

        def is_retryable(error: BaseException) -> bool:
            return is_known_unprocessed(error) and not send_state.abandoned

        max_attempts = self._retrier.policy.max_attempts
        return await self._retrier.run(attempt, max_attempts=max_attempts, is_retryable=is_retryable)

    async def get_once(self, pod_id: str, *, seconds: float = math.inf, fresh_connection: bool = False) -> Pod:
        """GET pods/{id} without retries, for callers that poll; with a `fresh_connection` for those who act on it."""
        request = requests.build_get_request(pod_id)
        response = await self._transport.send(request, seconds=seconds, fresh_connection=fresh_connection)
        return parse_pod(request, response, pod_id, self.unreadable)

    async def get(self, pod_id: str, *, deadline: float = math.inf, fresh_connection: bool = False) -> Pod:
        """GET pods/{id}."""

        async def attempt() -> Pod:
            seconds = self._retrier.seconds_left(deadline)
            return await self.get_once(pod_id, seconds=seconds, fresh_connection=fresh_connection)

        return await self._retrier.run(attempt, max_attempts=self._retrier.policy.max_attempts, deadline=deadline)

    async def list(self, regions: Collection[str] = (), statuses: Collection[PodStatus] = ()) -> PodList:
        """GET pods/list, filtered by status here too, as the wire has numbers for some statuses only."""
        request = requests.build_list_request(regions, statuses)

        async def attempt() -> PodList:
            return await parse_pods(request, await self._transport.send(request), self.unreadable)

        listed = await self._retrier.run(attempt, max_attempts=self._retrier.policy.max_attempts)
        if not statuses:
            return listed
        return listed._replace(pods=[pod for pod in listed.pods if pod.status in statuses])

    async def snapshot(self) -> PodListSnapshot:
        """GET pods/list, of all pods, with no pod built yet."""

        async def attempt() -> PodListSnapshot:
            return await self.snapshot_once(())

        return await self._retrier.run(attempt, max_attempts=self._retrier.policy.max_attempts)

    async def snapshot_once(self, statuses: Collection[PodStatus]) -> PodListSnapshot:
        """GET pods/list without retries, and with no pod built yet."""
        request = requests.build_list_request((), statuses)
        return parse_snapshot(request, await self._transport.send(request), self.unreadable)

    async def pause(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/pause/{id}."""
        request = requests.build_pause_request(pod_id)
        await self._change(request, pod_id, done=PAUSED, unmoved=frozenset({PodStatus.RUNNING}), deadline=deadline)

    async def resume(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/resume/{id}."""
        request = requests.build_resume_request(pod_id)
        await self._change(request, pod_id, done=RESUMED, unmoved=PAUSED, deadline=deadline)

    async def delete(
        self, pod_id: str, *, missing_ok: bool = False, recently_created: bool = False, deadline: float = math.inf
    ) -> None:
        """DELETE pods/{id}.

        Not found is success after an attempt that may have been processed, but not for a recently created pod. So is a
        refusal (12001) when the pod is on its way out: a proxy may have repeated a delete whose response it lost.
        """
        request = requests.build_delete_request(pod_id)
        ambiguous_error: YottaError | None = None

        async def attempt() -> None:
            nonlocal ambiguous_error
            try:
                parse_empty(request, await self._transport.send(request, seconds=self._retrier.seconds_left(deadline)))
            except NotFoundError:
                if recently_created or (ambiguous_error is None and not missing_ok):
                    raise
            except InvalidStateError:
                if not await self._is_in(pod_id, ENDING, deadline):
                    raise
            except YottaError as error:
                ambiguous_error = error if may_have_been_processed(error) else ambiguous_error
                raise

        max_attempts = self._retrier.policy.delete_limit
        try:
            await self._retrier.run(attempt, max_attempts=max_attempts, deadline=deadline, uses_budget=False)
        except YottaError as error:
            problem = _prefer_ambiguous(error, ambiguous_error)
        else:
            return
        raise problem

    async def _change(
        self,
        request: Request,
        pod_id: str,
        *,
        done: frozenset[PodStatus],
        unmoved: frozenset[PodStatus],
        deadline: float,
    ) -> None:
        """Send a pause or resume. After an ambiguous attempt, get the pod, and send again only if `unmoved`."""
        ambiguous_error: YottaError | None = None
        settled = False

        async def attempt() -> None:
            nonlocal ambiguous_error, settled
            if ambiguous_error is not None:
                status = await self._get_status(pod_id, deadline)
                if status in done:
                    return
                if status not in unmoved:
                    settled = True
                    raise ambiguous_error
            try:
                parse_empty(request, await self._transport.send(request, seconds=self._retrier.seconds_left(deadline)))
            except InvalidStateError:
                # The ambiguous attempt may have arrived between the get and this one.
                if ambiguous_error is None or not await self._is_in(pod_id, done, deadline):
                    raise
            except YottaError as error:
                ambiguous_error = error if may_have_been_processed(error) else ambiguous_error
                raise

        def is_retryable(error: BaseException) -> bool:
            return not settled and (is_known_unprocessed(error) or may_have_been_processed(error))

        max_attempts = self._retrier.policy.change_limit
        try:
            await self._retrier.run(attempt, max_attempts=max_attempts, is_retryable=is_retryable, deadline=deadline)
        except YottaError as error:
            problem = _prefer_ambiguous(error, ambiguous_error)
        else:
            return
        raise problem

    async def _get_status(self, pod_id: str, deadline: float) -> PodStatus | None:
        seconds = self._retrier.seconds_left(deadline)
        return (await self.get_once(pod_id, seconds=seconds, fresh_connection=True)).status

    async def _is_in(self, pod_id: str, statuses: frozenset[PodStatus], deadline: float) -> bool:
        """Get the pod, and return whether its status is one of these. A pod that is not found counts as TERMINATED."""
        try:
            return await self._get_status(pod_id, deadline) in statuses
        except NotFoundError:
            return PodStatus.TERMINATED in statuses


def _prefer_ambiguous(error: YottaError, ambiguous_error: YottaError | None) -> YottaError:
    """Return the error to raise when an attempt may have been processed: no later failure may hide that."""
    if ambiguous_error is None or error is ambiguous_error:
        return error
    if is_transient(error) or isinstance(error, ConfigurationError):
        ambiguous_error.add_note(f"A later attempt failed too: {error}")
        return ambiguous_error
    error.__cause__ = ambiguous_error
    return error
