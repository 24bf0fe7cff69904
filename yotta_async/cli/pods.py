"""What `yotta-async pods list`, `get`, `wait`, `pause`, `resume`, `delete`, `watch` and `sweep` do.

Each function returns the exit code.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import click

from yotta_async import (
    FanOutItem,
    FanOutReport,
    NotFoundError,
    Pod,
    PodStatus,
    YottaClient,
    YottaError,
)
from yotta_async.cli.printing import (
    POD_COLUMNS,
    echo_err,
    pluralize,
    pod_to_field_rows,
    pod_to_json,
    pod_to_row,
    print_json,
    print_json_line,
    print_table,
)
from yotta_async.cli.progress import ProgressReporter
from yotta_async.cli.run import ExitCode, ask_to_confirm
from yotta_async.cli.settings import Settings, open_client

Action: TypeAlias = Literal["pause", "resume", "delete"]
TARGETS = {"pause": PodStatus.PAUSED, "resume": PodStatus.RUNNING, "delete": PodStatus.TERMINATED}
WAIT_TIMEOUT_S = 600.0
SECONDS_PER_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


async def list_pods(
    settings: Settings, *, region: Sequence[str], status: Sequence[str], match: str | None, show_secrets: bool
) -> int:
    """List pods."""
    async with open_client(settings) as yotta:
        pods = await yotta.pods.list(regions=region, statuses=[_parse_status(each) for each in status])
    print_pods(settings, [pod for pod in _drop_repeated(pods) if _is_named(pod, match)], show_secrets=show_secrets)
    return ExitCode.DONE


async def get_pod(settings: Settings, pod_id: str, *, show_secrets: bool) -> int:
    """Show one pod."""
    async with open_client(settings) as yotta:
        print_pod(settings, await yotta.pods.get(pod_id), show_secrets=show_secrets)
    return ExitCode.DONE


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
    ids = list(dict.fromkeys(pod_ids))
    reporter = ProgressReporter(settings, len(ids), timeline, show_secrets=show_secrets)
    timeout = settings.timeout or WAIT_TIMEOUT_S
    async with open_client(settings, waits=True) as yotta, reporter.follow(yotta):
        for pod_id in ids:
            reporter.on_item(FanOutItem(pod_id=pod_id))
        if ready:
            report = await _wait_until_ready(yotta, ids, timeout, reporter)
        else:
            statuses = [_parse_status(each) for each in status]
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
        ids = list(dict.fromkeys(pod_ids))
        if everything:
            pods = _drop_repeated(await yotta.pods.list())
            ids = [pod.id for pod in pods if _allows(action, pod) and _is_named(pod, match)]
        if ids and not yes and not ask_to_confirm(f"Delete {pluralize(len(ids))} for good?"):
            return ExitCode.WRONG_USAGE
        reporter = ProgressReporter(settings, len(ids) * (1 + wait), timeline)
        async with reporter.follow(yotta):
            report = await _call(yotta, action, ids, reporter, were_listed=everything)
            if wait:
                report = await _wait_for_target(yotta, report, TARGETS[action], settings, reporter)
    return reporter.print_report(report, is_one=len(pod_ids) == 1)


async def _call(
    yotta: YottaClient, action: Action, ids: Sequence[str], reporter: ProgressReporter, *, were_listed: bool = False
) -> FanOutReport:
    """Send the action for each pod; a pod that was listed, and is gone when its delete arrives, is deleted."""
    items: dict[str | None, FanOutItem] = {}

    async def on_answer(item: FanOutItem) -> None:
        if action == "delete" and were_listed and item.pod_id and await _is_gone(yotta, item):
            item = FanOutItem(pod_id=item.pod_id, pod=Pod(id=item.pod_id, status=PodStatus.TERMINATED))
        items[item.pod_id] = item
        reporter.on_call_answered(item)

    calls = {"pause": yotta.pods.pause_many, "resume": yotta.pods.resume_many, "delete": yotta.pods.delete_many}
    await calls[action](ids, on_event=on_answer)
    return FanOutReport(tuple(items[pod_id] for pod_id in ids))


async def _is_gone(yotta: YottaClient, item: FanOutItem) -> bool:
    """Whether a second request, too, does not find the pod: one such response may be wrong."""
    if not isinstance(item.error, NotFoundError) or not item.pod_id:
        return False
    try:
        await yotta.pods.get(item.pod_id)
    except NotFoundError:
        return True
    except YottaError:
        pass
    return False


async def _wait_for_target(
    yotta: YottaClient, called: FanOutReport, target: PodStatus, settings: Settings, reporter: ProgressReporter
) -> FanOutReport:
    """Wait for the pods whose call succeeded, unless they are known to be there."""
    ids = [item.pod_id for item in called.succeeded if item.pod_id and (item.pod is None or item.pod.status != target)]
    timeout = settings.timeout or WAIT_TIMEOUT_S
    waited = await yotta.pods.wait_many(ids, status=target, timeout=timeout, on_event=reporter.on_item)
    outcomes = {item.pod_id: item for item in waited.items}
    return FanOutReport(tuple(outcomes.get(item.pod_id, item) for item in called.items))


async def watch_pods(settings: Settings, *, pod_ids: Sequence[str], timeline: str | None, show_secrets: bool) -> int:
    """Show changes of pods."""
    reporter = ProgressReporter(settings, None, timeline, show_secrets=show_secrets)
    async with (
        open_client(settings, waits=True) as yotta,
        reporter.follow(yotta, everything=True, only=pod_ids or None),
    ):
        # Watching tolerates errors that may pass; a first call shows those that will not.
        for pod_id in pod_ids:
            await yotta.pods.get(pod_id)
        if not pod_ids:
            await yotta.pods.list(statuses=[PodStatus.PAUSING])
        try:
            async with asyncio.timeout(settings.timeout):
                await reporter.wait_for_end()
        except TimeoutError:
            pass
    return ExitCode.DONE


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
    """Pause or delete pods that are not needed any more."""
    if older_than is None and not idle_status and match is None:
        raise click.UsageError("say which pods: --older-than, --idle-status or --match (--match '*' is all of them)")
    async with open_client(settings) as yotta:
        swept = await yotta.pods.sweep(
            older_than=_parse_duration(older_than),
            idle_status=[_parse_status(each) for each in idle_status] or None,
            match=match,
            action=action,
        )
        pods = _drop_repeated(swept.pods)
        if dry_run or not pods or settings.output == "table":
            print_pods(settings, pods)
        if dry_run or not pods:
            return ExitCode.DONE
        if action == "delete" and not yes and not ask_to_confirm(f"Delete {pluralize(len(pods))} for good?"):
            return ExitCode.WRONG_USAGE
        reporter = ProgressReporter(settings, len(pods))
        report = await _call(yotta, action, [pod.id for pod in pods], reporter, were_listed=True)
    return reporter.print_report(report, is_one=False)


def print_pods(settings: Settings, pods: Sequence[Pod], *, show_secrets: bool = False) -> None:
    """Print pods in the chosen form."""
    shown = (pod_to_json(pod, show_secrets=show_secrets) for pod in pods)
    if settings.output == "jsonl":
        for pod in shown:
            print_json_line(pod)
    elif settings.output == "json":
        print_json(list(shown))
    else:
        now = datetime.now(UTC)
        print_table(POD_COLUMNS, [pod_to_row(pod, now) for pod in pods])
        running = [pod for pod in pods if pod.status == PodStatus.RUNNING]
        price = sum(pod.hourly_price or 0 for pod in running)
        echo_err(f"{pluralize(len(pods))}, {len(running)} of them running for ${price:.2f} an hour.")


def print_pod(settings: Settings, pod: Pod, *, show_secrets: bool = False) -> None:
    """Print one pod in the chosen form."""
    shown = pod_to_json(pod, show_secrets=show_secrets)
    if settings.output == "json":
        print_json(shown)
    elif settings.output == "jsonl":
        print_json_line(shown)
    else:
        print_table(("field", "value"), pod_to_field_rows(shown))


def may_bill(pod: Pod) -> bool:
    """Whether a pod is not being deleted, which is also so where its status is unknown."""
    return pod.status is None or not pod.status.is_being_deleted


def _allows(action: Action, pod: Pod) -> bool:
    """Whether --all means this pod."""
    if action == "delete":
        return may_bill(pod)
    return pod.status == (PodStatus.RUNNING if action == "pause" else PodStatus.PAUSED)


def _drop_repeated(pods: Sequence[Pod]) -> list[Pod]:
    """Return each pod once: a list taken while pods change can name one twice."""
    unique: dict[str, Pod] = {}
    for pod in pods:
        unique.setdefault(pod.id, pod)
    return list(unique.values())


def _is_named(pod: Pod, match: str | None) -> bool:
    return match is None or fnmatch.fnmatchcase(pod.pod_name or "", match)


def _parse_status(text: str) -> PodStatus | str | int:
    if text.isascii() and text.isdigit() and len(text) < 3:
        return int(text)
    if text.upper() not in PodStatus.__members__:
        names = ", ".join(PodStatus.__members__)
        raise click.BadParameter(f"it is none of {names}, nor a number", param_hint="--status")
    return text.upper()


def _parse_duration(text: str | None) -> float | None:
    """Return the seconds of 90s, 30m, 2h or 3d."""
    if text is None:
        return None
    parts = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text.strip(), re.ASCII)
    if not parts:
        raise click.BadParameter(f"{text!r} is no duration such as 90s, 30m, 2h or 3d", param_hint="--older-than")
    return float(parts[1]) * SECONDS_PER_UNIT[parts[2]]
