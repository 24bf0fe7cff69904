"""What an agent may do with pods: plain async functions, bound to a client and to limits of what they may spend.

`tools_for(yotta)` returns them for any framework that takes functions; the MCP server exposes the same ones. Arguments
are the API's own in snake_case, ids are text, and what comes back is plain JSON.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal

from yotta_async.agents.create_tools import Creating, for_agents
from yotta_async.agents.results import (
    DoneAnswer,
    PodAnswer,
    PodListAnswer,
    SpendAnswer,
    ToolFailedError,
    WaitAnswer,
    pod_view,
    total_price,
)
from yotta_async.client import YottaClient
from yotta_async.errors import InvalidStateError, NotFoundError, WaitTimeoutError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.status import ENDING, PodStatus

Status = Literal["RUNNING", "PAUSED", "TERMINATED"]
AnyStatus = Literal[
    "INITIALIZE", "PENDING", "PREPARING", "RUNNING", "PAUSING", "PAUSED", "TERMINATING", "TERMINATED", "FAILED"
]
Tell = Callable[[float, float, str], Awaitable[None]]

LONGEST_WAIT, MOST_SHOWN = 600.0, 200
_SIGN_OF_LIFE = 2.0  # seconds between two reports of a wait that goes on
# Who is told how a wait goes on: seconds so far, seconds at most, and a text.
TELL: ContextVar[Tell | None] = ContextVar("TELL", default=None)


class Toolbox(Creating):
    """The tools of one session: its methods that begin with `pod_` or `spend_`."""

    @for_agents
    async def pod_get(self, pod_id: str) -> PodAnswer:
        """Look at one pod: its status, ports, price and how to reach it by ssh.

        Args:
            pod_id: The pod's id, as text.
        """
        pod = await self._pods.get(pod_id)
        return PodAnswer(pod=pod_view(pod), hint=_next(pod))

    @for_agents
    async def pod_list(self, status: AnyStatus | None = None, limit: int = 50) -> PodListAnswer:
        """List the account's pods, the newest change first, with what they cost together.

        Args:
            status: Only pods in this status, such as RUNNING; without it, all.
            limit: Show at most so many pods, up to 200.
        """
        if type(limit) is not int or not 1 <= limit <= MOST_SHOWN:
            raise ToolFailedError(f"limit must be a whole number between 1 and {MOST_SHOWN}.")
        pods = await self._pods.list(statuses=[] if status is None else [status])
        shown = pods[:limit]
        more = f"{len(pods) - len(shown)} more are not shown: raise limit, or give a status." if pods[limit:] else ""
        return PodListAnswer(
            pods=[pod_view(pod) for pod in shown],
            count=len(pods),
            hourly_price=total_price(pod for pod in pods if pod.status == PodStatus.RUNNING),
            hint=more or "Call pod_get for one of them.",
        )

    @for_agents
    async def pod_wait(self, pod_id: str, status: Status = "RUNNING", timeout_s: float = 60.0) -> WaitAnswer:
        """Wait until a pod has a status, for a bounded time. When the time is over that is no error: call again.

        Args:
            pod_id: The pod's id, as text.
            status: RUNNING, PAUSED or TERMINATED.
            timeout_s: Wait at most so many seconds, up to 600.
        """
        if isinstance(timeout_s, bool) or not 0 < timeout_s <= LONGEST_WAIT:
            raise ToolFailedError(f"timeout_s must be a number of seconds above 0 and at most {LONGEST_WAIT:g}.")
        began = time.monotonic()
        pod: Pod | None
        failed: YottaError | None
        waiting = asyncio.ensure_future(self._pods.wait_until(pod_id, status=PodStatus(status), timeout=timeout_s))
        try:
            while not (await asyncio.wait({waiting}, timeout=_SIGN_OF_LIFE))[0]:
                if (tell := TELL.get()) is not None:
                    await tell(min(time.monotonic() - began, timeout_s), timeout_s, f"pod {pod_id}: not {status} yet")
            pod, reached, failed = await waiting, True, None
        except WaitTimeoutError as error:
            pod, reached, failed = error.last_pod, False, error.last_error
        finally:
            waiting.cancel()
        hint = _next(pod) if reached and pod is not None else _how_to_go_on(pod, status)
        if failed is not None:
            hint += f" The last look failed: {failed}"
        view = None if pod is None else pod_view(pod)
        return WaitAnswer(reached=reached, pod=view, waited_s=round(time.monotonic() - began, 3), hint=hint)

    @for_agents
    async def pod_pause(self, pod_id: str) -> DoneAnswer:
        """Pause a RUNNING pod: its GPU is given back, its volumes stay.

        Args:
            pod_id: The pod's id, as text.
        """
        self._refuse_if_read_only()
        await self._pods.pause(pod_id)
        return DoneAnswer(pod_id=pod_id, done="pausing", hint="Call pod_wait with status PAUSED to see it through.")

    @for_agents
    async def pod_resume(self, pod_id: str) -> DoneAnswer:
        """Let a PAUSED pod run again. It costs money again.

        Args:
            pod_id: The pod's id, as text.
        """
        self._refuse_if_read_only()
        await self._pods.resume(pod_id)
        return DoneAnswer(pod_id=pod_id, done="resuming", hint="Call pod_wait with status RUNNING to see it through.")

    @for_agents
    async def pod_delete(self, pod_id: str, confirm: bool = False) -> DoneAnswer:  # noqa: FBT001, FBT002  # models call by name
        """Delete a pod for good, with all that is on it.

        Args:
            pod_id: The pod's id, as text.
            confirm: True once the user has agreed that this pod goes.
        """
        self._refuse_if_read_only()
        if not confirm:
            raise ToolFailedError(
                f"Not confirmed, and nothing was deleted: {await self.delete_question(pod_id)} It would be gone for "
                "good: ask the user, and then call again with confirm=true."
            )
        try:
            await self._pods.delete(pod_id)
        except InvalidStateError:
            if (await self._pods.get(pod_id)).status not in ENDING:
                raise
        self.created.pop(pod_id, None)
        return DoneAnswer(pod_id=pod_id, done="deleting", hint="Nothing is left to do.")

    @for_agents
    async def spend_summary(self) -> SpendAnswer:
        """Tell how many pods there are, what they cost in US dollars an hour once they run, and what the limits are."""
        pods = [pod for pod in await self._pods.list() if pod.status not in ENDING]
        running = [pod for pod in pods if pod.status == PodStatus.RUNNING]
        costly = [pod for pod in pods if pod.status not in (PodStatus.PAUSED, PodStatus.FAILED)]
        limits = {
            "confirm_above": self._confirm_above,
            "max_pods": self._limit.max_pods,
            "max_hourly": self._limit.max_hourly,
            "read_only": self._read_only,
        }
        return SpendAnswer(
            pods=len(pods),
            running=len(running),
            hourly_price=total_price(costly),
            created_here=list(self.created),
            unknown_here=list(self.unknown),
            limits=limits,
        )

    async def delete_question(self, pod_id: str) -> str:
        """Return what to ask a person before a pod is deleted. Raises ToolFailedError when nothing may be deleted."""
        self._refuse_if_read_only()
        pod = (await self.pod_get(pod_id))["pod"]
        return f"Delete pod {pod['pod_id']} ({pod['pod_name'] or 'it has no name'})?"

    async def delete_created(self) -> list[str]:
        """Delete what this session created and is still there; return the ids of those that could not be deleted."""
        left = []
        for pod_id in list(self.created):
            try:
                await self._pods.delete(pod_id, missing_ok=True)
            except NotFoundError:
                pass
            except YottaError:
                left.append(pod_id)
                continue
            del self.created[pod_id]
        return left

    NAMES = (
        "pod_create", "pod_create_many", "pod_get", "pod_list", "pod_wait", "pod_pause", "pod_resume", "pod_delete",
        "pod_resolve", "spend_summary",
    )  # fmt: skip


def _how_to_go_on(pod: Pod | None, target: str) -> str:
    if pod is not None and pod.status == PodStatus.PAUSED and target == "RUNNING":
        return "It is PAUSED, and stays so: call pod_resume first."
    if pod is not None and pod.status == PodStatus.RUNNING and target == "PAUSED":
        return "It is RUNNING, and stays so: call pod_pause first."
    if pod is not None and pod.status == PodStatus.RUNNING and target == "TERMINATED":
        return "It is RUNNING, and stays so: call pod_delete first."
    return f"Not {target} yet: call pod_wait again, or pod_delete to give it up."


def _next(pod: Pod) -> str:
    if pod.status == PodStatus.RUNNING:
        return f"It runs; reach it with: {pod.ssh_cmd}" if pod.ssh_cmd else "It runs."
    if pod.status == PodStatus.PAUSED:
        return "Call pod_resume to let it run again."
    if pod.status == PodStatus.FAILED:
        return "It failed: delete it with pod_delete, and create another one."
    if pod.status in ENDING:
        return "It is gone, or about to be."
    return "Call pod_wait to wait until it runs."


def tools_for(
    yotta: YottaClient,
    *,
    confirm_above: float = 5.0,
    prices: Mapping[str, float] | None = None,
    max_pods: int | None = None,
    max_hourly: float | None = None,
    read_only: bool = False,
) -> Sequence[Callable[..., Awaitable[Any]]]:
    """Return the tools as async functions bound to an open client, for a framework that takes functions.

    What the limits mean, `Bounded` says in `_agent_limits`; they are the MCP server's too. Every tool raises
    ToolFailedError, whose text is for the model to read. Raises ConfigurationError for a limit that makes no sense.
    """
    toolbox = Toolbox(
        yotta,
        confirm_above=confirm_above,
        prices=prices,
        max_pods=max_pods,
        max_hourly=max_hourly,
        read_only=read_only,
    )
    return [getattr(toolbox, name) for name in Toolbox.NAMES]
