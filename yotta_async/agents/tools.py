"""The tools that read and change pods, and `tools_for`, which returns all tools as functions.

Arguments are the API's own in snake_case, ids are text, and results are plain JSON. The MCP server exposes the same
functions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias

from yotta_async import InvalidStateError, Pod, PodStatus, WaitTimeoutError, YottaClient, YottaError
from yotta_async.agents.create_tools import CreateTools
from yotta_async.agents.failures import ToolFailedError, explain_errors
from yotta_async.agents.gpu_tools import GpuTools
from yotta_async.agents.policy import ToolPolicy, ToolSession
from yotta_async.agents.results import (
    DoneResult,
    PodListResult,
    PodResult,
    SpendResult,
    WaitResult,
    build_pod_view,
    is_deleted,
    may_be_running,
    total_price,
)

AnyStatus: TypeAlias = Literal[
    "INITIALIZE", "PENDING", "PREPARING", "RUNNING", "PAUSING", "PAUSED", "TERMINATING", "TERMINATED", "FAILED"
]
ReportProgress: TypeAlias = Callable[[float, float, str], Awaitable[None]]
Tool: TypeAlias = Callable[..., Awaitable[Any]]

MAX_WAIT_S = 600.0
MAX_PODS_SHOWN = 200
PROGRESS_INTERVAL_S = 2.0
# Called during a wait with the seconds so far, the seconds at most, and a text.
PROGRESS: ContextVar[ReportProgress | None] = ContextVar("PROGRESS", default=None)

# The call that a wait depends on, by the status of the pod and the status to wait for.
_REQUIRED_CALLS: dict[tuple[str | None, str], str] = {
    ("PAUSED", "RUNNING"): "pod_resume",
    ("RUNNING", "PAUSED"): "pod_pause",
    ("RUNNING", "TERMINATED"): "pod_delete",
}
_HINTS = {
    PodStatus.PAUSED: "Call pod_resume to run it again.",
    PodStatus.FAILED: "It failed: delete it with pod_delete and create another pod.",
    PodStatus.TERMINATING: "It is being deleted.",
    PodStatus.TERMINATED: "It is deleted.",
}
_LIMITS = ("confirm_above", "max_pods", "max_hourly", "read_only")


class PodTools:
    """The tools that read and change pods, for one session."""

    def __init__(self, session: ToolSession) -> None:
        self._session = session
        self._pods = session.pods

    @explain_errors
    async def pod_get(self, pod_id: str) -> PodResult:
        """Get one pod: its status, ports, price and ssh command.

        Args:
            pod_id: The pod's id, as text.
        """
        pod = await self._pods.get(pod_id)
        return PodResult(pod=build_pod_view(pod), hint=_next_step(pod))

    @explain_errors
    async def pod_list(self, status: AnyStatus | None = None, limit: int = 50) -> PodListResult:
        """List the account's pods, the latest change first, and what the running ones cost together.

        Args:
            status: Only pods in this status, such as RUNNING; without it, all.
            limit: Maximum number of pods to show, up to 200.
        """
        if type(limit) is not int or not 1 <= limit <= MAX_PODS_SHOWN:
            raise ToolFailedError(f"limit must be a whole number from 1 to {MAX_PODS_SHOWN}.")
        pods = await self._pods.list(statuses=[] if status is None else [status])
        hidden = len(pods) - limit
        return PodListResult(
            pods=[build_pod_view(pod) for pod in pods[:limit]],
            count=len(pods),
            hourly_price=self._total_price(pod for pod in pods if may_be_running(pod)),
            hint=f"{hidden} more are not shown: raise limit, or give a status."
            if hidden > 0
            else "Call pod_get for one of them.",
        )

    @explain_errors
    async def pod_wait(
        self, pod_id: str, status: Literal["RUNNING", "PAUSED", "TERMINATED"] = "RUNNING", timeout_s: float = 60.0
    ) -> WaitResult:
        """Wait until a pod has a status, for a limited time. If the time runs out, that is no error: call again.

        Args:
            pod_id: The pod's id, as text.
            status: RUNNING, PAUSED or TERMINATED.
            timeout_s: Maximum time to wait in seconds, up to 600.
        """
        if isinstance(timeout_s, bool) or not 0 < timeout_s <= MAX_WAIT_S:
            raise ToolFailedError(f"timeout_s must be a number of seconds above 0 and at most {MAX_WAIT_S:g}.")
        start = time.monotonic()
        waiting = asyncio.ensure_future(self._pods.wait_until(pod_id, status=PodStatus(status), timeout=timeout_s))
        pod: Pod | None
        last_error: YottaError | None = None
        try:
            while not (await asyncio.wait({waiting}, timeout=PROGRESS_INTERVAL_S))[0]:
                if (report := PROGRESS.get()) is not None:
                    await report(min(time.monotonic() - start, timeout_s), timeout_s, f"pod {pod_id}: not {status} yet")
            pod, reached = await waiting, True
            hint = _next_step(pod)
        except WaitTimeoutError as error:
            pod, reached, last_error = error.last_pod, False, error.last_error
            hint = _hint_after_timeout(pod, status)
        finally:
            waiting.cancel()
        if last_error is not None:
            hint += f" The last request for its status failed: {last_error}"
        view = None if pod is None else build_pod_view(pod)
        return WaitResult(reached=reached, pod=view, waited_s=round(time.monotonic() - start, 3), hint=hint)

    @explain_errors
    async def pod_pause(self, pod_id: str) -> DoneResult:
        """Pause a RUNNING pod: its GPU is released, its volumes stay.

        Args:
            pod_id: The pod's id, as text.
        """
        self._session.check_writable()
        await self._pods.pause(pod_id)
        return DoneResult(pod_id=pod_id, done="pausing", hint="Call pod_wait with status PAUSED to wait for it.")

    @explain_errors
    async def pod_resume(self, pod_id: str) -> DoneResult:
        """Run a PAUSED pod again. It costs money again.

        Args:
            pod_id: The pod's id, as text.
        """
        self._session.check_writable()
        await self._pods.resume(pod_id)
        return DoneResult(pod_id=pod_id, done="resuming", hint="Call pod_wait with status RUNNING to wait for it.")

    @explain_errors
    async def pod_delete(self, pod_id: str, confirm: bool = False) -> DoneResult:  # noqa: FBT001, FBT002  # models call by name
        """Delete a pod and everything on it. This cannot be undone.

        Args:
            pod_id: The pod's id, as text.
            confirm: True once the user has agreed that this pod is deleted.
        """
        self._session.check_writable()
        if not confirm:
            raise ToolFailedError(
                f"Not confirmed, and nothing was deleted: {await self._session.build_delete_question(pod_id)} This "
                "cannot be undone: ask the user, and then call again with confirm=true."
            )
        try:
            await self._pods.delete(pod_id)
        except InvalidStateError:
            if not is_deleted(await self._pods.get(pod_id)):
                raise
        self._session.created.pop(pod_id, None)
        return DoneResult(pod_id=pod_id, done="deleting", hint="There is nothing left to do.")

    @explain_errors
    async def spend_summary(self) -> SpendResult:
        """Return how many pods there are, what they cost in US dollars an hour once they run, and the limits."""
        pods = [pod for pod in await self._pods.list() if not is_deleted(pod)]
        return SpendResult(
            pods=len(pods),
            running=sum(pod.status == PodStatus.RUNNING for pod in pods),
            hourly_price=self._total_price(
                pod for pod in pods if pod.status not in (PodStatus.PAUSED, PodStatus.FAILED)
            ),
            created_here=list(self._session.created),
            unknown_here=list(self._session.unknown),
            limits={name: getattr(self._session.policy, name) for name in _LIMITS},
        )

    def _total_price(self, pods: Iterable[Pod]) -> float | None:
        """Return what pods of the last list cost together, or None if the list had items that cannot be read."""
        return None if self._pods.unreadable_items else total_price(pods)


def _next_step(pod: Pod) -> str:
    if pod.status == PodStatus.RUNNING:
        return f"It is running; connect with: {pod.ssh_cmd}" if pod.ssh_cmd else "It is running."
    return _HINTS.get(pod.status or PodStatus.INITIALIZE, "Call pod_wait to wait until it runs.")


def _hint_after_timeout(pod: Pod | None, target: str) -> str:
    now = None if pod is None else str(pod.status)
    if (now, target) in _REQUIRED_CALLS:
        return f"It is {now} and stays so: call {_REQUIRED_CALLS[now, target]} first."
    return f"Not {target} yet: call pod_wait again, or pod_delete to give it up."


def build_tools(session: ToolSession) -> dict[str, Tool]:
    """Return all tools of a session by name."""
    creating, pods = CreateTools(session), PodTools(session)
    tools: list[Tool] = [
        creating.pod_create, creating.pod_create_many, pods.pod_get, pods.pod_list, pods.pod_wait, pods.pod_pause,
        pods.pod_resume, pods.pod_delete, creating.pod_resolve, pods.spend_summary, GpuTools(session).gpu_list,
    ]  # fmt: skip
    return {tool.__name__: tool for tool in tools}


def tools_for(
    yotta: YottaClient,
    *,
    confirm_above: float = 5.0,
    prices: Mapping[str, float] | None = None,
    max_pods: int | None = None,
    max_hourly: float | None = None,
    read_only: bool = False,
) -> Sequence[Callable[..., Awaitable[Any]]]:
    """Make the tools as async functions bound to an open client, for a framework that takes functions.

    Each tool raises ToolFailedError, whose text is for the model.

    Args:
        yotta: The client. It stays open for as long as the tools are used.
        confirm_above: US dollars an hour. A create that costs more, or whose price is unknown, needs `confirm=True`.
        prices: US dollars an hour for one GPU, by gpu_type, for types that no pod of the account has.
        max_pods: The number of pods that the account may have; None: no limit.
        max_hourly: US dollars an hour that the pods of the account may cost together; None: no limit.
        read_only: Refuse every change.

    Returns:
        The tools. Each has the name, the parameters and the docstring that a model sees.

    Raises:
        ConfigurationError: A limit makes no sense.

    Example:
        ```python
        tools = tools_for(yotta, max_pods=4, prices={"NVIDIA_L4_24G": 0.6})
        ```
    """
    policy = ToolPolicy(
        confirm_above=confirm_above, prices=prices, max_pods=max_pods, max_hourly=max_hourly, read_only=read_only
    )
    return list(build_tools(ToolSession(yotta, policy)).values())
