"""`PodCluster`: Dask's SpecCluster with pods for workers, which replaces those that are lost."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from typing import Any, Literal, Self, TypeAlias

from dask.utils import parse_bytes
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive
from distributed.security import Security

from yotta_async import ConfigurationError, PodSpec, SpendLimit, YottaClient, YottaError
from yotta_async.dask.losses import Losses
from yotta_async.dask.mending import MendingCluster
from yotta_async.dask.orders import Orders, default_worker
from yotta_async.dask.places import check_reachable, scheduler_spec, security_of
from yotta_async.dask.worker import PodWorker

Maker: TypeAlias = Callable[[], YottaClient | Awaitable[YottaClient]]

_FULL_SECONDS = 10.0  # before an adaptive cluster that met its limit asks again what there is room for
_HOLD_SECONDS = 30.0

logger = logging.getLogger("yotta_async.dask")


class PodAdaptive(Adaptive):
    """Dask's adaptive scaling, which takes as many workers as the limits on spending leave room for."""

    cluster: PodCluster

    async def scale_up(self, n: int) -> None:  # type: ignore[override]  # as the class below does it
        """Have so many workers, or as many as may be."""
        await self.cluster._grow(n, partly=True)  # noqa: SLF001  # of the same file

    async def scale_down(self, workers: Iterable[str]) -> None:  # type: ignore[override]  # likewise
        """Let these go, which are not lost then."""
        self.cluster._leaving.update(workers)  # noqa: SLF001  # likewise
        await super().scale_down(workers)


class PodCluster(MendingCluster):
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
            _check_count("max_replacements", max_replacements)
        security = security_of(security)
        self._given = yotta
        self._n_workers = _check_count("n_workers", n_workers)
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
        self._turn = 0  # of the latest `scale`
        self._full_until = -math.inf
        self._growing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        told = {"orders": self._orders, "over": self._worker_over, "retire": self._retire}
        try:
            super().__init__(
                workers={},
                scheduler=scheduler_spec(scheduler, host=scheduler_host, port=scheduler_port, security=security),
                worker={"cls": PodWorker, "options": {**self._orders.options, **told}},
                asynchronous=asynchronous,
                security=security,
                name=name or f"dask-{secrets.token_hex(3)}",
                silence_logs=silence_logs,
            )
        except BaseException:
            if not asynchronous and hasattr(self, "_loop_runner"):
                self._loop_runner.stop()
            raise
        self._name = type(self).__name__  # else its repr would have the name twice, and not say what it is

    # How many there are

    def scale(self, n: int = 0, memory: str | None = None, cores: int | None = None) -> Any:
        """Have `n` workers, or as many as make up so much memory or so many cores.

        Without a running loop it returns when it is done: when every create has been answered, if within ten seconds,
        and every pod that is too many is on its way out, its results moved to others. With one it returns something to
        await, which need not be awaited. Raises SpendLimitError, and creates nothing, when all of it would pass a
        limit; otherwise what a create raised that would fail again.
        """
        n = _check_count("n", n)
        if memory is not None:
            n = max(n, math.ceil(parse_bytes(memory) / self._memory_per_worker()))
        if cores is not None:
            n = max(n, math.ceil(cores / self._threads_per_worker()))
        if not self.asynchronous:
            return self.sync(self._grow, n)
        if n <= len(self.worker_spec):
            self._turn += 1
            super().scale(n)
        growing = self._growing = asyncio.ensure_future(self._grow(n))
        growing.add_done_callback(self._grown)
        return growing

    def _grown(self, growing: asyncio.Task[None]) -> None:
        """Let go of it: asyncio then says what it raised, if nobody was told."""
        if self._growing is growing:
            self._growing = None

    def adapt(self, *args: Any, **kwargs: Any) -> Adaptive:
        """Have as many workers as there is work for, from `minimum` to `maximum`; see `SpecCluster.adapt`."""
        if not args:
            kwargs.setdefault("Adaptive", PodAdaptive)
        return super().adapt(*args, **kwargs)

    async def _grow(self, n: int, *, partly: bool = False) -> None:
        """Have so many workers; if not `partly`, all of them or no more than before."""
        self._turn += 1
        turn, there, now = self._turn, len(self.worker_spec), asyncio.get_running_loop().time()
        if n > there:
            if partly and (now < self._full_until or self._losses.are_too_many(there)):
                return
            orders = self._orders
            plan = await orders.yotta.pods.plan(
                [orders.spec] * (n - there), fallbacks=orders.fallbacks, spend_limit=orders.spend_limit
            )
            if turn != self._turn:
                return  # somebody has asked for another number meanwhile
            if plan.refusal is not None:
                if not partly:
                    raise plan.refusal
                logger.warning("%s: %d of %d more workers fit: %s", self.name, plan.fits, n - there, plan.refusal)
                self._full_until = now + _FULL_SECONDS
                n = there + plan.fits
            if not partly:
                self._losses.forget()
        before = set(self.worker_spec)
        super().scale(n)
        added = set(self.worker_spec) - before
        await self._correct_state()
        refusals = [error for name in added if (error := self._refusals.pop(name, None)) is not None]
        if refusals:
            raise refusals[0]

    def _new_worker_name(self, _: int) -> str:
        return f"{self.name}-{next(self._numbers)}"

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
        left = [worker.left for worker in workers if worker.left]
        if left:
            raise YottaError(f"the cluster is closed, and may have left pods: {'; '.join(left)}")


def _check_count(name: str, value: int) -> int:
    if type(value) is not int or value < 0:
        raise ConfigurationError(f"{name} must be a whole number of at least 0")
    return value


def _is_in_a_loop() -> bool:
    try:
        return bool(asyncio.get_running_loop())
    except RuntimeError:
        return False


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
