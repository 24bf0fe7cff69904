"""How many workers there are: as many as are asked for, or as there is work for, as far as it may cost."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any

from dask.utils import parse_bytes
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive
from distributed.utils import NoOpAwaitable

from yotta_async import ConfigurationError
from yotta_async.dask.mending import MendingCluster
from yotta_async.dask.orders import Orders

_FULL_SECONDS = 10.0  # before an adaptive cluster that met its limit asks again what there is room for

logger = logging.getLogger("yotta_async.dask")


class PodAdaptive(Adaptive):
    """Dask's adaptive scaling, which takes as many workers as the limits on spending leave room for."""

    cluster: ScalingCluster

    async def scale_up(self, n: int) -> None:  # type: ignore[override]  # as the class below does it
        """Have so many workers, or as many as may be."""
        await self.cluster._grow(n, partly=True)  # noqa: SLF001  # of the same file

    async def scale_down(self, workers: Iterable[str]) -> None:  # type: ignore[override]  # likewise
        """Let these go, which are not lost then."""
        leaving = self.cluster._leaving  # noqa: SLF001  # likewise
        leaving.update(workers)
        self.cluster._full_until = -math.inf  # noqa: SLF001  # there is room again
        try:
            await super().scale_down(workers)
        finally:
            leaving.difference_update(workers)
            self.cluster._lose_those_that_left(workers)  # noqa: SLF001  # should it have failed half-way


class ScalingCluster(MendingCluster):
    """A cluster that keeps to limits on spending, and says so where it is asked for more."""

    _orders: Orders
    _numbers: Iterator[int]  # of workers
    _turn: int  # of the latest `scale`
    _n_workers: int  # that are to be there when it has started
    _full_until: float
    _closing: asyncio.Task[None] | None
    _growing: asyncio.Task[None] | None

    def scale(self, n: int = 0, memory: str | None = None, cores: int | None = None) -> Any:
        """Have `n` workers, or as many as make up so much memory or so many cores.

        Without a running loop it returns when it is done: when every create has been answered, if within five seconds,
        and every pod that is too many is on its way out, its results moved to others. With one it returns something to
        await, which need not be awaited. Raises SpendLimitError, and creates nothing, when all of it would pass a
        limit; otherwise what a create raised that would fail again.
        """
        n = check_count("n", n)
        if n or memory or cores:
            self._check_open()
        if memory is not None:
            n = max(n, math.ceil(parse_bytes(memory) / self._memory_per_worker()))
        if cores is not None:
            n = max(n, math.ceil(cores / self._threads_per_worker()))
        if self.status in (Status.created, Status.starting):
            self._n_workers = n
            return NoOpAwaitable()
        if self.status == Status.closed:
            return NoOpAwaitable() if self.asynchronous else None
        if not self.asynchronous:
            return self.sync(self._grow, n)
        if n <= len(self.worker_spec):
            self._turn += 1
            super().scale(n)
        growing = self._growing = asyncio.ensure_future(self._grow(n))
        growing.add_done_callback(self._grown)
        return growing

    def _check_open(self) -> None:
        if self._closing is not None:
            raise ConfigurationError(f"PodCluster {self.name} is closed: make a new one")

    def _threads_per_worker(self) -> int:
        return int(self._per_worker("nthreads", "cores") or 0)

    def _memory_per_worker(self) -> int:
        return int(parse_bytes(self._per_worker("memory_limit", "memory")))

    def _per_worker(self, option: str, what: str) -> Any:
        value = self._orders.options.get(option)
        if not value or value == "auto" or not parse_bytes(value):
            raise ConfigurationError(
                f"to have so much in {what}, say with worker_options={{{option!r}: …}} what one has"
            )
        return value

    def _grown(self, growing: asyncio.Task[None]) -> None:
        """Let go of it: asyncio then says what it raised, if nobody was told."""
        if self._growing is growing:
            self._growing = None

    def adapt(self, *args: Any, **kwargs: Any) -> Adaptive:
        """Have as many workers as there is work for, from `minimum` to `maximum`; see `SpecCluster.adapt`."""
        self._check_open()
        self._full_until = -math.inf
        self._losses.forget()
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
        self._awaited.update(dict.fromkeys(added))
        try:
            await self._correct_state()
        finally:
            errors = [error for name in added if (error := self._awaited.pop(name)) is not None]
        if errors:
            raise errors[0]

    def _new_worker_name(self, _: int) -> str:
        return f"{self.name}-{next(self._numbers)}"


def check_count(name: str, value: int) -> int:
    """Return a number of workers. Raises ConfigurationError."""
    if type(value) is not int or value < 0:
        raise ConfigurationError(f"{name} must be a whole number of at least 0")
    return value
