"""Which lost workers are replaced, how often, and after how long."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed.core import Status
from distributed.deploy.spec import SpecCluster

import yotta_async as ya
from yotta_async.dask.worker import PodWorker

LOSS_WINDOW_S = 600.0
MIN_LOSSES_IN_A_ROW = 4
LOSSES_PER_WINDOW_FACTOR = 5
MAX_DELAY_S = 30.0
# After one of these the same create would fail again, or may have succeeded.
_FINAL_ERRORS = (
    *(ya.AuthenticationError, ya.BadRequestError, ya.ConfigurationError, ya.CreateOutcomeUnknownError),
    *(ya.InvalidRequestError, ya.PermissionDeniedError, ya.SpendLimitError),
)


class ReplacementBudget:
    """How many lost workers are replaced, and after how long.

    `max_in_a_row` while no new worker joins (None: twice the size of the cluster, at least 4), and five times as many
    in any ten minutes otherwise: a user may end workers on purpose, for instance by `client.restart()`.
    """

    def __init__(self, max_in_a_row: int | None) -> None:
        self._max_in_a_row = max_in_a_row
        self._loss_times: deque[float] = deque()
        self._losses_in_a_row = 0

    def record_loss(self, cluster_size: int) -> float | None:
        """Return after how many seconds to replace one more lost worker, or None if the budget is used up.

        0 at first; then twice as long in each round, a round being as many losses as the cluster has workers.
        """
        self._loss_times.append(asyncio.get_running_loop().time())
        self._losses_in_a_row += 1
        if self.is_exhausted(cluster_size):
            return None
        rounds = (self._losses_in_a_row - 1) // max(1, cluster_size)
        return min(MAX_DELAY_S, float(2 ** (rounds - 1))) if rounds else 0.0

    def is_exhausted(self, cluster_size: int) -> bool:
        """Whether more workers were lost than are replaced."""
        oldest = asyncio.get_running_loop().time() - LOSS_WINDOW_S
        while self._loss_times and self._loss_times[0] < oldest:
            self._loss_times.popleft()
        limit = max(MIN_LOSSES_IN_A_ROW, 2 * cluster_size) if self._max_in_a_row is None else self._max_in_a_row
        return self._losses_in_a_row > limit or len(self._loss_times) > LOSSES_PER_WINDOW_FACTOR * limit

    def record_join(self) -> None:
        """Count from zero again, because a worker has joined."""
        self._losses_in_a_row = 0

    def reset(self) -> None:
        """Forget all losses, because a user has asked for workers again."""
        self._loss_times.clear()
        self._losses_in_a_row = 0


class WorkerReplacer:
    """Replaces the workers of a cluster that are lost. SpecCluster by itself goes on without them.

    `reconcile` makes the cluster's workers match its `worker_spec`; `log` records an event for the user.
    """

    def __init__(
        self,
        cluster: SpecCluster,
        budget: ReplacementBudget,
        reconcile: Callable[[], Awaitable[None]],
        log: Callable[[int, str], None],
    ) -> None:
        self.budget = budget
        self.reconcile = reconcile
        self._cluster = cluster
        self._log = log
        self._names: dict[str, str] = {}  # of the workers that the scheduler has, by address
        self._retiring: set[str] = set()  # names of workers that are ended on purpose
        self._final_errors: dict[str, list[Exception]] = {}  # where to put the final error of a worker, by name
        self._tasks: set[asyncio.Task[None]] = set()

    def record_joined(self, workers: Mapping[str, Mapping[str, Any]], created: Iterable[PodWorker]) -> None:
        """Note which workers have joined the scheduler, by address."""
        joined = {address: worker["name"] for address, worker in workers.items()}
        self._names.update(joined)
        for worker in created:
            if worker.name in joined.values():
                worker.joined.set()
                self.budget.record_join()

    def record_left(self, address: str) -> None:
        """Replace the worker that has left the scheduler, unless it comes back within Dask's lost-worker-timeout."""
        name = self._names.pop(address, None)
        if name is not None:
            timeout = parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout"))
            asyncio.get_running_loop().call_later(timeout, self._replace_if_absent, name)

    def _replace_if_absent(self, name: str) -> None:
        worker = self._cluster.workers.get(name)
        if worker is not None and worker.status == Status.running and name not in self._names.values():
            self.replace(worker)
            self._spawn(worker.close())

    def replace(self, worker: PodWorker) -> None:
        """Replace a worker that was lost, if the cluster still wants it and the budget allows it."""
        cluster, name, error = self._cluster, worker.name, worker.error
        if name in self._retiring or name not in cluster.worker_spec:
            return
        delay = self.budget.record_loss(len(cluster.worker_spec))
        del cluster.worker_spec[name]
        cluster.workers.pop(name, None)
        reason = f"{type(error).__name__}: {error}" if error is not None else "the scheduler has lost it"
        if isinstance(error, _FINAL_ERRORS) and worker.pod is None:
            self._final_errors.get(name, []).append(error)
            self._log(logging.ERROR, f"{name} is not replaced, because another would fail in the same way: {reason}")
        elif getattr(cluster.scheduler, "status", None) != Status.running:
            self._log(logging.ERROR, f"{name} is not replaced, because the scheduler has ended: {reason}")
        elif delay is None:
            self._log(logging.ERROR, f"{name} is not replaced, too many were lost; call scale again for more: {reason}")
        else:
            [(new_name, spec)] = cluster.new_worker_spec().items()
            options = {**spec["options"], "delay": delay, "predecessor": worker}
            cluster.worker_spec[new_name] = {**spec, "options": options}
            self._log(logging.WARNING, f"{name} is replaced by {new_name}: {reason}")
        self._spawn(self._unregister(name, is_expected=isinstance(error, ya.PodGoneError)))

    async def _unregister(self, name: str, *, is_expected: bool) -> None:
        """Make the scheduler drop a lost worker at once, and start its replacement."""
        scheduler: Any = self._cluster.scheduler_comm
        for address in [address for address, each in self._names.items() if each == name]:
            with suppress(OSError):
                await scheduler.unregister(address=address, stimulus_id=f"pod-lost-{name}", expected=is_expected)
        await self.reconcile()

    @contextmanager
    def retiring(self, names: Collection[str]) -> Iterator[None]:
        """Within the block these workers end on purpose. After it those that are still wanted are replaced."""
        self._retiring.update(names)
        try:
            yield
        finally:
            self._retiring.difference_update(names)
            for worker in [self._cluster.workers[name] for name in names if name in self._cluster.workers]:
                if worker.status == Status.closed:
                    self.replace(worker)

    @contextmanager
    def collect_final_errors(self, names: Collection[str]) -> Iterator[list[Exception]]:
        """Collect the errors of these workers after which they are not replaced."""
        errors: list[Exception] = []
        self._final_errors |= dict.fromkeys(names, errors)
        try:
            yield errors
        finally:
            for name in names:
                self._final_errors.pop(name, None)

    def cancel(self) -> None:
        """Cancel what runs in the background."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
