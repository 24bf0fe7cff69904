"""`PodCluster`: Dask's SpecCluster with pods as workers."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Literal, Self

from dask.utils import parse_bytes
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster
from distributed.security import Security
from distributed.utils import NoOpAwaitable, silence_logging_cmgr

from yotta_async import ConfigurationError, Pod, PodSpec, SpendLimit, YottaClient, YottaError, total_hourly_price
from yotta_async.dask.addresses import build_scheduler_spec, check_reachable, resolve_security
from yotta_async.dask.replacement import ReplacementBudget, WorkerReplacer
from yotta_async.dask.scaling import PodAdaptive, Scaler, check_count
from yotta_async.dask.template import DEFAULT_WORKER, WorkerTemplate
from yotta_async.dask.worker import PodWorker, WorkerContext

CANCEL_DEFERRAL_S = 30.0  # for which a cancel waits for pods to be deleted
RETIREMENT_TIMEOUT_S = 30.0
LOG_GRACE_S = 0.1  # in which Dask logs errors about the connections of pods that were deleted

logger = logging.getLogger("yotta_async.dask")


class PodCluster(SpecCluster):
    """A Dask cluster whose workers are pods.

    `scale(n)`, `adapt(minimum=…, maximum=…)` and `distributed.Client(cluster)` work as for other clusters. A pod that
    does not start, fails, or is deleted or paused by another program or person is replaced by a new one with a new
    name. Closing, by the end of the block or by `close()`, deletes every pod, as `pods.ephemeral` does: also after a
    cancel, and when the client is closed first.

    Args:
        yotta: A client, which stays open, or a function that makes one, which the cluster closes.
        n_workers: The number of workers at the start.
        worker: How to create the pod of a worker. Its image must have Python and Dask in versions that fit the ones of
            this process, or its `initialization_command`, which runs first, must install them. None: one NVIDIA_L4_24G
            and Dask's own image. Each pod has the name of its worker.
        scheduler: As for SpecCluster, `{"cls": …, "options": {…}}`. By default the scheduler runs in this process, and
            its dashboard (if bokeh is installed) is for this machine only.
        security: "temporary" makes certificates for this cluster and sends them to the pods; a Security has its own.
            None: not encrypted, unless Dask's configuration requires it.
        asynchronous: True for use in a running event loop. If False, the cluster has its own loop, and `yotta` must be
            a function.
        name: The cluster's name; its workers are `<name>-0`, `<name>-1`, …
        scheduler_host: The name or address at which pods reach this machine. None: for pods of an emulator on this
            machine.
        scheduler_port: The port on which the scheduler listens for pods on other machines. None: 8786.
        worker_port: The port of the pod on which its worker listens, if that port, at the pod's `host` and
            `proxy_port`, is the only way to reach it. None: workers can be reached at their own addresses.
        worker_options: Arguments of `distributed.Worker`, such as `nthreads`, `memory_limit` and `resources`.
        fallbacks: Changes to `worker`, tried in this order if a create is refused for lack of capacity or its pod turns
            FAILED.
        spend_limit: The limit for this cluster, besides the client's own. `scale` beyond it raises SpendLimitError and
            creates nothing; `adapt` creates as many workers as it allows.
        start_timeout: Seconds that a pod may take to run, and then its worker to join.
        max_replacements: How many lost workers are replaced in a row while no new one joins, so that what never works
            does not go on forever. None: twice the number of workers, at least 4. In any ten minutes at most five times
            as many are replaced. After that only `scale` and `adapt` create workers.
        silence_logs: Dask's own logs below this level are not shown, as for LocalCluster.

    Raises:
        ConfigurationError: The arguments cannot work. Nothing was sent.
        YottaError: Entering or awaiting the cluster, or awaiting `scale`, raises the errors of the first creates.

    Example:
        ```python
        async with PodCluster(yotta, n_workers=4, worker=spec) as cluster:
            async with distributed.Client(cluster, asynchronous=True) as dask:
                print(await dask.submit(sum, [1, 2, 3]))
        ```

    """

    def __init__(
        self,
        yotta: YottaClient | Callable[[], YottaClient | Awaitable[YottaClient]],
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
        _check_client(yotta, asynchronous=asynchronous)
        if max_replacements is not None:
            check_count("max_replacements", max_replacements)
        security = resolve_security(security)
        template = WorkerTemplate(
            spec=DEFAULT_WORKER if worker is None else worker,
            fallbacks=tuple(fallbacks),
            spend_limit=spend_limit,
            options=dict(worker_options or {}),
            security=security,
            worker_port=worker_port,
            start_timeout=start_timeout,
        )
        self._client_or_factory = yotta
        self._initial_workers = check_count("n_workers", n_workers)
        self._replacer = WorkerReplacer(self, ReplacementBudget(max_replacements), self._correct_state, self._log_event)
        self._context = WorkerContext(template=template, on_lost=self._replacer.replace, retire=self._retire)
        self._scaler = Scaler(self, self._context, self._replacer)
        self._numbers = itertools.count()  # of workers
        self._starting: asyncio.Task[None] | None = None
        self._scaling: asyncio.Task[None] | None = None  # the latest `scale`, while it runs
        self._closing: asyncio.Task[None] | None = None
        self._was_awaited = False
        self._silence = ExitStack()  # SpecCluster's own would end before the last logs about the end
        if silence_logs:
            self._silence.enter_context(silence_logging_cmgr(level=silence_logs))
        try:
            super().__init__(
                workers={},
                scheduler=build_scheduler_spec(scheduler, host=scheduler_host, port=scheduler_port, security=security),
                worker={"cls": PodWorker, "options": {**template.options, "context": self._context}},
                asynchronous=asynchronous,
                security=security,
                name=name or f"dask-{secrets.token_hex(3)}",
            )
        except BaseException:
            if not asynchronous and hasattr(self, "_loop_runner") and self._loop_runner.is_started():
                with suppress(Exception):  # the error of the constructor is more useful
                    self.sync(self._close)
                self._loop_runner.stop()
            self._silence.close()
            raise
        self._name = type(self).__name__  # for the repr, which has the cluster's own name too

    # Pods and costs

    @property
    def pods(self) -> dict[str, Pod]:
        """The workers' pods as last seen, by the name of the worker."""
        workers = sorted(self.workers.items(), key=lambda item: int(item[0].rpartition("-")[2]))
        return {name: worker.pod for name, worker in workers if worker.pod is not None}

    @property
    def hourly_price(self) -> float | None:
        """What the pods cost together in US dollars an hour, or None if the price of one is unknown."""
        return total_hourly_price(self.pods.values())

    def _describe_costs(self) -> str:
        price = self.hourly_price
        return f"pods={len(self.pods)}, {'price unknown' if price is None else f'${price:.2f}/h'}"

    def __repr__(self) -> str:
        return f"{super().__repr__().removesuffix(')')}, {self._describe_costs()})"

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        row = f'<tr><td style="text-align: left;"><strong>Rented:</strong> {self._describe_costs()}</td></tr>'
        return str(super()._repr_html_(cluster_status=row + (cluster_status or "")))

    def _scaling_status(self) -> str:
        return f"{super()._scaling_status()}<p>{self._describe_costs()}</p>"

    # Scaling

    def scale(self, n: int = 0, memory: str | None = None, cores: int | None = None) -> Any:
        """Change the number of workers.

        Args:
            n: The number of workers.
            memory: At least as many workers as have this memory together, such as "64 GiB".
            cores: At least as many workers as have this number of threads together.

        Returns:
            Without a running event loop None, when every create was answered, or after five seconds, and when the pods
            of surplus workers are being deleted; their results were moved to other workers. With one an awaitable for
            that, which need not be awaited.

        Raises:
            SpendLimitError: A limit does not allow all of them. Nothing was created.
            YottaError: A create failed and would fail again.
        """
        n = check_count("n", n)
        if n or memory or cores:
            self._check_open()
        if memory is not None:
            n = max(n, math.ceil(parse_bytes(memory) / self._memory_per_worker()))
        if cores is not None:
            n = max(n, math.ceil(cores / self._threads_per_worker()))
        if self.status in (Status.created, Status.starting):
            self._initial_workers = n
            return NoOpAwaitable()
        if self.status == Status.closed:
            return NoOpAwaitable() if self.asynchronous else None
        if not self.asynchronous:
            return self.sync(self._scaler.scale_to, n)
        if n <= len(self.worker_spec):
            self._scaler.supersede()
            super().scale(n)
        scaling = self._scaling = asyncio.ensure_future(self._scaler.scale_to(n))
        scaling.add_done_callback(self._forget_scaling)
        return scaling

    def _forget_scaling(self, scaling: asyncio.Task[None]) -> None:
        # Without a reference asyncio logs the task's error, if it was not awaited.
        if self._scaling is scaling:
            self._scaling = None

    def adapt(self, *args: Any, **kwargs: Any) -> Adaptive:
        """Have as many workers as there is work for, within the spend limits.

        Args:
            *args: As for `SpecCluster.adapt`.
            **kwargs: As for `SpecCluster.adapt`, such as `minimum` and `maximum`.

        Returns:
            Dask's object for adaptive scaling.
        """
        self._check_open()
        self._scaler.reset_limits()
        if not args:
            kwargs.setdefault("Adaptive", partial(PodAdaptive, scaler=self._scaler))
        return super().adapt(*args, **kwargs)

    def _check_open(self) -> None:
        if self._closing is not None:
            raise ConfigurationError(f"PodCluster {self.name} is closed: make a new one")

    def _threads_per_worker(self) -> int:
        return int(self._get_worker_option("nthreads", "cores"))

    def _memory_per_worker(self) -> int:
        return int(parse_bytes(self._get_worker_option("memory_limit", "memory")))

    def _get_worker_option(self, option: str, argument: str) -> Any:
        value = self._context.template.options.get(option)
        if not value or value == "auto" or not parse_bytes(value):
            raise ConfigurationError(f"to scale by {argument}, give worker_options={{{option!r}: …}} of one worker")
        return value

    def _new_worker_name(self, _: int) -> str:
        return f"{self.name}-{next(self._numbers)}"

    # Workers that join and leave

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # SpecCluster's own method forgets a lost worker before it is closed, and would make it twice.
        if op == "add":
            self._replacer.record_joined(msg["workers"], self._created)
        else:
            self._replacer.record_left(msg)
        if op == "add" or msg in self.scheduler_info["workers"]:  # `wait_for_workers` may have updated it before
            Cluster._update_worker_status(self, op, msg)  # noqa: SLF001  # the base of SpecCluster's own

    def _correct_state(self) -> asyncio.Future[None]:
        # Shielded, because a cancel of the caller must not lose pods that were asked for.
        return asyncio.shield(super()._correct_state())

    async def _retire(self, name: str) -> None:
        """Make the scheduler move a worker's results to others. SpecCluster passes names where addresses are needed."""
        if self.status != Status.running:
            return  # no worker remains
        scheduler: Any = self.scheduler_comm
        try:
            async with asyncio.timeout(RETIREMENT_TIMEOUT_S):
                await scheduler.retire_workers(names=[name])
        except Exception as error:  # noqa: BLE001  # the pod is deleted whatever Dask raises
            logger.warning("%s ends before its results were moved: %s", name, type(error).__name__)

    def _log_event(self, level: int, text: str) -> None:
        """Write to the log, and to what `get_logs` returns."""
        logger.log(level, "%s", text)
        self.quiet = True  # without it Dask prints the text too
        self._log(text)

    # Start and end

    async def _start(self) -> None:
        """Start once, for all callers; if it is cut off, the cluster is closed."""
        self._check_open()
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start_once())
        try:
            await asyncio.shield(self._starting)
        except asyncio.CancelledError:
            if self._closing is None:
                raise
            raise self._build_closed_error() from None

    async def _start_once(self) -> None:
        yotta = self._client_or_factory
        if not isinstance(yotta, YottaClient):
            made = yotta()
            yotta = await made if inspect.isawaitable(made) else made
        if not isinstance(yotta, YottaClient):
            raise ConfigurationError(f"the function `yotta` must return a YottaClient, not {_name_type(yotta)}")
        self._context.yotta = yotta
        check_reachable(yotta.base_url, self.scheduler_spec, self._context.template.worker_port)
        await super()._start()
        n_workers, self._initial_workers = self._initial_workers, 0
        if n_workers:
            await self._scaler.scale_to(n_workers)

    def __await__(self) -> Generator[Any, Any, Self]:
        is_first, self._was_awaited = not self._was_awaited, True
        try:
            if self._scaling is not None:
                yield from asyncio.shield(self._scaling).__await__()
            return (yield from super().__await__())
        except (Exception, asyncio.CancelledError) as error:
            if is_first:  # the caller has no reference to close
                yield from self._abort_start(error).__await__()
            raise

    async def __aenter__(self) -> Self:
        self._check_open()
        try:
            await super().__aenter__()
        except (Exception, asyncio.CancelledError) as error:
            await self._abort_start(error)
            raise
        return self

    async def _abort_start(self, error: BaseException) -> None:
        """Close after a failed start. Raises ConfigurationError if it failed because the cluster was closed."""
        was_closed = self._closing is not None
        await self._close_with_notes(error)
        if was_closed and not isinstance(error, YottaError | asyncio.CancelledError):
            raise self._build_closed_error() from error

    def _build_closed_error(self) -> ConfigurationError:
        return ConfigurationError(f"PodCluster {self.name} was closed while it started")

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, asyncio.CancelledError):  # another error must not replace it
            await self._close_with_notes(error)
        else:
            await self._close()

    async def _close_with_notes(self, error: BaseException) -> None:
        """Close; if pods may be left, add that to the error that ends the block."""
        try:
            await self._close()
        except YottaError as leftovers:
            logger.error("%s", leftovers)  # noqa: TRY400  # its traceback is of no use
            error.add_note(str(leftovers))

    def close(self, timeout: float | None = None) -> Any:
        """Delete every pod and end the scheduler: when awaited, or at once without a running event loop.

        May be called again.

        Args:
            timeout: Seconds after which it gives up, and 30 more for the pods to be deleted. None: no limit.

        Returns:
            An awaitable in a running event loop, else None.

        Raises:
            YottaError: Pods may be left; it names them.
        """
        try:
            return super().close(timeout)
        except BaseException:
            if not self.asynchronous:
                self._loop_runner.stop()
            raise

    async def _close(self) -> None:
        """Close once, for all callers; a cancel waits for at most 30 s."""
        if self._closing is None:
            self._scaler.supersede()
            # If the start itself closes the cluster, do not wait for the start.
            starting = None if self._starting is asyncio.current_task() else self._starting
            self._closing = asyncio.ensure_future(self._close_once(starting))
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + CANCEL_DEFERRAL_S
            while not self._closing.done() and (remaining := deadline - loop.time()) > 0:
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({self._closing}, timeout=remaining)
            raise

    async def _close_once(self, starting: asyncio.Task[None] | None) -> None:
        if starting is not None:
            starting.cancel()
            await asyncio.wait({starting})
        if self.status == Status.starting:
            self.status = Status.failed  # for SpecCluster to close what has started
        if self.scheduler is not None and self.scheduler.status in (Status.closing, Status.closed):
            self.shutdown_scheduler = False  # it has ended; a call to it would take half a minute
        try:
            await super()._close()
        finally:
            # Whatever failed before, no pod is left.
            await asyncio.gather(*(worker.close(timeout=None) for worker in list(self._created)))
            self._replacer.cancel()
            if self.status != Status.closed:
                if self.scheduler is not None:
                    await self.scheduler.close()
                self.status = Status.closed
            if hasattr(self._context, "yotta") and self._context.yotta is not self._client_or_factory:
                await self._context.yotta.aclose()
            await asyncio.sleep(LOG_GRACE_S)
            self._silence.close()
        if self._context.leftovers:
            raise YottaError(f"the cluster is closed, and may have left pods: {'; '.join(self._context.leftovers)}")


def _check_client(yotta: object, *, asynchronous: bool) -> None:
    if isinstance(yotta, YottaClient) and not asynchronous:
        raise ConfigurationError(
            "with asynchronous=False the cluster has its own event loop and makes its client there: give a function, "
            "such as PodCluster(lambda: YottaClient(poll_interval=2), asynchronous=False)"
        )
    if not isinstance(yotta, YottaClient) and not callable(yotta):
        raise ConfigurationError(f"yotta must be a YottaClient, or a function that makes one, not {_name_type(yotta)}")
    if asynchronous:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "outside a running event loop give asynchronous=False, and a function that makes the client"
            ) from None


def _name_type(value: object) -> str:
    return "None" if value is None else type(value).__name__
