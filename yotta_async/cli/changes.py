"""What `yotta-async pods wait`, `pause`, `resume`, `delete` and `sweep` do. Each function returns the exit code."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs
import click

from yotta_async import FanOutItem, FanOutReport, NotFoundError, Pod, PodStatus, YottaClient, YottaError
from yotta_async.cli.pods import build_filter, drop_repeated, may_bill, parse_status, print_pods
from yotta_async.cli.printing import pluralize
from yotta_async.cli.progress import ProgressReporter
from yotta_async.cli.run import ExitCode, ask_to_confirm
from yotta_async.cli.settings import Settings, open_client

Action: TypeAlias = Literal["pause", "resume", "delete"]
TARGETS = {"pause": PodStatus.PAUSED, "resume": PodStatus.RUNNING, "delete": PodStatus.TERMINATED}
WAIT_TIMEOUT_S = 600.0
SECONDS_PER_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


async def wait_for_pods(
    settings: Settings,
    *,
    pod_ids: Sequence[str],
    status: Sequence[str],
    ready: bool,
    timeline: str | None,
    show_secrets: bool,
) -> int:
    """Wait for pods."""
    ids, statuses = list(dict.fromkeys(pod_ids)), [parse_status(each) for each in status]
    reporter = ProgressReporter(settings, len(ids), timeline, show_secrets=show_secrets)
    timeout = settings.timeout or WAIT_TIMEOUT_S
    async with open_client(settings, waits=True) as yotta, reporter.follow(yotta):
        for pod_id in ids:
            reporter.on_item(FanOutItem(pod_id=pod_id))
        if ready:
            report = await _wait_until_ready(yotta, ids, timeout, reporter)
        else:
            report = await yotta.pods.wait_many(ids, status=statuses, timeout=timeout, on_event=reporter.on_item)
    return reporter.print_report(report, is_one=len(ids) == 1)


async def _wait_until_ready(
    yotta: YottaClient, ids: Sequence[str], timeout: float, reporter: ProgressReporter
) -> FanOutReport:
    async def wait_for(pod_id: str) -> FanOutItem:
        try:
            item = FanOutItem(pod_id=pod_id, pod=await yotta.pods.wait_until_ready(pod_id, timeout=timeout))
        except YottaError as error:
            item = FanOutItem(pod_id=pod_id, error=error, errors=(error,))
        reporter.on_item(item)
        return item

    return FanOutReport(tuple(await asyncio.gather(*map(wait_for, ids))))


async def change_pods(
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
    async with open_client(settings, waits=wait) as yotta:
        ids, names = list(dict.fromkeys(pod_ids)), {}
        if everything:
            is_named = build_filter(match=match)
            pods = [pod for pod in drop_repeated(await yotta.pods.list()) if _allows(action, pod) and is_named(pod)]
            names = {pod.id: pod.pod_name or "" for pod in pods}
            ids = list(names)
            if not yes:
                print_pods(settings, pods, to_stderr=True)
        question = _build_question(action, len(ids), were_shown=everything)
        if not yes and not ask_to_confirm(question, is_needed=bool(ids)):
            return ExitCode.WRONG_USAGE
        reporter = ProgressReporter(settings, len(ids) * (1 + wait), timeline)
        reporter.names = names
        async with reporter.follow(yotta):
            report = await _call(yotta, action, ids, reporter, were_listed=everything)
            if wait:
                report = await _wait_for_target(yotta, report, TARGETS[action], settings, reporter)
    return reporter.print_report(report, is_one=len(pod_ids) == 1)


async def _call(
    yotta: YottaClient, action: Action, ids: Sequence[str], reporter: ProgressReporter, *, were_listed: bool
) -> FanOutReport:
    """Send the action for each pod; a pod that was listed, and is gone when its delete arrives, is deleted."""
    if action == "delete":

        def read(item: FanOutItem) -> FanOutItem:
            # Two requests found no such pod, so there is nothing to wait for, whatever lists still show.
            if not were_listed or item.pod_id is None or not isinstance(item.error, NotFoundError):
                return item
            return FanOutItem(
                pod_id=item.pod_id, pod=Pod(id=item.pod_id, status=PodStatus.TERMINATED), index=item.index
            )

        report = await yotta.pods.delete_many(ids, on_event=lambda item: reporter.on_call_answered(read(item)))
        return FanOutReport(tuple(map(read, report)))
    call = yotta.pods.pause_many if action == "pause" else yotta.pods.resume_many
    return await call(ids, on_event=reporter.on_call_answered)


async def _wait_for_target(
    yotta: YottaClient, called: FanOutReport, target: PodStatus, settings: Settings, reporter: ProgressReporter
) -> FanOutReport:
    """Wait for the pods whose call succeeded, unless they are known to be there."""
    ids = [item.pod_id for item in called.succeeded if item.pod_id and (item.pod is None or item.pod.status != target)]
    timeout = settings.timeout or WAIT_TIMEOUT_S
    waited = await yotta.pods.wait_many(ids, status=target, timeout=timeout, on_event=reporter.on_item)
    outcomes = {item.pod_id: item for item in waited}
    return FanOutReport(
        tuple(attrs.evolve(outcomes.get(item.pod_id, item), index=index) for index, item in enumerate(called))
    )


async def sweep_pods(
    settings: Settings,
    *,
    older_than: str | None,
    idle_status: Sequence[str],
    match: str | None,
    action: Literal["pause", "delete"],
    dry_run: bool,
    yes: bool,
) -> int:
    """Show the pods that are not needed any more, ask, and pause or delete them."""
    if older_than is None and not idle_status and match is None:
        raise click.UsageError("say which pods: --older-than, --idle-status or --match (--match '*' is all of them)")
    async with open_client(settings) as yotta:
        swept = await yotta.pods.sweep(
            older_than=_parse_duration(older_than),
            idle_status=[parse_status(each, "--idle-status") for each in idle_status] or None,
            match=match,
            action=action,
        )
        pods = drop_repeated(swept.pods)
        print_pods(settings, pods, to_stderr=not dry_run)
        if dry_run:
            return ExitCode.DONE
        question = _build_question(action, len(pods), were_shown=True)
        if not yes and not ask_to_confirm(question, is_needed=bool(pods)):
            return ExitCode.WRONG_USAGE
        reporter = ProgressReporter(settings, len(pods))
        reporter.names = {pod.id: pod.pod_name or "" for pod in pods}
        report = await _call(yotta, action, list(reporter.names), reporter, were_listed=True)
    return reporter.print_report(report, is_one=False)


def _build_question(action: Action, count: int, *, were_shown: bool) -> str:
    what = pluralize(count) if count > 1 or not were_shown else "pod"
    which = ("these " if count > 1 else "this ") if were_shown else ""
    return f"{action.capitalize()} {which}{what}{' for good' if action == 'delete' else ''}?"


def _allows(action: Action, pod: Pod) -> bool:
    """Whether --all means this pod."""
    if action == "delete":
        return may_bill(pod)
    return pod.status == (PodStatus.RUNNING if action == "pause" else PodStatus.PAUSED)


def _parse_duration(text: str | None) -> float | None:
    """Return the seconds of 90s, 30m, 2h or 3d."""
    if text is None:
        return None
    parts = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text.strip(), re.ASCII)
    if not parts:
        raise click.BadParameter(f"{text!r} is no duration such as 90s, 30m, 2h or 3d", param_hint="--older-than")
    return float(parts[1]) * SECONDS_PER_UNIT[parts[2]]
