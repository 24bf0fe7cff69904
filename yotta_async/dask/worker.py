"""One worker: an ephemeral pod from its create until it ends, by our wish or not."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self

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
)
from yotta_async.dask.orders import Orders
from yotta_async.dask.rendezvous import NotMetError, tell

# From none of these does a pod come back by itself; one that somebody paused is no worker either.
_ENDS = frozenset({PodStatus.FAILED, PodStatus.PAUSING, PodStatus.PAUSED, PodStatus.TERMINATING, PodStatus.TERMINATED})
# How long the cluster, which does nothing else meanwhile, waits for the answer to a create, and for a pod to go.
_ANSWER_SECONDS = 5.0
_MEETING_SECONDS = 5.0


class PodWorker(ProcessInterface):
    """A worker as SpecCluster wants it: `start` returns when its pod is asked for, and what comes later is told.

    `pod` is the pod as last seen, and `error` what ended it. `over` is called with the worker when it is over against
    our wish. With `after` it begins when that one has ended, and `pause` seconds later.
    """

    def __init__(
        self,
        scheduler: str,
        *,
        name: str,
        orders: Orders,
        over: Callable[[PodWorker], None],
        retire: Callable[[str], Awaitable[None]],
        pause: float = 0.0,
        after: PodWorker | None = None,
        **_: Any,  # the worker's options, which SpecCluster wants to find beside these
    ) -> None:
        self.name = name
        self.pod: Pod | None = None
        self.error: Exception | None = None
        self.joined = asyncio.Event()
        self._scheduler = scheduler
        self._orders = orders
        self._over = over
        self._retire = retire
        self._pause = pause
        self._after = after
        self._answered = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        super().__init__(scheduler=scheduler, name=name)

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._begun().__await__()

    async def _begun(self) -> Self:
        if self.status == Status.created:
            await self.start()
        return self

    async def start(self) -> None:
        """Ask for the pod, and wait until the API has answered, or for five seconds."""
        self.status = Status.running
        self._life = asyncio.ensure_future(self._live())
        if self._after is None:
            answered = asyncio.ensure_future(self._answered.wait())
            await asyncio.wait({self._life, answered}, timeout=_ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            answered.cancel()

    async def close(self, timeout: float | None = _ANSWER_SECONDS) -> None:
        """Delete the pod when its results are moved, and return when it is on its way out, or for five seconds.

        What takes longer goes on, such as a create of which nobody knows yet what became of it.
        """
        if self._life is not None and self.status == Status.running:
            self.status = Status.closing
            try:
                if self.joined.is_set():
                    await self._retire(self.name)
            finally:
                self._life.cancel()
        if self._life is not None:
            await asyncio.wait({self._life}, timeout=timeout)
        await super().close()

    async def _live(self) -> None:
        try:
            await self._rent()
        except asyncio.CancelledError as error:  # by `close`, or as everything ends
            self._orders.doubts += getattr(error, "__notes__", ())
            raise
        except Exception as error:  # noqa: BLE001  # the cluster says it
            self.error = error
            self.status = Status.closed
            self._over(self)
        finally:
            self.status = Status.closed

    async def _rent(self) -> None:
        """Have a pod for as long as it is a worker. Raises what ended that."""
        if self._after is not None:
            await self._after.ended()
            self._after = None
            await asyncio.sleep(self._pause)
        orders, served = self._orders, None
        token = secrets.token_hex(16)
        pod = orders.yotta.pods.ephemeral(
            orders.spec_for(self.name, self._scheduler, token),
            timeout=orders.start_timeout,
            fallbacks=orders.fallbacks,
            on_change=self._see,
            spend_limit=orders.spend_limit,
        )
        try:
            async with pod as handle:
                try:
                    await self._serve(handle, token)
                except Exception as error:
                    served = error
                    raise
        except Exception as error:
            # Else the pod could not be deleted, or nobody knows whether there is one.
            if isinstance(error, CreateOutcomeUnknownError) or (served is not None and error is not served):
                orders.doubts.append(str(error))
            raise

    async def ended(self) -> None:
        """Wait until it is over."""
        if self._life is not None:
            await asyncio.wait({self._life})

    def _see(self, pod: Pod) -> None:
        self.pod = pod
        self._answered.set()

    async def _serve(self, handle: PodHandle, token: str) -> None:
        """Wait until the pod is no worker any more. Raises what made it so."""
        # A cluster lives for days: that the API refuses to look once is no reason to give its pods up.
        watching = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(APIError), wait=tenacity.wait_random_exponential(max=60)
        )
        ended: asyncio.Future[Any] = asyncio.ensure_future(
            watching(handle.wait_until, status=_ENDS, timeout=math.inf, on_change=self._see)
        )
        joined = asyncio.ensure_future(self._join(handle, token))
        try:
            await asyncio.wait({ended, joined}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await joined
            pod = await ended
        finally:
            ended.cancel()
            joined.cancel()
            await asyncio.gather(ended, joined, return_exceptions=True)
        if pod.status in (PodStatus.TERMINATING, PodStatus.TERMINATED):
            raise PodGoneError(f"pod {pod.id}: somebody has deleted it", pod_id=pod.id)
        raise PodFailedError(f"pod {pod.id}: it has been RUNNING, and is {pod.status}", pod_id=pod.id)

    async def _join(self, handle: PodHandle, token: str) -> None:
        """Wait until the scheduler has the worker."""
        number, seconds = self._orders.worker_port, self._orders.start_timeout
        port = None
        if number is not None:
            port = (await handle.wait_until_ready(ports=[number], timeout=seconds)).port(number)
        try:
            async with asyncio.timeout(seconds):
                if port is not None:
                    await self._announce(port, token)
                await self.joined.wait()
        except TimeoutError:
            text = (
                f"pod {handle.id}: it runs, and no worker came from it within {seconds:g} s. Its image may have no "
                f"Dask or another Python, or the scheduler's address, {self._scheduler}, cannot be reached from there"
            )
            raise WaitTimeoutError(text, pod_id=handle.id) from None

    async def _announce(self, port: ExposedPort, token: str) -> None:
        """Tell the pod its address, until it has heard."""
        host = f"[{port.host}]" if ":" in (port.host or "") else port.host
        telling = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type((OSError, TimeoutError, NotMetError)),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
            # Its answer may have been lost.
            stop=lambda _: self.joined.is_set(),
            retry_error_callback=lambda _: None,
        )
        address = f"{self._orders.protocol}://{host}:{port.proxy_port}"
        await telling(
            tell, port.host or "", port.proxy_port or 0, token=token, address=address, timeout=_MEETING_SECONDS
        )
