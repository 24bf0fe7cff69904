"""One coroutine for each documented endpoint, with the retries that are safe for it."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection

from yotta_async.api import requests
from yotta_async.api.gpu_offers import parse_gpu_offers
from yotta_async.api.pod_list import PodList, PodListSnapshot, parse_pods, parse_snapshot
from yotta_async.api.refusals import suggest_type_of_refused_create
from yotta_async.api.responses import NewPod, UnreadableLog, parse_created, parse_empty, parse_pod
from yotta_async.api.versions import DEFAULT_VERSION, ApiVersion
from yotta_async.errors import ConfigurationError, InvalidStateError, NotFoundError, YottaError
from yotta_async.models.gpus import GpuOffer
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodSpec
from yotta_async.models.status import PAUSED, RESUMED, PodStatus
from yotta_async.transport.messages import Request, SendState
from yotta_async.transport.retry import Retrier, is_known_unprocessed, is_transient, may_have_been_processed
from yotta_async.transport.transport import Transport

# How often a delete is sent that is answered "not found" while a get shows the pod. One such answer may be wrong; a
# server that keeps contradicting itself is not waited for.
_MAX_CONTRADICTIONS = 3


class Endpoints:
    """The API's calls for one client. A `deadline`, in seconds of the client's clock, bounds attempts and retries."""

    def __init__(self, transport: Transport, retrier: Retrier, version: ApiVersion = DEFAULT_VERSION) -> None:
        self._transport = transport
        self._retrier = retrier
        self._version = version
        self.unreadable = UnreadableLog()

    def check(self) -> None:
        """Raise ConfigurationError when the client is closed or belongs to another event loop."""
        self._transport.check()

    def check_spec(self, spec: PodSpec) -> None:
        """Raise InvalidRequestError for a spec that this version of the API cannot express."""
        requests.check_spec(spec, self._version)

    def draws_name(self, spec: PodSpec) -> bool:
        """Return whether the pod's name carries the client token, as this version requires one and none is given."""
        return requests.draws_name(spec, self._version)

    async def create(self, spec: PodSpec, client_token: str | None, send_state: SendState) -> NewPod:
        """POST pods/create, and return the new pod. Retried only when it cannot have been processed.

        `send_state.request_sent` is true exactly while the request in flight may reach the server; nothing is retried
        once the state is `abandoned`.
        """
        request = requests.build_create_request(spec, client_token, self._version)

        async def attempt() -> NewPod:
            try:
                response = await self._transport.send(request, send_state=send_state)
                return parse_created(request, response, client_token, self.unreadable, self._version)
            except YottaError as error:
                send_state.request_sent = not is_known_unprocessed(error)
                suggest_type_of_refused_create(error, spec.gpu_type, self._version.name)
                raise

        def is_retryable(error: BaseException) -> bool:
            return is_known_unprocessed(error) and not send_state.abandoned

        max_attempts = self._retrier.policy.max_attempts
        return await self._retrier.run(attempt, max_attempts=max_attempts, is_retryable=is_retryable)

    async def get_once(self, pod_id: str, *, deadline: float = math.inf, fresh_connection: bool = False) -> Pod:
        """GET pods/{id} without retries, for callers that poll; with a `fresh_connection` for those who act on it."""
        request = requests.build_get_request(pod_id, self._version)
        seconds = self._retrier.seconds_left(deadline)
        response = await self._transport.send(request, seconds=seconds, fresh_connection=fresh_connection)
        return parse_pod(request, response, pod_id, self.unreadable, self._version)

    async def get(self, pod_id: str, *, deadline: float = math.inf, fresh_connection: bool = False) -> Pod:
        """GET pods/{id}."""
        attempt = functools.partial(self.get_once, pod_id, deadline=deadline, fresh_connection=fresh_connection)
        return await self._retrier.run(attempt, max_attempts=self._retrier.policy.max_attempts, deadline=deadline)

    async def list(self, regions: Collection[str] = (), statuses: Collection[PodStatus] = ()) -> PodList:
        """GET pods/list, filtered by status here too, as the wire has numbers for some statuses only."""
        request = requests.build_list_request(regions, statuses, self._version)

        async def attempt() -> PodList:
            return await parse_pods(request, await self._transport.send(request), self.unreadable, self._version)

        listed = await self._retrier.run(attempt, max_attempts=self._retrier.policy.max_attempts)
        unique: dict[str, Pod] = {}  # a pod that the list shows twice is one pod, as it changed last
        for pod in listed.pods:
            unique.setdefault(pod.id, pod)
        return listed._replace(pods=[pod for pod in unique.values() if not statuses or pod.status in statuses])

    async def snapshot(self) -> PodListSnapshot:
        """GET pods/list, of all pods, with no pod built yet."""

        async def attempt() -> PodListSnapshot:
            return await self.snapshot_once(())

        return await self._retrier.run(attempt, max_attempts=self._retrier.policy.max_attempts)

    async def snapshot_once(self, statuses: Collection[PodStatus]) -> PodListSnapshot:
        """GET pods/list without retries, and with no pod built yet."""
        request = requests.build_list_request((), statuses, self._version)
        return parse_snapshot(request, await self._transport.send(request), self.unreadable, self._version)

    async def list_gpu_types(self, *, deadline: float = math.inf) -> tuple[GpuOffer, ...]:
        """GET vms/types, without prices."""
        request = requests.build_gpu_types_request()

        async def attempt() -> tuple[GpuOffer, ...]:
            seconds = self._retrier.seconds_left(deadline)
            response = await self._transport.send(request, seconds=seconds)
            try:
                return parse_gpu_offers(request, response)
            except NotFoundError as error:
                error.advice = "This host has no list of GPU types: check base_url."
                raise

        return await self._retrier.run(attempt, max_attempts=self._retrier.policy.max_attempts, deadline=deadline)

    async def pause(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/pause/{id}."""
        request = requests.build_pause_request(pod_id, self._version)
        await self._change(request, pod_id, done=PAUSED, unmoved=frozenset({PodStatus.RUNNING}), deadline=deadline)

    async def resume(self, pod_id: str, *, deadline: float = math.inf) -> None:
        """POST pods/resume/{id}."""
        request = requests.build_resume_request(pod_id, self._version)
        await self._change(request, pod_id, done=RESUMED, unmoved=PAUSED, deadline=deadline)

    async def delete(
        self, pod_id: str, *, missing_ok: bool = False, recently_created: bool = False, deadline: float = math.inf
    ) -> None:
        """DELETE pods/{id}.

        A "not found" is not believed before a get says so too. Then it is success after an attempt that may have been
        processed, but not for a recently created pod, which raises NotFoundError at once; that attempt's failure is
        its `__cause__`. A refusal (12001) is success when the pod is on its way out: a proxy may have repeated a
        delete whose response it lost.
        """
        request = requests.build_delete_request(pod_id, self._version)
        ambiguous_error: YottaError | None = None
        is_contradicted = False  # the API said "not found" of a pod that a get shows
        contradictions = 0

        async def attempt() -> None:
            nonlocal ambiguous_error, is_contradicted, contradictions
            is_contradicted = False
            try:
                parse_empty(request, await self._transport.send(request, seconds=self._retrier.seconds_left(deadline)))
            except NotFoundError as error:
                pod = None if recently_created else await self._find(pod_id, deadline)
                is_contradicted = pod is not None and not pod.is_being_deleted
                if pod is not None and is_contradicted:
                    contradictions += 1
                    raise _contradict(error, pod) from None
                if pod is None and (recently_created or (ambiguous_error is None and not missing_ok)):
                    raise
            except InvalidStateError:
                if not await self._is_deleted(pod_id, deadline):
                    raise
            except YottaError as error:
                ambiguous_error = error if may_have_been_processed(error) else ambiguous_error
                raise

        def is_retryable(error: BaseException) -> bool:
            is_worth_another = is_contradicted and contradictions < _MAX_CONTRADICTIONS
            return is_transient(error) or (is_worth_another and isinstance(error, InvalidStateError))

        max_attempts = self._retrier.policy.delete_limit
        try:
            await self._retrier.run(
                attempt, max_attempts=max_attempts, is_retryable=is_retryable, deadline=deadline, uses_budget=False
            )
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
                pod = await self.get_once(pod_id, deadline=deadline, fresh_connection=True)
                if pod.status in done:
                    return
                if pod.status not in unmoved:
                    settled = True
                    raise ambiguous_error
            try:
                parse_empty(request, await self._transport.send(request, seconds=self._retrier.seconds_left(deadline)))
            except InvalidStateError:
                # The ambiguous attempt may have arrived between the get and this one.
                found = None if ambiguous_error is None else await self._find(pod_id, deadline)
                if found is None or found.status not in done:
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

    async def _find(self, pod_id: str, deadline: float) -> Pod | None:
        """Get the pod without retries, or return None when it is not found."""
        try:
            return await self.get_once(pod_id, deadline=deadline, fresh_connection=True)
        except NotFoundError:
            return None

    async def _is_deleted(self, pod_id: str, deadline: float) -> bool:
        """Return whether the pod is on its way out, or is not found by two gets: one alone may be wrong."""
        pod = await self._find(pod_id, deadline) or await self._find(pod_id, deadline)
        return pod is None or pod.is_being_deleted


def _contradict(error: NotFoundError, pod: Pod) -> InvalidStateError:
    """Return the error for a delete that did not find a pod which a get shows."""
    return InvalidStateError(
        f"{error.message} (but a get shows the pod, and it is {pod.status})",
        http_status=error.http_status,
        code=error.code,
        method=error.method,
        path=error.path,
        retry_after=error.retry_after,
        request_id=error.request_id,
    )


def _prefer_ambiguous(error: YottaError, ambiguous_error: YottaError | None) -> YottaError:
    """Return the error to raise when an attempt may have been processed: no later failure may hide that."""
    if ambiguous_error is None or error is ambiguous_error:
        return error
    if is_transient(error) or isinstance(error, ConfigurationError):
        ambiguous_error.add_note(f"A later attempt failed too: {error}")
        return ambiguous_error
    error.__cause__ = ambiguous_error
    return error
