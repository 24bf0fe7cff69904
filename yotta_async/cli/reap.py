"""What `yotta-async reap` does: show the pods that killed processes left, ask, and delete them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from yotta_async import ReapReport
from yotta_async.cli.pod_table import BELOW, LIST_COLUMNS, build_row
from yotta_async.cli.printing import (
    error_to_json,
    format_error,
    pluralize,
    pod_to_json,
    print_table,
    print_value,
)
from yotta_async.cli.run import ExitCode, ask_to_confirm
from yotta_async.cli.settings import Settings, open_client


def get_state_directory() -> Path:
    """Return where the command line keeps files of its own."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "yotta-async"


def get_default_journal() -> str:
    """Return the command line's journal directory: $YOTTA_JOURNAL, or one in the user's state directory."""
    return os.environ.get("YOTTA_JOURNAL") or str(get_state_directory() / "journal")


async def reap_pods(settings: Settings, journal: str | None, *, dry_run: bool, yes: bool) -> int:
    """Show, ask and delete; return the exit code."""
    is_table = settings.is_for_people
    async with open_client(settings, journal=journal or get_default_journal()) as yotta:
        found = await yotta.pods.reap(dry_run=True)
        if is_table:
            if found.pods:
                rows = [build_row(reaped.pod, LIST_COLUMNS) for reaped in found.pods]
                print_table(LIST_COLUMNS, rows, below=BELOW, fit=settings.output == "table")
            _print_counts(found)
        if dry_run:
            _print_for_programs(settings, found)
            return ExitCode.DONE
        question = f"Delete {pluralize(len(found.pods))} for good?"
        if not yes and not ask_to_confirm(question, is_needed=bool(found.pods)):
            return ExitCode.WRONG_USAGE
        report = await yotta.pods.reap(only=[reaped.pod for reaped in found.pods])
    _print_for_programs(settings, report)
    for reaped in report.pods if is_table else ():
        outcome = "deleted" if reaped.deleted else f"not deleted: {format_error(reaped.error)}"
        click.echo(f"{reaped.pod.id} {outcome}")
    return ExitCode.DONE if all(reaped.deleted for reaped in report.pods) else ExitCode.SOME_FAILED


def _print_for_programs(settings: Settings, report: ReapReport) -> None:
    pods = [
        {
            "pod_id": reaped.pod.id,
            "deleted": reaped.deleted,
            "error": error_to_json(reaped.error),
            "pod": pod_to_json(reaped.pod),
        }
        for reaped in report.pods
    ]
    if settings.output == "jsonl":
        print_value("jsonl", pods)
    elif not settings.is_for_people:
        counts = {"pending": report.pending, "other_accounts": report.other_accounts}
        print_value(settings.output, {"pods": pods, **counts})


def _print_counts(report: ReapReport) -> None:
    price = "" if report.hourly_price is None else f", ${report.hourly_price:.2f} an hour while they run"
    click.echo(f"{pluralize(len(report.pods))} left by processes that ended{price if report.pods else ''}.")
    if report.pending:
        creates = pluralize(report.pending, "create")
        click.echo(f"{creates} without a pod that is known to be theirs: see `yotta-async pods list`, and reap again.")
    if report.other_accounts:
        creates = pluralize(report.other_accounts, "create")
        click.echo(f"{creates} in the journal belong to another API key or base URL, and were not looked for.")
