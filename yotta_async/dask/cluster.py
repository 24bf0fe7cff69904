"""`PodCluster`: Dask's SpecCluster with pods for workers, which replaces those that are lost."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, suppress
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
            here, or its `initialization_command`, which runs first, must install them. None is a pod with one
            NVIDIA_L4_24G and Dask's own image. Each pod is named as its worker.
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
        max_replacements: how many lost workers are replaced in a row while none comes, so that what never works does
            not go on for ever (None: twice as many as there are to be, at least 4); of those that come, five times as
            many in any ten minutes. After that only `scale` and `adapt` ask for more.
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
        self._names = {}
        self._awaited = {}
        self._chores = set()
        self._turn = 0
        self._full_until = -math.inf
        self._growing = None
        self._starting: asyncio.Task[None] | None = None
        self._closing = None
        self._is_fresh = True
        self._silence = ExitStack()  # SpecCluster's own ends before the last of what Dask says about the end
        if silence_logs:
            self._silence.enter_context(silence_logging_cmgr(level=silence_logs))
        told = {"orders": self._orders, "over": self._lose, "retire": self._retire}
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
            if not asynchronous and hasattr(self, "_loop_runner") and self._loop_runner.is_started():
                with suppress(Exception):  # that of the constructor says more
                    self.sync(self._close)
                self._loop_runner.stop()
            self._silence.close()
            raise
        self._name = type(self).__name__  # else its repr would have the name twice, and not say what it is

    # Beginning and end

    async def _start(self) -> None:
        """Start, once for all who ask; whatever cuts it off closes the cluster."""
        self._check_open()
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._begin())
        try:
            await asyncio.shield(self._starting)
        except asyncio.CancelledError:
            if self._closing is None:
                raise
            raise ConfigurationError(f"PodCluster {self.name} was closed while it started") from None

    async def _begin(self) -> None:
        await self._open()
        await super()._start()
        n_workers, self._n_workers = self._n_workers, 0
        if n_workers:
            await self._grow(n_workers)

    async def _open(self) -> None:
        yotta = self._given if isinstance(self._given, YottaClient) else self._given()
        if inspect.isawaitable(yotta):
            yotta = await yotta
        if not isinstance(yotta, YottaClient):
            raise ConfigurationError(f"the function `yotta` must return a YottaClient, not {_kind(yotta)}")
        self._orders.yotta = yotta
        check_reachable(yotta.base_url, self.scheduler_spec, self._orders.worker_port)

    def __await__(self) -> Generator[Any, Any, Self]:
        is_fresh, self._is_fresh = self._is_fresh, False
        try:
            if self._growing is not None:
                yield from asyncio.shield(self._growing).__await__()
            return (yield from super().__await__())
        except (Exception, asyncio.CancelledError) as error:
            if is_fresh:  # nobody has it yet who could close it
                yield from self._give_up(error).__await__()
            raise

    async def __aenter__(self) -> Self:
        self._check_open()
        try:
            await super().__aenter__()
        except (Exception, asyncio.CancelledError) as error:
            await self._give_up(error)
            raise
        return self

    async def _give_up(self, error: BaseException) -> None:
        """Close, as it could not be started. Raises ConfigurationError if that is because it was closed meanwhile."""
        was_closed = self._closing is not None
        await self._leave(error)
        if was_closed and not isinstance(error, YottaError | asyncio.CancelledError):
            raise ConfigurationError(f"PodCluster {self.name} was closed while it started") from error

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, asyncio.CancelledError):  # whoever cancelled waits for it to come through
            await self._leave(error)
        else:
            await self._close()

    async def _leave(self, error: BaseException) -> None:
        """Close, and let what there is to say about pods go with the error by which it is left."""
        try:
            await self._close()
        except YottaError as left:
            logger.error("%s", left)  # noqa: TRY400  # its traceback says nothing
            error.add_note(str(left))

    def close(self, timeout: float | None = None) -> Any:
        """Delete every pod and end the scheduler: when it is awaited, or without a running loop at once.

        May be called again. With `timeout` it is given up after so many seconds, and 30 more for the sake of pods.
        Raises YottaError when a pod may be left, and names it.
        """
        try:
            return super().close(timeout)
        except BaseException:
            if not self.asynchronous:
                self._loop_runner.stop()
            raise

    async def _close(self) -> None:
        """Close, once for all who ask; a cancel is kept back for 30 s at most."""
        if self._closing is None:
            self._turn += 1
            # When the start itself gives up, there is nobody to wait for.
            starting = None if self._starting is asyncio.current_task() else self._starting
            self._closing = asyncio.ensure_future(self._end(starting))
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            loop = asyncio.get_running_loop()
            until = loop.time() + _HOLD_SECONDS
            while not self._closing.done() and (left := until - loop.time()) > 0:
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({self._closing}, timeout=left)
            raise

    async def _end(self, starting: asyncio.Task[None] | None) -> None:
        if starting is not None:
            starting.cancel()
            await asyncio.wait({starting})
        if self.status == Status.starting:
            self.status = Status.failed  # else SpecCluster would leave what there is already
        if self.scheduler is not None and self.scheduler.status in (Status.closing, Status.closed):
            self.shutdown_scheduler = False  # it has ended by itself; to ask it would take half a minute
        try:
            await super()._close()
        finally:
            # Whatever went wrong before, no pod is left.
            await asyncio.gather(*(worker.close(timeout=None) for worker in list(self._created)))
            for chore in self._chores:
                chore.cancel()
            if self.status != Status.closed:
                if self.scheduler is not None:
                    await self.scheduler.close()
                self.status = Status.closed
            if not isinstance(self._given, YottaClient) and hasattr(self._orders, "yotta"):
                await self._orders.yotta.aclose()
            await asyncio.sleep(_LAST_WORDS_SECONDS)
            self._silence.close()
        if self._orders.doubts:
            raise YottaError(f"the cluster is closed, and may have left pods: {'; '.join(self._orders.doubts)}")


def _is_in_a_loop() -> bool:
    try:
        return bool(asyncio.get_running_loop())
    except RuntimeError:
        return False


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
