"""Replacing workers that are lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed.core import Status
from distributed.deploy.cluster import Cluster

from yotta_async import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    CreateOutcomeUnknownError,
    InvalidRequestError,
    PermissionDeniedError,
    PodGoneError,
    SpendLimitError,
)
from yotta_async.dask.losses import Losses
from yotta_async.dask.rented import RentedCluster
from yotta_async.dask.worker import PodWorker

# After one of these the same create would fail again, or may have succeeded unheard.
_FINAL = (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    CreateOutcomeUnknownError,
    InvalidRequestError,
    PermissionDeniedError,
    SpendLimitError,
)
_RETIREMENT_SECONDS = 30.0

logger = logging.getLogger("yotta_async.dask")


class MendingCluster(RentedCluster):
    """A cluster that has a new worker for each that is lost; SpecCluster by itself does without."""

    _losses: Losses
    _leaving: set[str]  # whom the scheduler lets go, and then we
    _names: dict[str, str]  # of the workers that have joined, by address
    _awaited: dict[str, Exception | None]  # what came of the workers that somebody waits for, if it would come again
    _chores: set[asyncio.Task[None]]

    def _update_worker_status(self, op: str, msg: Any) -> None:
        """Take the scheduler's word on who has come and gone.

        SpecCluster's own way with one that is gone forgets it before it is closed, so that it would be made twice.
        """
        if op == "add":
            joined = {address: each["name"] for address, each in msg["workers"].items()}
            self._names.update(joined)
            for worker in self._created:
                if worker.name in joined.values():
                    worker.joined.set()
                    self._losses.joined()
        elif (name := self._names.pop(msg, None)) is not None:
            patience = parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout"))
            asyncio.get_running_loop().call_later(patience, self._look_after, name)
        if op == "add" or msg in self.scheduler_info["workers"]:  # which somebody may have brought up to date meanwhile
            Cluster._update_worker_status(self, op, msg)  # noqa: SLF001  # what SpecCluster builds on

    def _look_after(self, name: str) -> None:
        """Let a worker go that was gone a while ago, and has not come back."""
        worker = self.workers.get(name)
        if worker is not None and worker.status == Status.running and name not in self._names.values():
            self._lose(worker)
            self._chore(worker.close())

    def _lose(self, worker: PodWorker) -> None:
        """Replace a worker that is lost, or about to be, if it is to be there still."""
        name, error, wanted = worker.name, worker.error, len(self.worker_spec)
        if name in self._leaving or name not in self.worker_spec:
            return
        del self.worker_spec[name]
        self.workers.pop(name, None)
        why = f"{type(error).__name__}: {error}" if error is not None else "the scheduler has lost it"
        pause = self._losses.pause(wanted)
        if isinstance(error, _FINAL) and worker.pod is None:
            if name in self._awaited:
                self._awaited[name] = error
            self._tell(logging.ERROR, f"{name} is not replaced, as another would fare no better: {why}")
        elif getattr(self.scheduler, "status", None) != Status.running:
            self._tell(logging.ERROR, f"{name} is not replaced, as the scheduler has ended: {why}")
        elif pause is None:
            self._tell(logging.ERROR, f"{name} is not replaced, as too many were lost; scale again for more: {why}")
        else:
            [(new, spec)] = self.new_worker_spec().items()
            self.worker_spec[new] = {**spec, "options": {**spec["options"], "pause": pause, "after": worker}}
            self._tell(logging.WARNING, f"{name} is replaced by {new}: {why}")
        self._chore(self._mend(name, is_expected=isinstance(error, PodGoneError)))

    def _lose_those_that_left(self, names: Iterable[str]) -> None:
        for worker in [self.workers[name] for name in names if name in self.workers]:
            if worker.status == Status.closed:
                self._lose(worker)

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.ensure_future(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    def _tell(self, level: int, what: str) -> None:
        """Say it in the log, and in what `get_logs` returns."""
        logger.log(level, "%s", what)
        self.quiet = True  # else it would be printed too
        self._log(what)

    async def _mend(self, name: str, *, is_expected: bool) -> None:
        """Let the scheduler know at once that a worker is not there any more, and have another."""
        scheduler: Any = self.scheduler_comm
        for address in [address for address, each in self._names.items() if each == name]:
            with suppress(OSError):
                await scheduler.unregister(address=address, stimulus_id=f"pod-lost-{name}", expected=is_expected)
        await self._correct_state()

    def _correct_state(self) -> asyncio.Future[None]:
        # Shielded: who awaits it may be cancelled, and pods that were asked for by then would be nobody's.
        return asyncio.shield(super()._correct_state())

    async def _retire(self, name: str) -> None:
        """Have the scheduler move a worker's results to others; SpecCluster asks for it by what are no addresses."""
        if self.status != Status.running:
            return  # all of them go
        scheduler: Any = self.scheduler_comm
        try:
            async with asyncio.timeout(_RETIREMENT_SECONDS):
                await scheduler.retire_workers(names=[name])
        except Exception as error:  # noqa: BLE001  # whatever Dask says, the pod is to go
            logger.warning("%s goes without its results being moved: %s", name, type(error).__name__)
