"""`yotta-async reap`: what killed processes left, what it costs, and its end."""

from __future__ import annotations

import os
from pathlib import Path

import click

from yotta_async import ReapedPod, ReapReport
from yotta_async.cli.settings import Settings, client
from yotta_async.cli.work import confirmed, several


def default_journal() -> str:
    """Return where the command line keeps its journal: $YOTTA_JOURNAL, or a directory of the user's own."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return os.environ.get("YOTTA_JOURNAL") or str(Path(state) / "yotta-async" / "journal")


async def reap_all(settings: Settings, journal: str, *, dry_run: bool, yes: bool) -> int:
    """Show, ask, delete; return the exit code."""
    async with client(settings, journal=journal) as yotta:
        found = await yotta.pods.reap(dry_run=True)
        for each in found.pods:
            click.echo(_line(each))
        _summary(found)
        if dry_run:
            return 0
        if found.pods and not yes and not confirmed(f"Delete {several(len(found.pods))}?"):
            return 2
        report = await yotta.pods.reap(only=[each.pod for each in found.pods])
    for each in report.pods:
        click.echo(f"{each.pod.id} deleted" if each.deleted else f"{each.pod.id} not deleted: {each.error}")
    return 0 if all(each.deleted for each in report.pods) else 5


def _line(each: ReapedPod) -> str:
    pod = each.pod
    price = "at an unknown price" if pod.hourly_price is None else f"${pod.hourly_price:.2f} an hour"
    line = f"{pod.id}  {pod.status}  {pod.gpu_count or '?'} x {pod.gpu_type}  {pod.region}  {price}"
    return "".join(each if each.isprintable() else "?" for each in line)  # a server's text moves no cursor


def _summary(report: ReapReport) -> None:
    price = "" if report.hourly_price is None else f", ${report.hourly_price:.2f} an hour while they run"
    click.echo(f"{several(len(report.pods))} left by processes that ended{price if report.pods else ''}.")
    if report.pending:
        click.echo(f"{report.pending} creates have shown no pod so far; they are kept in mind for an hour.")
    if report.other_accounts:
        click.echo(f"{report.other_accounts} creates were made with another key or another base URL.")
