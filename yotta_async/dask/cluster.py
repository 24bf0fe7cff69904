"""`PodCluster`: Dask's SpecCluster with pods for workers, which replaces those that are lost."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Literal, Self, TypeAlias

from distributed.core import Status
from distributed.security import Security
from distributed.utils import silence_logging_cmgr

from yotta_async import ConfigurationError, PodSpec, SpendLimit, YottaClient, YottaError
from yotta_async.dask.losses import Losses
from yotta_async.dask.orders import Orders, default_worker
from yotta_async.dask.places import check_reachable, scheduler_spec, security_of
from yotta_async.dask.scaling import ScalingCluster, check_count
from yotta_async.dask.worker import PodWorker

Maker: TypeAlias = Callable[[], YottaClient | Awaitable[YottaClient]]

_HOLD_SECONDS = 30.0
_LAST_WORDS_SECONDS = 0.1  # in which Dask complains of connections that have ended, as the pods have

logger = logging.getLogger("yotta_async.dask")


class PodCluster(ScalingCluster):
    """A Dask cluster whose workers are pods: `async with PodCluster(yotta, n_workers=4, worker=PodSpec(…)) as cluster`.

    `scale(n)`, `adapt(minimum=…, maximum=…)` and `distributed.Client(cluster)` are as for other clusters. A pod that
    does not start, fails, or is deleted or paused by somebody is replaced by another, under a new name. Closing, by the
    end of the block or by `close()`, deletes every pod, as `pods.ephemeral` does: also when the block is left by a
    cancel, and when the client is closed before.

    Args:
        yotta: a client, which stays open, or a function that makes one, which the cluster closes.
        n_workers: how many workers there are to be at first.
        worker: what to create a worker's pod with. Its image must have Python and Dask in versions that fit the ones
            here, or its `initialization_command`, which runs first, must install them. None is the smallest pod with
            Dask's own image. `pod_name` becomes the worker's name.
        scheduler: as for SpecCluster, `{"cls": …, "options": {…}}`; what is not given is ours: a scheduler in this
            process, its dashboard (if bokeh is installed) for this machine only.
        security: "temporary" makes certificates for this cluster and gives them to the pods, a Security gives its own;
            None is unencrypted, unless Dask's configuration says otherwise.
        asynchronous: whether it is used from a running event loop. If not, it runs on a loop of its own, and `yotta`
            must be a function: `with PodCluster(YottaClient, asynchronous=False) as cluster`.
        name: of the cluster; its workers are `<name>-0`, `<name>-1`, …
        scheduler_host: the name or address at which pods reach this machine; None is for an emulator's pods, which are
            here.
        scheduler_port: where the scheduler listens, for pods that are elsewhere (None: 8786).
        worker_port: the port in the pod on which workers listen, for pods that can be reached by it alone, at their
            `host` and `proxy_port`: results and what workers send each other go that way. None: workers can be reached
            at the addresses that they have.
        worker_options: arguments of `distributed.Worker`, such as `nthreads`, `memory_limit` and `resources`.
        fallbacks: changes to `worker`, tried in their order when a create is refused for lack of capacity or its pod
            turns FAILED.
        spend_limit: how many pods there may be, and for how much an hour, beside the client's own limit. `scale` to
            more raises SpendLimitError and creates nothing; `adapt` takes as many as there is room for.
        start_timeout: seconds that a pod may take to run, and then a worker to come from it.
        max_replacements: how many lost workers are replaced in any ten minutes, so that what never works does not go on
            for ever (None: twice as many as there are to be, at least 4).
        silence_logs: the level below which Dask's own logs are not shown, as for LocalCluster.

    Raises ConfigurationError for what cannot work, before anything is sent. Entering it, awaiting it, and awaiting
    `scale`, raise what the first creates raise.

    """

    def __init__(
        self,
        yotta: YottaClient | Maker,
        *,
        n_workers: int = 0,
        worker: PodSpec | None = None,
        scheduler: Mapping[str, Any] | None = None,
        security: Security | Literal["temporary"] | None = None,
        asynchronous: bool = True,
        name: str | None = None,
        scheduler_host: str | None = None,
        scheduler_port: int | None = None,
        worker_port: int | None = None,
        worker_options: Mapping[str, Any] | None = None,
        fallbacks: Iterable[Mapping[str, Any]] = (),
        spend_limit: SpendLimit | None = None,
        start_timeout: float = 600.0,
        max_replacements: int | None = None,
        silence_logs: int | bool = logging.WARNING,
    ) -> None:
        if isinstance(yotta, YottaClient) and not asynchronous:
            raise ConfigurationError(
                "with asynchronous=False the cluster runs on a loop of its own, and makes its client there: give a "
                "function, such as PodCluster(lambda: YottaClient(poll_interval=2), asynchronous=False)"
            )
        if not isinstance(yotta, YottaClient) and not callable(yotta):
            raise ConfigurationError(f"yotta must be a YottaClient, or a function that makes one, not {_kind(yotta)}")
        if asynchronous and not _is_in_a_loop():
            raise ConfigurationError(
                "outside a running event loop give asynchronous=False, and a function that makes the client"
            )
        if max_replacements is not None:
            check_count("max_replacements", max_replacements)
        security = security_of(security)
        self._given = yotta
        self._n_workers = check_count("n_workers", n_workers)
        self._orders = Orders(
            spec=default_worker() if worker is None else worker,
            fallbacks=tuple(fallbacks),
            spend_limit=spend_limit,
            options=dict(worker_options or {}),
            security=security,
            worker_port=worker_port,
            start_timeout=start_timeout,
        )
        self._losses = Losses(max_replacements)
        self._numbers = itertools.count()
        self._leaving = set()
        self._refusals = {}
        self._chores = set()
        self._turn = 0
        self._full_until = -math.inf
        self._growing = None
        self._closing: asyncio.Task[None] | None = None
        self._silence = ExitStack()  # SpecCluster's own ends before the last of what Dask says about the end
        if silence_logs:
            self._silence.enter_context(silence_logging_cmgr(level=silence_logs))
        told = {"orders": self._orders, "over": self._worker_over, "retire": self._retire}
        try:
            super().__init__(
                workers={},
                scheduler=scheduler_spec(scheduler, host=scheduler_host, port=scheduler_port, security=security),
                worker={"cls": PodWorker, "options": {**self._orders.options, **told}},
                asynchronous=asynchronous,
                security=security,
                name=name or f"dask-{secrets.token_hex(3)}",
            )
        except BaseException:
            self._silence.close()
            if not asynchronous and hasattr(self, "_loop_runner"):
                self._loop_runner.stop()
            raise
        self._name = type(self).__name__  # else its repr would have the name twice, and not say what it is

    # Beginning and end

    async def _start(self) -> None:
        try:
            if self.status == Status.created:
                await self._open()
            await super()._start()
            n_workers, self._n_workers = self._n_workers, 0
            if n_workers:
                await self._grow(n_workers)
        except BaseException:
            if self.status == Status.starting:
                self.status = Status.failed
            await self._close()
            raise

    async def _open(self) -> None:
        yotta = self._given if isinstance(self._given, YottaClient) else self._given()
        if inspect.isawaitable(yotta):
            yotta = await yotta
        if not isinstance(yotta, YottaClient):
            raise ConfigurationError(f"the function `yotta` must return a YottaClient, not {_kind(yotta)}")
        self._orders.yotta = yotta
        check_reachable(yotta.base_url, self.scheduler_spec)

    def __await__(self) -> Generator[Any, Any, Self]:
        if self._growing is not None:
            yield from asyncio.shield(self._growing).__await__()
        return (yield from super().__await__())

    async def __aenter__(self) -> Self:
        try:
            await super().__aenter__()
        except BaseException:  # a cancel, too
            await self._close()
            raise
        return self

    def close(self, timeout: float | None = None) -> Any:
        """Delete every pod and end the scheduler; without a running loop in `timeout` seconds, else awaited.

        May be called again. Raises YottaError when a pod may be left, and names it.
        """
        return super().close(timeout)

    async def _close(self) -> None:
        """Close, once for all who ask; a cancel is kept back for 30 s at most, for the sake of pods."""
        if self._closing is None:
            self._turn += 1
            self._closing = asyncio.ensure_future(self._end())
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            await asyncio.wait({self._closing}, timeout=_HOLD_SECONDS)
            raise

    async def _end(self) -> None:
        try:
            await super()._close()
        finally:
            workers = list(self._created)
            # Whatever went wrong before, no pod is left.
            await asyncio.gather(*(worker.close() for worker in workers))
            for chore in self._chores:
                chore.cancel()
            if not isinstance(self._given, YottaClient) and hasattr(self._orders, "yotta"):
                await self._orders.yotta.aclose()
            await asyncio.sleep(_LAST_WORDS_SECONDS)
            self._silence.close()
        left = [worker.left for worker in workers if worker.left]
        if left:
            raise YottaError(f"the cluster is closed, and may have left pods: {'; '.join(left)}")


def _is_in_a_loop() -> bool:
    try:
        return bool(asyncio.get_running_loop())
    except RuntimeError:
        return False


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
