"""What the `pods` commands do; each returns its exit code."""

from __future__ import annotations

import asyncio
import fnmatch
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import click

from yotta_async import FanOutItem, FanOutReport, Pod, PodStatus, YottaClient, YottaError
from yotta_async.cli.exits import DONE, USAGE
from yotta_async.cli.follow import Follower
from yotta_async.cli.settings import Settings, client
from yotta_async.cli.show import confirmed, several, show_pod, show_pods, show_report
from yotta_async.timeline import check_ending

Action = Literal["pause", "resume", "delete"]
# What each action leads to, and the pods for which it makes sense.
TARGETS = {"pause": PodStatus.PAUSED, "resume": PodStatus.RUNNING, "delete": PodStatus.TERMINATED}
SENSIBLE = {
    "pause": {PodStatus.RUNNING},
    "resume": {PodStatus.PAUSED},
    "delete": set(PodStatus) - {PodStatus.TERMINATING, PodStatus.TERMINATED},
}
_WAIT = 600.0


async def list_pods(
    settings: Settings, *, region: Sequence[str], status: Sequence[str], match: str | None, show_secrets: bool
) -> int:
    """List pods."""
    async with client(settings) as yotta:
        found = await yotta.pods.list(regions=region, statuses=[_status(each) for each in status])
    if match is not None:
        found = [pod for pod in found if fnmatch.fnmatchcase(pod.pod_name or "", match)]
    show_pods(settings, found, show_secrets=show_secrets)
    return DONE


async def get_pod(settings: Settings, pod_id: str, *, show_secrets: bool) -> int:
    """Show one pod."""
    async with client(settings) as yotta:
        show_pod(settings, await yotta.pods.get(pod_id), show_secrets=show_secrets)
    return DONE


async def wait_for(
    settings: Settings,
    *,
    pod_ids: Sequence[str],
    status: Sequence[str],
    ready: bool,
    timeline: str | None,
    show_secrets: bool,
) -> int:
    """Wait for pods."""
    follower = _follower(settings, len(pod_ids), timeline, show_secrets=show_secrets)
    limit = settings.timeout or _WAIT
    async with client(settings, waits=True) as yotta, follower.following(yotta):
        for pod_id in pod_ids:
            follower.item(FanOutItem(pod_id=pod_id))
        if ready:
            report = await _wait_ready(yotta, pod_ids, limit, follower)
        else:
            report = await yotta.pods.wait_many(
                pod_ids, status=[_status(each) for each in status], timeout=limit, on_event=follower.item
            )
    return show_report(settings, report, follower, is_one=len(pod_ids) == 1, show_secrets=show_secrets)


async def _wait_ready(yotta: YottaClient, pod_ids: Sequence[str], limit: float, follower: Follower) -> FanOutReport:
    async def one(pod_id: str) -> FanOutItem:
        try:
            item = FanOutItem(pod_id=pod_id, pod=await yotta.pods.wait_until_ready(pod_id, timeout=limit))
        except YottaError as error:
            item = FanOutItem(pod_id=pod_id, error=error, errors=(error,))
        follower.item(item)
        return item

    return FanOutReport(tuple(await asyncio.gather(*map(one, pod_ids))))


async def change(
    settings: Settings,
    action: Action,
    *,
    pod_ids: Sequence[str],
    everything: bool,
    match: str | None,
    wait: bool,
    timeline: str | None,
    yes: bool = True,
) -> int:
    """Pause, resume or delete pods."""
    if everything == bool(pod_ids) or (match is not None and not everything):
        raise click.UsageError("give the ids of pods, or --all, which --match may narrow")
    async with client(settings, waits=wait) as yotta:
        ids = list(pod_ids)
        if everything:
            found = await yotta.pods.list()
            ids = [pod.id for pod in found if pod.status in SENSIBLE[action] and _is_named(pod, match)]
        if not yes and not confirmed(f"Delete {several(len(ids))} for good?" if ids else ""):
            return USAGE
        follower = _follower(settings, len(ids) * (1 + wait), timeline)
        async with follower.following(yotta):
            report = await _call(yotta, action, ids, follower)
            if wait:
                report = await _and_wait(yotta, report, TARGETS[action], settings.timeout or _WAIT, follower)
    return show_report(settings, report, follower, is_one=len(pod_ids) == 1)


