"""What a cluster has rented, what it costs, and how that is shown."""

from __future__ import annotations

from distributed.deploy.spec import SpecCluster

from yotta_async import Pod


class RentedCluster(SpecCluster):
    """A cluster that says what its pods cost."""

    @property
    def pods(self) -> dict[str, Pod]:
        """The workers' pods as they were last seen, by the name of the worker."""
        workers = sorted(self.workers.items(), key=lambda item: int(item[0].rpartition("-")[2]))
        return {name: worker.pod for name, worker in workers if worker.pod is not None}

    @property
    def hourly_price(self) -> float | None:
        """What the pods cost in USD an hour, or None when the API does not tell it of one of them."""
        prices = [pod.hourly_price for pod in self.pods.values()]
        known = [price for price in prices if price is not None]
        return sum(known) if len(known) == len(prices) else None

    def _costs(self) -> str:
        price = self.hourly_price
        return f"pods={len(self.pods)}, {'price unknown' if price is None else f'${price:.2f}/h'}"

    def __repr__(self) -> str:
        return f"{super().__repr__().removesuffix(')')}, {self._costs()})"

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        row = f'<tr><td style="text-align: left;"><strong>Rented:</strong> {self._costs()}</td></tr>'
        return str(super()._repr_html_(cluster_status=row + (cluster_status or "")))

    def _scaling_status(self) -> str:
        return f"{super()._scaling_status()}<p>{self._costs()}</p>"
