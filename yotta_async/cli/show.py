"""Showing pods and what became of them, and asking a person."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from yotta_async import FanOutItem, FanOutReport, Pod, PodStatus
from yotta_async.cli.exits import DONE, SOME, code_of, line_of
from yotta_async.cli.follow import Follower
from yotta_async.cli.output import (
    COLUMNS,
    clean,
    is_terminal,
    pod_json,
    print_json,
    print_line,
    print_table,
    report_json,
    row_of,
    say,
)
from yotta_async.cli.settings import Settings


def show_pods(settings: Settings, found: Sequence[Pod], *, show_secrets: bool = False) -> None:
    """Print pods."""
    if settings.output == "jsonl":
        for pod in found:
            print_line(pod_json(pod, show_secrets=show_secrets))
    elif settings.output == "json":
        print_json([pod_json(pod, show_secrets=show_secrets) for pod in found])
    else:
        now = datetime.now(UTC)
        print_table(COLUMNS, [row_of(pod, now) for pod in found])
        running = [pod for pod in found if pod.status == PodStatus.RUNNING]
        price = sum(pod.hourly_price or 0 for pod in running)
        say(f"{several(len(found))}, {len(running)} of them running for ${price:.2f} an hour.")


def show_pod(settings: Settings, pod: Pod, *, show_secrets: bool = False) -> None:
    """Print one pod."""
    shown = pod_json(pod, show_secrets=show_secrets)
    if settings.output == "json":
        print_json(shown)
    elif settings.output == "jsonl":
        print_line(shown)
    else:
        rows = [(name, clean(_text(value))) for name, value in shown.items() if value not in (None, "", [], {}, ())]
        print_table(("field", "value"), rows)


def show_report(
    settings: Settings, report: FanOutReport, follower: Follower, *, is_one: bool, show_secrets: bool = False
) -> int:
    """Print what became of pods, and return the exit code; one pod's error has its own."""
    if settings.output == "json":
        print_json(report_json(report, show_secrets=show_secrets))
    elif settings.output == "jsonl":
        summary = {name: len(getattr(report, name)) for name in ("succeeded", "failed", "unknown")}
        print_line({"event": "summary", **summary})
    else:
        print_table(("id", "name", "status", "outcome"), [_outcome(item, follower) for item in report.items])
        say(f"{len(report.succeeded)} of {several(len(report.items))} done. {follower.summary()}")
    errors = [item.error for item in report.items if item.error]
    if not errors:
        return DONE
    if is_one:
        say(f"Error: {line_of(errors[0])}")
        return code_of(errors[0], settings)
    return SOME


def confirmed(question: str) -> bool:
    """Ask a person; without one, refuse."""
    if not question:
        return True
    if not is_terminal(sys.stdin):
        say("Nothing was deleted. Add --yes to delete without being asked.")
        return False
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # asyncio's would wait for the answer
    try:
        is_confirmed = click.confirm(question, default=False, err=True)
    finally:
        signal.signal(signal.SIGINT, handler)
    if not is_confirmed:
        say("Nothing was deleted.")
    return is_confirmed


def several(pods: int) -> str:
    """Return how many pods, in words."""
    return f"{pods} pod" if pods == 1 else f"{pods} pods"


def _outcome(item: FanOutItem, follower: Follower) -> tuple[str, str, str, str]:
    row = follower.rows.get(item.pod_id or "")
    pod = item.pod or (row.pod if row else None)
    name = (pod.pod_name if pod else None) or (item.spec.pod_name if item.spec else None) or ""
    status = str(pod.status) if pod and pod.status else ""
    outcome = "done" if item.error is None else f"{type(item.error).__name__}: {line_of(item.error)}"
    return item.pod_id or "-", clean(name), clean(status), outcome


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(_text(each) for each in value)
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(each)}" for name, each in value.items() if each is not None)
    return str(value)
