"""`yotta-async reap`: what killed processes left, what it costs, and its end."""

from __future__ import annotations

import os
from pathlib import Path

import click

from yotta_async import ReapedPod, ReapReport
from yotta_async.cli.exits import DONE, SOME, USAGE, line_of
from yotta_async.cli.output import clean, pod_json, print_json, print_line
from yotta_async.cli.settings import Settings, client
from yotta_async.cli.show import confirmed, several


def default_journal() -> str:
    """Return where the command line keeps its journal: $YOTTA_JOURNAL, or a directory of the user's own."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return os.environ.get("YOTTA_JOURNAL") or str(Path(state) / "yotta-async" / "journal")


async def reap_all(settings: Settings, journal: str, *, dry_run: bool, yes: bool) -> int:
    """Show, ask, delete; return the exit code."""
    async with client(settings, journal=journal) as yotta:
        found = await yotta.pods.reap(dry_run=True)
        if settings.output == "table":
            for each in found.pods:
                click.echo(_line(each))
            _summary(found)
        if dry_run:
            _print(settings, found)
            return DONE
        if found.pods and not yes and not confirmed(f"Delete {several(len(found.pods))}?"):
            return USAGE
        report = await yotta.pods.reap(only=[each.pod for each in found.pods])
    _print(settings, report)
    if settings.output == "table":
        for each in report.pods:
            click.echo(
                f"{each.pod.id} deleted" if each.deleted else f"{each.pod.id} not deleted: {line_of(each.error)}"
            )
    return DONE if all(each.deleted for each in report.pods) else SOME


def _print(settings: Settings, report: ReapReport) -> None:
    """Print a report for machines."""
    pods = [
        {
            "pod_id": each.pod.id,
            "deleted": each.deleted,
            "error": each.error and {"type": type(each.error).__name__, "message": line_of(each.error)},
            "pod": pod_json(each.pod),
        }
        for each in report.pods
    ]
    if settings.output == "json":
        print_json({"pods": pods, "pending": report.pending, "other_accounts": report.other_accounts})
    elif settings.output == "jsonl":
        for pod in pods:
            print_line(pod)


def _line(each: ReapedPod) -> str:
    pod = each.pod
    price = "at an unknown price" if pod.hourly_price is None else f"${pod.hourly_price:.2f} an hour"
    return clean(f"{pod.id}  {pod.status}  {pod.gpu_count or '?'} x {pod.gpu_type}  {pod.region}  {price}")


def _summary(report: ReapReport) -> None:
    price = "" if report.hourly_price is None else f", ${report.hourly_price:.2f} an hour while they run"
    click.echo(f"{several(len(report.pods))} left by processes that ended{price if report.pods else ''}.")
    if report.pending:
        click.echo(f"{report.pending} creates have shown no pod so far; they are kept in mind for an hour.")
    if report.other_accounts:
        click.echo(f"{report.other_accounts} creates were made with another key or another base URL.")
