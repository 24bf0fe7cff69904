"""The handle on one pod."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus, Statuses
from yotta_async.polling.subscription import PollInterval
from yotta_async.polling.waiter import OnChange

if TYPE_CHECKING:
    from yotta_async.pods import Pods


class PodHandle:
    """One pod: its `id`, the latest `pod` that this handle saw (None before), and the calls of `Pods` on it."""

    def __init__(self, pods: Pods, pod_id: str, pod: Pod | None = None) -> None:
        self._pods = pods
        self._id = pod_id
        self._pod = pod

    @property
    def id(self) -> str:
        """The pod's id."""
        return self._id

    @property
    def pod(self) -> Pod | None:
        """The pod as this handle last saw it, or None."""
        return self._pod

    def __repr__(self) -> str:
        return f"PodHandle({self._id!r}, {str(self._pod.status) if self._pod else 'not seen yet'})"

    async def refresh(self) -> Pod:
        """Get the pod as it is now."""
        self._pod = await self._pods.get(self._id)
        return self._pod

    async def wait_until(
        self,
        *,
        status: Statuses = PodStatus.RUNNING,
        timeout: float = 600.0,
        poll_interval: PollInterval | None = None,
        on_change: OnChange | None = None,
    ) -> Pod:
        """Wait as `Pods.wait_until` does, and keep each pod that is seen."""
        self._pod = await self._pods.wait_until(
            self._id, status=status, timeout=timeout, poll_interval=poll_interval, on_change=self._noting(on_change)
        )
        return self._pod

    async def wait_until_ready(
        self, *, ports: Iterable[int] | None = None, timeout: float = 600.0, on_change: OnChange | None = None
    ) -> Pod:
        """Wait until the pod can be reached, as `Pods.wait_until_ready` does, and keep each pod that is seen."""
        self._pod = await self._pods.wait_until_ready(
            self._id, ports=ports, timeout=timeout, on_change=self._noting(on_change)
        )
        return self._pod

    async def drive(
        self, *, to: PodStatus | str | int, timeout: float = 600.0, on_change: OnChange | None = None
    ) -> Pod:
        """Bring the pod to a state, as `Pods.drive` does, and keep each pod that is seen."""
        self._pod = await self._pods.drive(self._id, to=to, timeout=timeout, on_change=self._noting(on_change))
        return self._pod

    def _noting(self, on_change: OnChange | None) -> OnChange:
        def note(pod: Pod) -> object:
            self._pod = pod
            return on_change(pod) if on_change is not None else None

        return note

    async def pause(self) -> None:
        """Ask for a pause, as `Pods.pause` does."""
        await self._pods.pause(self._id)

    async def resume(self) -> None:
        """Ask the pod to run again, as `Pods.resume` does."""
        await self._pods.resume(self._id)

    async def delete(self, *, missing_ok: bool = False) -> None:
        """Delete the pod, as `Pods.delete` does."""
        await self._pods.delete(self._id, missing_ok=missing_ok)
