"""What `yotta-async pods list`, `get` and `watch` do, and how pods are printed. Each function returns the exit code."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable, Sequence

import click

from yotta_async import Pod, PodStatus, YottaClient
from yotta_async.cli.completion import remember_pods
from yotta_async.cli.pod_table import (
    BELOW,
    LIST_COLUMNS,
    WIDE_COLUMNS,
    build_detail_rows,
    build_row,
    format_hidden,
    summarize,
)
from yotta_async.cli.printing import echo_err, pod_to_field_rows, pod_to_json, print_table, print_value
from yotta_async.cli.run import ExitCode
from yotta_async.cli.settings import Settings, open_client


async def list_pods(
    settings: Settings,
    *,
    region: Sequence[str],
    status: Sequence[str],
    match: str | None,
    everything: bool,
    quiet: bool,
    watch: bool,
    show_secrets: bool,
) -> int:
    """List pods; TERMINATED ones only if they are asked for."""
    statuses = [parse_status(each) for each in status]
    is_named = build_filter(match=match)
    hides = set() if everything or statuses else {PodStatus.TERMINATED}
    if watch:
        selects = build_filter(match=match, regions=region, statuses=statuses, without=hides)
        return await _follow(settings, selects=selects, show_secrets=show_secrets)
    async with open_client(settings) as yotta:
        listed = drop_repeated(await yotta.pods.list(regions=region, statuses=statuses))
    remember_pods(settings, listed)
    named = [pod for pod in listed if is_named(pod)]
    pods = [pod for pod in named if pod.status not in hides]
    hidden = len(named) - len(pods)
    if quiet:
        for pod in pods:
            click.echo(pod.id)
    else:
        print_pods(settings, pods, hidden=hidden, show_secrets=show_secrets)
    if hidden and (quiet or not settings.is_for_people):
        echo_err(f"{format_hidden(hidden)}.")
    return ExitCode.DONE


async def get_pod(settings: Settings, pod_id: str, *, show_secrets: bool) -> int:
    """Show one pod."""
    async with open_client(settings) as yotta:
        print_pod(settings, await yotta.pods.get(pod_id), show_secrets=show_secrets)
    return ExitCode.DONE


async def watch_pods(settings: Settings, *, pod_ids: Sequence[str], timeline: str | None, show_secrets: bool) -> int:
    """Show changes of pods."""
    selects = build_filter(without=set() if pod_ids else {PodStatus.TERMINATED})
    return await _follow(settings, pod_ids=pod_ids, selects=selects, timeline=timeline, show_secrets=show_secrets)


async def _follow(
    settings: Settings,
    *,
    pod_ids: Sequence[str] = (),
    selects: Callable[[Pod], bool],
    timeline: str | None = None,
    show_secrets: bool,
) -> int:
    from yotta_async.cli.progress import ProgressReporter  # `pods list` starts sooner without it

    reporter = ProgressReporter(settings, None, timeline, show_secrets=show_secrets)
    async with open_client(settings, waits=True) as yotta:
        # Watching tolerates errors that may pass; a first call shows those that will not.
        await _check_access(yotta, pod_ids)
        async with reporter.follow(yotta, only=pod_ids or None, selects=selects):
            try:
                async with asyncio.timeout(settings.timeout):
                    await reporter.wait_for_end()
            except TimeoutError:
                pass
    return ExitCode.DONE


async def _check_access(yotta: YottaClient, pod_ids: Sequence[str]) -> None:
    for pod_id in pod_ids:
        await yotta.pods.get(pod_id)
    if not pod_ids:
        await yotta.pods.list(statuses=[PodStatus.PAUSING])


def print_pods(
    settings: Settings, pods: Sequence[Pod], *, hidden: int = 0, show_secrets: bool = False, to_stderr: bool = False
) -> None:
    """Print pods in the chosen form; `hidden` is how many TERMINATED ones are left out.

    `to_stderr` is for a question about them: their table is no part of the result.
    """
    if settings.is_for_people or to_stderr:
        is_wide = settings.output == "wide"
        columns = WIDE_COLUMNS if is_wide else LIST_COLUMNS
        rows = [build_row(pod, columns) for pod in pods]
        if pods:
            print_table(columns, rows, below=BELOW, fit=not is_wide, to_stderr=to_stderr)
        echo_err(summarize(pods, hidden=hidden))
    else:
        print_value(settings.output, [pod_to_json(pod, show_secrets=show_secrets) for pod in pods])


def print_pod(settings: Settings, pod: Pod, *, show_secrets: bool = False) -> None:
    """Print one pod in the chosen form: for people the fields that matter, or with -o wide all that have a value."""
    if settings.output == "table":
        print_table(("field", "value"), build_detail_rows(pod, show_secrets=show_secrets))
        return
    shown = pod_to_json(pod, show_secrets=show_secrets)
    if settings.output == "wide":
        print_table(("field", "value"), pod_to_field_rows(shown))
    else:
        print_value(settings.output, shown)


def may_bill(pod: Pod) -> bool:
    """Whether a pod is not being deleted, which is also so where its status is unknown."""
    return pod.status is None or not pod.status.is_being_deleted


def drop_repeated(pods: Sequence[Pod]) -> list[Pod]:
    """Return each pod once: a list taken while pods change can name one twice."""
    unique: dict[str, Pod] = {}
    for pod in pods:
        unique.setdefault(pod.id, pod)
    return list(unique.values())


def build_filter(
    *,
    match: str | None = None,
    regions: Sequence[str] = (),
    statuses: Sequence[PodStatus] = (),
    without: set[PodStatus] | frozenset[PodStatus] = frozenset(),
) -> Callable[[Pod], bool]:
    """Return a function that says whether a pod has such a name, and one of these regions and statuses."""

    def selects(pod: Pod) -> bool:
        return (
            (match is None or fnmatch.fnmatchcase(pod.pod_name or "", match))
            and (not regions or pod.region in regions)
            and (not statuses or pod.status in statuses)
            and pod.status not in without
        )

    return selects


def parse_status(text: str, option: str = "--status") -> PodStatus:
    """Return a status of its name in any case, or of its number."""
    status = PodStatus(text.upper() or "?")
    if status not in PodStatus.__members__:
        names = ", ".join(PodStatus.__members__)
        raise click.BadParameter(f"{text!r} is none of {names}, nor the number of one", param_hint=option)
    return status
