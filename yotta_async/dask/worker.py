"""One worker: a pod from its create until it ends, whether on purpose or not."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self

import attrs
import tenacity
from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from yotta_async import (
    APIError,
    CreateOutcomeUnknownError,
    ExposedPort,
    Pod,
    PodFailedError,
    PodGoneError,
    PodHandle,
    PodStatus,
    WaitTimeoutError,
    YottaClient,
)
from yotta_async.dask.handshake import HandshakeError, send_address
from yotta_async.dask.template import WorkerTemplate

# A pod with one of these statuses is no worker, and does not become one again by itself.
_END_STATUSES = frozenset(
    {PodStatus.FAILED, PodStatus.PAUSING, PodStatus.PAUSED, PodStatus.TERMINATING, PodStatus.TERMINATED}
)
# The cluster does nothing else while it waits for the response to a create, or for a pod to go.
RESPONSE_TIMEOUT_S = 5.0
HANDSHAKE_TIMEOUT_S = 5.0
MAX_BACKOFF_S = 60.0
MAX_HANDSHAKE_BACKOFF_S = 5.0


@attrs.define(kw_only=True, repr=False)
class WorkerContext:
    """What the workers of a cluster share.

    `on_lost` is called with a worker that has ended although it should not, and `retire` with the name of one whose
    results the scheduler is to move. `leftovers` describes pods that may be left of workers that have ended.
    """

    template: WorkerTemplate
    on_lost: Callable[[PodWorker], None]
    retire: Callable[[str], Awaitable[None]]
    yotta: YottaClient = attrs.field(init=False)  # set when the cluster starts
    leftovers: list[str] = attrs.field(factory=list)


class PodWorker(ProcessInterface):
    """A worker for SpecCluster: `start` returns when its pod was asked for, and the rest happens in the background.

    `pod` is the pod as last seen, `error` what ended the worker. It starts `delay` seconds after its `predecessor` has
    ended.
    """

    def __init__(
        self,
        scheduler: str,
        *,
        name: str,
        context: WorkerContext,
        delay: float = 0.0,
        predecessor: PodWorker | None = None,
        **_: Any,  # the options of the worker, which SpecCluster looks up beside these
    ) -> None:
        self.name = name
        self.pod: Pod | None = None
        self.error: Exception | None = None
        self.joined = asyncio.Event()  # set when the scheduler has the worker
        self._scheduler = scheduler
        self._context = context
        self._template = context.template
        self._delay = delay
        self._predecessor = predecessor
        self._created = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        super().__init__(scheduler=scheduler, name=name)

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._ensure_started().__await__()

    async def _ensure_started(self) -> Self:
        if self.status == Status.created:
            await self.start()
        return self

    async def start(self) -> None:
        """Ask for the pod, and wait at most five seconds until the API has answered."""
        self.status = Status.running
        self._running = asyncio.ensure_future(self._run())
        if self._predecessor is None:
            created = asyncio.ensure_future(self._created.wait())
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({self._running, created}, timeout=RESPONSE_TIMEOUT_S, return_when=first)
            created.cancel()

    async def close(self, timeout: float | None = RESPONSE_TIMEOUT_S) -> None:
        """Delete the pod after its results were moved, and wait at most `timeout` seconds until it is being deleted.

        What takes longer goes on, such as a create whose outcome is still unknown.
        """
        if self._running is not None and self.status == Status.running:
            self.status = Status.closing
            try:
                if self.joined.is_set():
                    await self._context.retire(self.name)
            finally:
                self._running.cancel()
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=timeout)
        await super().close()

    async def _run(self) -> None:
        try:
            await self._run_pod()
        except asyncio.CancelledError as error:
            self._context.leftovers += getattr(error, "__notes__", ())
            raise
        except Exception as error:  # noqa: BLE001  # the cluster reports it
            self.error = error
            self.status = Status.closed
            self._context.on_lost(self)
        finally:
            self.status = Status.closed

    async def _run_pod(self) -> None:
        """Have a pod for as long as it is a worker. Raises what ended it."""
        if self._predecessor is not None:
            await self._predecessor.wait_closed()
            self._predecessor = None
            await asyncio.sleep(self._delay)
        template, end = self._template, None
        token = secrets.token_hex(16)
        pod = self._context.yotta.pods.ephemeral(
            template.build_spec(self.name, self._scheduler, token),
            timeout=template.start_timeout,
            fallbacks=template.fallbacks,
            on_change=self._record_pod,
            spend_limit=template.spend_limit,
        )
        try:
            async with pod as handle:
                try:
                    await self._wait_for_end(handle, token)
                except Exception as error:
                    end = error
                    raise
        except Exception as error:
            # Either the pod could not be deleted, or it is unknown whether there is one.
            if isinstance(error, CreateOutcomeUnknownError) or (end is not None and error is not end):
                self._context.leftovers.append(str(error))
            raise

    async def wait_closed(self) -> None:
        """Wait until the worker has ended and its pod is being deleted."""
        if self._running is not None:
            await asyncio.wait({self._running})

    def _record_pod(self, pod: Pod) -> None:
        self.pod = pod
        self._created.set()

    async def _wait_for_end(self, handle: PodHandle, token: str) -> None:
        """Wait until the pod is no worker any more. Raises the reason."""
        # A cluster lives for days: if the API refuses a poll, that is no reason to give its pods up.
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(APIError), wait=tenacity.wait_random_exponential(max=MAX_BACKOFF_S)
        )
        ended: asyncio.Future[Any] = asyncio.ensure_future(
            retrying(handle.wait_until, status=_END_STATUSES, timeout=math.inf, on_change=self._record_pod)
        )
        joined = asyncio.ensure_future(self._wait_for_join(handle, token))
        try:
            await asyncio.wait({ended, joined}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await joined
            pod = await ended
        finally:
            ended.cancel()
            joined.cancel()
            await asyncio.gather(ended, joined, return_exceptions=True)
        if pod.is_being_deleted:
            raise PodGoneError(f"pod {pod.id} was deleted by another program or person", pod_id=pod.id)
        raise PodFailedError(f"pod {pod.id} was RUNNING and is now {pod.status}", pod_id=pod.id)

    async def _wait_for_join(self, handle: PodHandle, token: str) -> None:
        """Wait until the scheduler has the worker. Raises WaitTimeoutError."""
        number, timeout = self._template.worker_port, self._template.start_timeout
        port = None
        if number is not None:
            port = (await handle.wait_until_ready(ports=[number], timeout=timeout)).port(number)
        try:
            async with asyncio.timeout(timeout):
                if port is not None:
                    await self._send_address(port, token)
                await self.joined.wait()
        except TimeoutError:
            text = (
                f"pod {handle.id} is RUNNING, but no worker came from it within {timeout:g} s. Check that its image "
                "has Dask and the same version of Python as this process, and that it can reach the scheduler's "
                f"address, {self._scheduler}"
            )
            raise WaitTimeoutError(text, pod_id=handle.id) from None

    async def _send_address(self, port: ExposedPort, token: str) -> None:
        """Send the pod its address until it confirms it."""
        host = f"[{port.host}]" if ":" in (port.host or "") else port.host
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type((OSError, TimeoutError, HandshakeError)),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=MAX_HANDSHAKE_BACKOFF_S),
            stop=lambda _: self.joined.is_set(),  # the confirmation may have been lost
            retry_error_callback=lambda _: None,
        )
        where: tuple[str, int] = (port.host or "", port.proxy_port or 0)
        address = f"{self._template.protocol}://{host}:{port.proxy_port}"
        await retrying(send_address, *where, token=token, address=address, timeout=HANDSHAKE_TIMEOUT_S)
