"""What `yotta-async pods create` does."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import click

from yotta_async import FanOutError, FanOutItem, PodStatus, SpendLimit, YottaClient, YottaError
from yotta_async.cli.pod_specs import build_specs, parse_fallbacks, parse_prices
from yotta_async.cli.pod_table import STARTING
from yotta_async.cli.pods import may_bill, print_pod
from yotta_async.cli.printing import echo_err, pluralize
from yotta_async.cli.progress import ProgressReporter
from yotta_async.cli.reap import get_default_journal
from yotta_async.cli.run import ExitCode, report_error
from yotta_async.cli.settings import Settings, open_client
from yotta_async.cli.ssh_logs import add_log

CREATE_TIMEOUT_S = 900.0
FINAL_LIST_TIMEOUT_S = 10.0


async def create_pods(
    settings: Settings,
    *,
    path: str | None,
    count: int | None,
    wait: bool,
    policy: str,
    fallback: tuple[str, ...],
    max_hourly: float | None,
    price: tuple[str, ...],
    volume_price: float | None,
    concurrency: int,
    log: bool,
    timeline: str | None,
    show_secrets: bool,
    **pod_options: Any,
) -> int:
    """Create pods, wait if that is wanted, print the outcome, and return the exit code."""
    prices, needed, fallbacks = parse_prices(price), _parse_policy(policy), parse_fallbacks(fallback)
    specs = build_specs(path, pod_options, count)
    if log:
        specs = add_log(specs)
    is_one = count is None and len(specs) == 1
    reporter = ProgressReporter(settings, len(specs), timeline, show_secrets=show_secrets)
    limit = None
    if max_hourly is not None:
        limit = SpendLimit(max_hourly=max_hourly, prices=prices, volume_price=volume_price)
    async with open_client(settings, waits=wait, journal=get_default_journal()) as yotta:
        try:
            async with reporter.follow(yotta):
                report = await yotta.pods.create_many(
                    specs,
                    until=PodStatus.RUNNING if wait else None,
                    timeout=(settings.timeout if wait else None) or CREATE_TIMEOUT_S,
                    policy=needed,
                    fallbacks=fallbacks,
                    concurrency=concurrency,
                    spend_limit=limit,
                    on_event=reporter.on_item,
                )
                reporter.on_report(report)
        except FanOutError as error:
            echo_err("The policy was not met.")
            await _report_pods_left(yotta, reporter)
            if error.report is None:
                raise
            return reporter.print_report(error.report, is_one=is_one)
        except asyncio.CancelledError:
            await _report_pods_left(yotta, reporter)
            raise
        if is_one:
            return await _print_only_pod(settings, report.items[0], reporter, yotta, show_secrets=show_secrets)
    return reporter.print_report(report, is_one=False)


def _parse_policy(text: str) -> Literal["best_effort", "all_or_nothing"] | int:
    if text == "best_effort":
        return "best_effort"
    if text == "all_or_nothing":
        return "all_or_nothing"
    if text.isascii() and text.isdigit() and len(text) < 9 and int(text) > 0:
        return int(text)
    raise click.BadParameter(f"{text!r} is not best_effort, all_or_nothing or a number", param_hint="--policy")


async def _report_pods_left(yotta: YottaClient, reporter: ProgressReporter) -> None:
    """Print which of the created pods are left after their deletion."""
    if not reporter.pods:
        return
    try:
        async with asyncio.timeout(FINAL_LIST_TIMEOUT_S):
            left = {pod.id for pod in await yotta.pods.list() if may_bill(pod)} & reporter.pods.keys()
    except (YottaError, TimeoutError):
        echo_err("Which pods are left is unknown, as they could not be listed: `yotta-async reap` finds them.")
        return
    if left:
        echo_err(f"Left, and may bill: {', '.join(sorted(left))}. Delete them with `yotta-async pods delete`.")
    else:
        echo_err(f"{pluralize(len(reporter.pods))} had been started; none is left.")


async def _print_only_pod(
    settings: Settings, item: FanOutItem, reporter: ProgressReporter, yotta: YottaClient, *, show_secrets: bool
) -> int:
    if item.error is not None:
        code = report_error(item.error, settings)
        if item.pod_id:
            echo_err(f"Pod {item.pod_id} exists, and may bill. Delete it with `yotta-async pods delete {item.pod_id}`.")
        return code
    pod = item.pod
    if pod is None and item.pod_id:
        try:
            pod = await yotta.pods.get(item.pod_id)
        except YottaError:
            pod = reporter.pods[item.pod_id].pod  # it is created, and need not be visible yet
    if pod is not None:
        print_pod(settings, pod, show_secrets=show_secrets)
        if pod.status in STARTING:
            echo_err(f"`yotta-async pods wait {pod.id} --ready` waits until it can be used.")
        elif pod.ssh_cmd:
            echo_err(f"`yotta-async pods ssh {pod.id} --wait` opens a shell in it.")
    return ExitCode.DONE
