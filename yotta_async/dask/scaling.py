"""How many workers a cluster has: as many as were asked for, or as there is work for, within the spend limits."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from distributed.deploy.adaptive import Adaptive
from distributed.deploy.spec import SpecCluster

from yotta_async import ConfigurationError
from yotta_async.dask.replacement import WorkerReplacer
from yotta_async.dask.worker import WorkerContext

LIMIT_RETRY_INTERVAL_S = 10.0  # between two attempts of an adaptive cluster to grow at its spend limit

logger = logging.getLogger("yotta_async.dask")


class Scaler:
    """Changes the number of workers of a cluster."""

    def __init__(self, cluster: SpecCluster, context: WorkerContext, replacer: WorkerReplacer) -> None:
        self.limit_retry_at = -math.inf  # on the clock of the event loop
        self._cluster = cluster
        self._context = context
        self._replacer = replacer
        self._request_number = 0

    async def scale_to(self, n: int, *, up_to_limit: bool = False) -> None:
        """Have `n` workers; with `up_to_limit` fewer if the spend limits or the replacement budget allow no more.

        Returns when every create was answered. Raises SpendLimitError before anything is created, and the first error
        of a create that would fail again.
        """
        self.supersede()
        cluster, replacer, request = self._cluster, self._replacer, self._request_number
        before, now = set(cluster.worker_spec), asyncio.get_running_loop().time()
        more = n - len(before)
        if more > 0:
            if up_to_limit and (now < self.limit_retry_at or replacer.budget.is_exhausted(len(before))):
                return
            template = self._context.template
            plan = await self._context.yotta.pods.plan(
                [template.spec] * more, fallbacks=template.fallbacks, spend_limit=template.spend_limit
            )
            if request != self._request_number:
                return
            if not up_to_limit:
                if plan.refusal is not None:
                    raise plan.refusal
                replacer.budget.reset()
            elif plan.refusal is not None:
                logger.warning("%s: %d of %d more workers fit: %s", cluster.name, plan.fits, more, plan.refusal)
                self.limit_retry_at = now + LIMIT_RETRY_INTERVAL_S
                n = len(before) + plan.fits
        before = set(cluster.worker_spec)  # workers may have been lost and replaced meanwhile
        SpecCluster.scale(cluster, n)
        with replacer.collect_final_errors(set(cluster.worker_spec) - before) as errors:
            await replacer.reconcile()
        if errors:
            raise errors[0]

    def supersede(self) -> None:
        """Make a request that still waits for its plan change nothing."""
        self._request_number += 1

    def reset_limits(self) -> None:
        """Try at once to grow again, whatever was refused and lost before."""
        self.limit_retry_at = -math.inf
        self._replacer.budget.reset()

    @contextmanager
    def retiring(self, names: Collection[str]) -> Iterator[None]:
        """Within the block these workers end on purpose, which leaves room below the limits."""
        self.limit_retry_at = -math.inf
        with self._replacer.retiring(names):
            yield


class PodAdaptive(Adaptive):
    """Dask's adaptive scaling, with as many workers as the spend limits allow."""

    def __init__(self, *args: Any, scaler: Scaler, **kwargs: Any) -> None:
        self._scaler = scaler
        super().__init__(*args, **kwargs)

    async def scale_up(self, n: int) -> None:  # type: ignore[override]  # a coroutine in Adaptive too
        """Have `n` workers, or as many as the limits allow."""
        await self._scaler.scale_to(n, up_to_limit=True)

    async def scale_down(self, workers: Collection[str]) -> None:  # type: ignore[override]  # a coroutine in Adaptive too
        """End these workers, which are not replaced."""
        with self._scaler.retiring(workers):
            await super().scale_down(workers)


def check_count(name: str, value: int) -> int:
    """Return a number of workers. Raises ConfigurationError."""
    if type(value) is not int or value < 0:
        raise ConfigurationError(f"{name} must be a whole number of at least 0")
    return value
