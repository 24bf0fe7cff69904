"""The collection `yotta.pods`, and the handle on one pod. They check what they are given, and compose."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Unpack, cast

from yotta_async._checks import seconds
from yotta_async._clock import Clock
from yotta_async._creation import Creation
from yotta_async._endpoints import Endpoints
from yotta_async._hub import Hub
from yotta_async.errors import InvalidRequestError
from yotta_async.models import Pod, PodId, pod_id_of
from yotta_async.spec import PodFields, PodSpec, spec_from
from yotta_async.status import PodStatus, status_of
from yotta_async.waiters import OnChange, wait_until


class Pods:
    """The pods of the account that the API key belongs to.

    Every method that takes a pod takes its id as text or as a number, a Pod or a PodHandle, and raises
    InvalidRequestError before anything is sent when that is no id. Every method raises TransportError when no usable
    answer came and APIError when the API refused; which of them are repeated first, RetryPolicy says.
    """

    def __init__(self, endpoints: Endpoints, clock: Clock, *, poll_interval: float, client_token: bool) -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._hub = Hub(endpoints)
        self._poll_interval = poll_interval
        self._creation = Creation(endpoints, self.handle, client_token=client_token)

    async def create(self, spec: PodSpec | None = None, /, **fields: Unpack[PodFields]) -> PodHandle:
        """Create a pod from a PodSpec, from its fields by name, or from a PodSpec with the given fields changed.

        Returns as soon as the API has answered with an id; the pod starts after that, so follow with `wait_until`.
        A create that may have been heard is never sent again. Its pod bears a random YOTTA_CLIENT_TOKEN in its
        environment, unless the client was made with `client_token=False`.

        Raises InvalidRequestError before anything is sent, CreateOutcomeUnknownError when there may be a pod. A create
        that is cancelled deletes its pod once it is made, and only then (within 30 s) lets the cancel through.
        Source: POST /openapi/v1/pods/create.
        """
        refused = None
        try:
            spec = spec_from(spec, fields)
        except InvalidRequestError as error:
            refused = error.with_traceback(None)
        # Before anything can raise: these hold tokens and values, and a traceback can show a frame's variables.
        cast("dict[str, object]", fields).clear()
        if refused is not None:
            raise refused
        return PodHandle(self, await self._creation.create(cast("PodSpec", spec)))

    async def get(self, pod_id: PodId) -> Pod:
        """Return the pod as it is now. Raises NotFoundError. Source: GET /openapi/v1/pods/{podId}."""
        return await self._endpoints.get(pod_id_of(pod_id))

    async def list(self, *, regions: Iterable[str] = (), statuses: Iterable[PodStatus | str | int] = ()) -> list[Pod]:
        """Return the account's pods in the API's order, newest change first, with those TERMINATED today.

        `regions` and `statuses` leave only pods in one of them; a status is a PodStatus, its name or its number. A pod
        that cannot be read is left out, and a warning on the logger `yotta_async` says which field of which pod it was.
        Source: GET /openapi/v1/pods/list.
        """
        wanted = (statuses,) if isinstance(statuses, str | int) else statuses
        places = (regions,) if isinstance(regions, str) else tuple(regions)
        for place in places:
            if not isinstance(place, str) or not place or not place.isprintable():
                raise InvalidRequestError("regions must be names of regions, as text that can be printed")
        return await self._endpoints.list(places, frozenset(status_of(status) for status in wanted))

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
        await self._endpoints.delete(pod_id_of(pod_id), missing_ok=missing_ok)

    async def wait_until(
        self,
        pod_id: PodId,
        *,
        status: PodStatus | str | int = PodStatus.RUNNING,
        timeout: float = 600.0,
        poll_interval: float | None = None,
        on_change: OnChange | None = None,
    ) -> Pod:
        """Return the pod as soon as its status is `status`, which is looked at every `poll_interval` seconds.

        `timeout` is in seconds; `poll_interval=None` is the client's. `on_change` is called with the Pod when a status
        is seen for the first time and whenever it is another; it may be a coroutine function, and what it raises ends
        the wait. A pod that is gone satisfies a wait for TERMINATED: the Pod is then the last one seen, with that
        status, or one with nothing but id and status.

        Raises WaitTimeoutError at the deadline, until when failures that may pass are borne; PodFailedError at once in
        a state from which `status` cannot come; PodGoneError when there is no such pod; BadRequestError,
        AuthenticationError and PermissionDeniedError as the API says them.
        """
        return await wait_until(
            self._hub,
            self._clock,
            pod_id_of(pod_id),
            status=status_of(status),
            timeout=seconds("timeout", timeout),
            poll_interval=self._poll_interval if poll_interval is None else seconds("poll_interval", poll_interval),
            on_change=on_change,
        )

    def handle(self, pod_id: PodId) -> PodHandle:
        """Return a handle on the pod, without asking the API."""
        return PodHandle(self, pod_id_of(pod_id), pod_id if isinstance(pod_id, Pod) else None)

    async def settle(self) -> None:
        """Take no more creates and wait for those in flight; the client does this first when it is closed."""
        await self._creation.settle()


class PodHandle:
    """One pod: its `id`, the latest `pod` that this handle saw (None before), and the calls of `Pods` on it."""

    def __init__(self, pods: Pods, pod_id: str, pod: Pod | None = None) -> None:
        self._pods = pods
        self._id = pod_id
        self._pod = pod

    @property
    def id(self) -> str:
        """The pod's id."""
        return self._id

    @property
    def pod(self) -> Pod | None:
        """The pod as this handle last saw it, or None."""
        return self._pod

    def __repr__(self) -> str:
        return f"PodHandle({self._id!r}, {str(self._pod.status) if self._pod else 'not seen yet'})"

    async def refresh(self) -> Pod:
        """Get the pod as it is now."""
        self._pod = await self._pods.get(self._id)
        return self._pod

    async def wait_until(
        self,
        *,
        status: PodStatus | str | int = PodStatus.RUNNING,
        timeout: float = 600.0,
        poll_interval: float | None = None,
        on_change: OnChange | None = None,
    ) -> Pod:
        """Wait as `Pods.wait_until` does, and keep each pod that is seen."""

        async def noted(pod: Pod) -> None:
            self._pod = pod
            if on_change is not None:
                result = on_change(pod)
                if inspect.isawaitable(result):
                    await result

        self._pod = await self._pods.wait_until(
            self._id, status=status, timeout=timeout, poll_interval=poll_interval, on_change=noted
        )
        return self._pod

    async def pause(self) -> None:
        """Ask for a pause, as `Pods.pause` does."""
        await self._pods.pause(self._id)

    async def resume(self) -> None:
        """Ask the pod to run again, as `Pods.resume` does."""
        await self._pods.resume(self._id)

    async def delete(self, *, missing_ok: bool = False) -> None:
        """Delete the pod, as `Pods.delete` does."""
        await self._pods.delete(self._id, missing_ok=missing_ok)
