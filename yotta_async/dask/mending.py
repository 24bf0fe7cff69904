"""Replacing workers that are lost."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from distributed.core import Status

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
    _refusals: dict[str, Exception]  # what would fail again, by the worker
    _chores: set[asyncio.Task[None]]

    def _update_worker_status(self, op: str, msg: Any) -> None:
        names = {worker["name"] for worker in msg["workers"].values()} if op == "add" else set()
        super()._update_worker_status(op, msg)
        for worker in self._created:
            if worker.name in names:
                worker.joined.set()
                self._losses.joined()

    def _worker_over(self, worker: PodWorker) -> None:
        """Replace a worker that is over, if it is to be there still."""
        name, error, wanted = worker.name, worker.error, len(self.worker_spec)
        if name in self._leaving or name not in self.worker_spec:
            self._leaving.discard(name)
            return
        del self.worker_spec[name]
        self.workers.pop(name, None)
        why = f"{type(error).__name__}: {error}" if error is not None else "the scheduler has lost it"
        pause = self._losses.pause(wanted)
        if isinstance(error, _FINAL):
            self._refusals[name] = error
            self._tell(logging.ERROR, f"{name} is not replaced, as another would fare no better: {why}")
        elif pause is None:
            self._tell(logging.ERROR, f"{name} is not replaced, as too many were lost in a short time: {why}")
        else:
            [(new, spec)] = self.new_worker_spec().items()
            self.worker_spec[new] = {**spec, "options": {**spec["options"], "pause": pause}}
            self._tell(logging.WARNING, f"{name} is replaced by {new}: {why}")
        chore = asyncio.ensure_future(self._mend(name, is_expected=isinstance(error, PodGoneError)))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    def _tell(self, level: int, what: str) -> None:
        """Say it in the log, and in what `get_logs` returns."""
        logger.log(level, "%s", what)
        self.quiet = True  # else it would be printed too
        self._log(what)

    async def _mend(self, name: str, *, is_expected: bool) -> None:
        """Let the scheduler know at once that a worker is not there any more, and have another."""
        addresses = [address for address, each in self.scheduler_info["workers"].items() if each["name"] == name]
        scheduler: Any = self.scheduler_comm
        for address in addresses:
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
        except (OSError, TimeoutError) as error:
            logger.warning("%s goes without its results being moved: %s", name, type(error).__name__)