async def _call(yotta: YottaClient, action: Action, ids: Sequence[str], follower: Follower) -> FanOutReport:
    calls: dict[str, Callable[..., Awaitable[FanOutReport]]] = {
        "pause": yotta.pods.pause_many,
        "resume": yotta.pods.resume_many,
        "delete": yotta.pods.delete_many,
    }
    return await calls[action](ids, on_event=follower.asked)


async def _and_wait(
    yotta: YottaClient, asked: FanOutReport, target: PodStatus, limit: float, follower: Follower
) -> FanOutReport:
    """Wait for those for which the call went well."""
    ids = [item.pod_id for item in asked.succeeded if item.pod_id]
    waited = await yotta.pods.wait_many(ids, status=target, timeout=limit, on_event=follower.item)
    outcomes = {item.pod_id: item for item in waited.items}
    return FanOutReport(tuple(outcomes.get(item.pod_id, item) for item in asked.items))


async def watch(settings: Settings, *, pod_ids: Sequence[str], timeline: str | None, show_secrets: bool) -> int:
    """Show what changes."""
    follower = _follower(settings, None, timeline, show_secrets=show_secrets)
    async with client(settings, waits=True) as yotta, follower.following(yotta, everything=True, only=pod_ids or None):
        for pod_id in pod_ids:
            await yotta.pods.get(pod_id)  # or the error that says why there is nothing to see
        if not pod_ids:
            await yotta.pods.list(statuses=[PodStatus.PAUSING])
        try:
            async with asyncio.timeout(settings.timeout):
                await follower.ended()
        except TimeoutError:
            pass
    return DONE


async def sweep(
    settings: Settings,
    *,
    older_than: str | None,
    idle_status: Sequence[str],
    match: str | None,
    action: Literal["pause", "delete"],
    dry_run: bool,
    yes: bool,
) -> int:
    """Pause or delete what nobody needs any more."""
    async with client(settings) as yotta:
        chosen = await yotta.pods.sweep(
            older_than=_seconds(older_than),
            idle_status=[_status(each) for each in idle_status] or None,
            match=match,
            action=action,
        )
        if dry_run or not chosen.pods:
            show_pods(settings, chosen.pods)
            return DONE
        if settings.output == "table":
            show_pods(settings, chosen.pods)
        if action == "delete" and not yes and not confirmed(f"Delete {several(len(chosen.pods))} for good?"):
            return USAGE
        follower = _follower(settings, len(chosen.pods), None)
        report = await _call(yotta, action, [pod.id for pod in chosen.pods], follower)
    return show_report(settings, report, follower, is_one=False)


def _follower(settings: Settings, total: int | None, timeline: str | None, *, show_secrets: bool = False) -> Follower:
    if timeline is not None:
        check_ending(timeline)
    return Follower(settings, total, timeline, show_secrets=show_secrets)


def _is_named(pod: Pod, match: str | None) -> bool:
    return match is None or fnmatch.fnmatchcase(pod.pod_name or "", match)


def _status(text: str) -> PodStatus | str | int:
    if text.isascii() and text.isdigit() and len(text) < 3:
        return int(text)
    if text.upper() not in PodStatus.__members__:
        names = ", ".join(PodStatus.__members__)
        raise click.BadParameter(f"it is none of {names}, nor a number", param_hint="--status")
    return text.upper()


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    parts = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text.strip(), re.ASCII)
    if not parts:
        raise click.BadParameter(f"{text!r} is no span such as 90s, 30m, 2h or 3d", param_hint="--older-than")
    return float(parts[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[parts[2]]
