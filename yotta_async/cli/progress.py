"""What happens to a command's pods: a live table on a terminal, lines elsewhere, events for programs, a timeline."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import click

from yotta_async import FanOutItem, FanOutReport, Pod, PodEvent, PodStatus, YottaClient
from yotta_async.cli.pod_table import BELOW, STARTING, build_row, format_total, get_price
from yotta_async.cli.printing import (
    can_redraw,
    count_outcomes,
    echo_err,
    format_duration,
    format_error,
    format_usd,
    item_to_json,
    pluralize,
    print_json_line,
    print_table,
    print_value,
    report_to_json,
    strip_control,
)
from yotta_async.cli.run import ExitCode, find_next_step, report_error
from yotta_async.cli.settings import Settings
from yotta_async.timeline import Timeline, check_ending

if TYPE_CHECKING:
    from yotta_async.cli.live_table import Snapshot

LIVE_COLUMNS = ("id", "name", "status", "for", "gpu", "region", "$/h", "address")
REPORT_COLUMNS = ("id", "name", "status", "address", "ready", "cost", "outcome")
# The order of the live table: what may need a person comes first.
URGENCY = ("FAILED", "INITIALIZE", "PENDING", "PREPARING", "PAUSING", "TERMINATING", "RUNNING", "PAUSED")
SECONDS_PER_HOUR = 3600


@attrs.define
class TrackedPod:
    """A pod as last seen. Times are monotonic seconds: `since` is that of its status, `began` of the first report."""

    pod: Pod
    began: float
    since: float
    is_created: bool = False
    ready_after_s: float | None = None
    is_done: bool = False
    error: Exception | None = None
    _spent_usd: float | None = 0.0  # before `since`; None: unknown

    def update(self, pod: Pod) -> None:
        """Note how the pod is now; one without a status says nothing new."""
        if pod.status is None:
            return
        if self.pod.status != pod.status:
            self._spent_usd, self.since = self.get_cost(), time.monotonic()
        self.pod = pod

    def get_cost(self) -> float | None:
        """Return the USD that the pod has cost since it was first reported; None: unknown."""
        if self.pod.status is None or self.pod.status in STARTING:
            return self._spent_usd
        price = get_price(self.pod)
        if price is None or self._spent_usd is None:
            return None
        return self._spent_usd + price * (time.monotonic() - self.since) / SECONDS_PER_HOUR


class ProgressReporter:
    """Keeps what is known of a command's pods, and shows each change of it.

    `total` is the number of outcomes to come, None where there is no end: then the changes are the command's result,
    and go to standard output. `timeline` is the file for a picture of it.
    """

    def __init__(
        self, settings: Settings, total: int | None, timeline: str | None = None, *, show_secrets: bool = False
    ) -> None:
        if timeline is not None:
            check_ending(timeline)
        if total is None and settings.output in ("json", "yaml"):
            raise click.UsageError(f"changes have no end, so they are no document: -o jsonl, not -o {settings.output}")
        self.pods: dict[str, TrackedPod] = {}
        self.names: dict[str, str] = {}  # of pods that were listed before
        self._total = total
        self._done = 0
        self._failed = 0
        self._settings = settings
        self._show_secrets = show_secrets
        self._timeline_path = timeline
        self._timeline = Timeline()
        self._started = time.monotonic()
        self._watching: asyncio.Task[None] | None = None
        stream = sys.stdout if total is None else sys.stderr
        # A log would tear a table.
        self._draws_table = settings.output != "jsonl" and can_redraw(stream) and not settings.verbose

    # Where the library reports to

    def on_item(self, item: FanOutItem) -> None:
        """Note that a pod exists, and later its outcome: the `on_event` of create_many and wait_many."""
        self._timeline(item)
        known = self.pods.get(item.pod_id or "")
        pod = item.pod or (known.pod if known else _build_created_pod(item))
        if item.pod_id:
            tracked = self._track(pod)
            tracked.error = item.error
            tracked.is_created |= item.spec is not None
        if known is None and item.pod is None and item.error is None:
            self._show("created" if item.spec else "waiting", pod, item)
        else:
            self._count_outcome("outcome", pod, item)

    def on_call_answered(self, item: FanOutItem) -> None:
        """Note the response to a pause, a resume or a delete: the `on_event` of pause_many and the like."""
        pod = self._track(item.pod or Pod(id=item.pod_id or "-")).pod
        if item.error is not None:
            self._timeline(item)
        self._count_outcome("asked" if item.error is None else "outcome", pod, item)

    def on_report(self, report: FanOutReport) -> None:
        """Note the outcomes for which there was no `on_event`, as after a timeout of all."""
        for item in report.items:
            tracked = self.pods.get(item.pod_id or "")
            if item.error is not None and tracked is not None and not tracked.is_done:
                self.on_item(item)

    def _on_pod_event(self, event: PodEvent, *, is_selected: bool = True) -> None:
        self._timeline(event)
        self._track(event.pod)
        if event.kind == "removed" or not is_selected:
            del self.pods[event.pod.id]
        self._show(event.kind, event.pod)

    def _count_outcome(self, kind: str, pod: Pod, item: FanOutItem) -> None:
        self._done += 1
        self._failed += item.error is not None
        tracked = self.pods.get(item.pod_id or "")
        if tracked is not None:
            tracked.is_done = True
            if tracked.is_created and tracked.pod.status == PodStatus.RUNNING:
                tracked.ready_after_s = time.monotonic() - tracked.began
        self._show(kind, pod, item)

    def _track(self, pod: Pod) -> TrackedPod:
        now = time.monotonic()
        tracked = self.pods.setdefault(pod.id, TrackedPod(pod, now, now))
        tracked.update(pod)
        return tracked

    def _show(self, kind: str, pod: Pod, item: FanOutItem | None = None) -> None:
        seconds = time.monotonic() - self._started
        if self._settings.output == "jsonl":
            shown = item_to_json(item or FanOutItem(pod_id=pod.id, pod=pod), show_secrets=self._show_secrets)
            print_json_line({"event": kind, "seconds": round(seconds, 3), **shown})
        elif not self._draws_table:
            failed = "  failed" if item and item.error else ""  # why is said at the end
            status, name = strip_control(str(pod.status or "")), strip_control(pod.pod_name or "")
            line = f"{seconds:7.1f} s  {kind:<8} {pod.id}  {status:<11} {name}{failed}".rstrip()
            if self._total is None:
                click.echo(line)
            else:
                echo_err(line)

    # Following the pods between those reports

    @asynccontextmanager
    async def follow(
        self, yotta: YottaClient, *, only: Sequence[str] | None = None, selects: Callable[[Pod], bool] | None = None
    ) -> AsyncIterator[None]:
        """Follow pods for the length of a block, and write the timeline after it.

        Shown are the pods that were reported, or those that `selects` says yes to, `only` the ones with these ids.
        """
        async with AsyncExitStack() as stack:
            if self._timeline_path:
                stack.callback(self._timeline.write, self._timeline_path)
            if self._draws_table:
                from rich.console import Console  # rich is slow to import

                from yotta_async.cli.live_table import LiveTable

                console = Console(stderr=self._total is not None, highlight=False)
                stack.enter_context(LiveTable(self._take_snapshot, console))
            self._watching = asyncio.create_task(self._watch(yotta, only, selects))
            stack.push_async_callback(_cancel, self._watching)
            try:
                yield
            except asyncio.CancelledError:
                if self._total is None:
                    raise
                stack.callback(echo_err, f"Stopped with {self.format_summary()}.")
                raise
        if self._timeline_path:
            echo_err(f"The timeline is in {self._timeline_path}.")

    async def wait_for_end(self) -> None:
        """Wait until following ends by itself, and raise its error."""
        if self._watching is not None:
            await asyncio.shield(self._watching)

    async def _watch(
        self, yotta: YottaClient, only: Sequence[str] | None, selects: Callable[[Pod], bool] | None
    ) -> None:
        async for event in yotta.pods.watch(only):
            tracked = self.pods.get(event.pod.id)
            is_selected = selects is not None and selects(event.pod)
            if selects is not None and (tracked or is_selected):
                self._on_pod_event(event, is_selected=is_selected)
            elif tracked and (tracked.pod.status != event.pod.status or event.kind == "removed"):
                self._on_pod_event(event)
            elif tracked:
                tracked.pod = event.pod

    def _take_snapshot(self) -> Snapshot:
        from yotta_async.cli.live_table import Snapshot

        now = time.monotonic()
        tracked = sorted(self.pods.values(), key=_get_urgency)
        rows = [build_row(each.pod, LIVE_COLUMNS, status_age_s=now - each.since) for each in tracked]
        return Snapshot(LIVE_COLUMNS, rows, self.format_summary(), self._done, self._total)

    # At the end

    def format_summary(self) -> str:
        """Return one line of counts: statuses, failures, price, cost so far and time."""
        tracked = self.pods.values()
        statuses = Counter(str(each.pod.status) for each in tracked if each.pod.status)
        parts = [f"{count} {strip_control(status)}" for status, count in sorted(statuses.items())]
        if not parts and self._total is None:
            parts.append("no pods")
        if self._failed > statuses["FAILED"]:
            parts.append(f"{self._failed} failed")
        if statuses:
            parts.append(format_total([each.pod for each in tracked]))
        costs = [each.get_cost() for each in tracked if each.is_created]
        if costs:
            least = "at least " if None in costs else ""
            parts.append(f"{least}${format_usd(sum(cost or 0 for cost in costs))} so far")
        return ", ".join([*parts, format_duration(time.monotonic() - self._started)])

    def print_report(self, report: FanOutReport, *, is_one: bool) -> int:
        """Print the outcome of each pod, and return the exit code; the error of a single pod has its own."""
        errors = [item.error for item in report.items if item.error]
        if self._settings.output == "jsonl":
            print_json_line({"event": "summary", **count_outcomes(report)})
        elif not self._settings.is_for_people:
            print_value(self._settings.output, report_to_json(report, show_secrets=self._show_secrets))
        elif not (is_one and errors):
            if report.items:
                self._print_report_table(report)
            echo_err(f"{len(report.succeeded)} of {pluralize(len(report.items))} done. {self.format_summary()}")
        if self._settings.is_for_people and not is_one:
            for step in dict.fromkeys(find_next_step(error, self._settings) for error in errors):
                if step:
                    echo_err(step)
        if not errors:
            return ExitCode.DONE
        return report_error(errors[0], self._settings) if is_one else ExitCode.SOME_FAILED

    def _print_report_table(self, report: FanOutReport) -> None:
        rows = [self._build_report_row(item) for item in report.items]
        used = [place for place, cells in enumerate(zip(*rows, strict=True)) if any(cells)]
        if not any(item.error for item in report.items) and all(row[2] for row in rows):
            used.remove(REPORT_COLUMNS.index("outcome"))  # the statuses say it
        columns = [REPORT_COLUMNS[place] for place in used]
        rows_used = [[row[place] for place in used] for row in rows]
        print_table(columns, rows_used, below=BELOW, fit=self._settings.output == "table")

    def _build_report_row(self, item: FanOutItem) -> tuple[str, ...]:
        """Return the cells of an item by REPORT_COLUMNS."""
        outcome = "done"
        if item.error is not None:
            outcome = format_error(item.error, advice=not find_next_step(item.error, self._settings))
        outcome = outcome.removeprefix(f"pod {item.pod_id}: ")  # its id is in the row
        tracked = self.pods.get(item.pod_id or "")
        pod = item.pod or (tracked.pod if tracked else None)
        name = (pod and pod.pod_name) or self.names.get(item.pod_id or "") or (item.spec and item.spec.pod_name) or ""
        status = str((pod and pod.status) or "")
        address = ready = cost = ""
        if pod is not None and tracked is not None and tracked.is_created:
            [address] = build_row(pod, ("address",))
            ready = "" if tracked.ready_after_s is None else f"{tracked.ready_after_s:.1f}s"
            cost = format_usd(tracked.get_cost())
        return item.pod_id or "-", strip_control(name), strip_control(status), address, ready, cost, outcome


def _build_created_pod(item: FanOutItem) -> Pod:
    """Return what is known of a pod before the first poll."""
    pod = Pod(id=item.pod_id or "-")
    if item.spec is None or item.pod_id is None:
        return pod
    spec = item.spec
    return attrs.evolve(
        pod,
        status=PodStatus.INITIALIZE,
        pod_name=spec.pod_name,
        gpu_type=spec.gpu_type,
        gpu_count=spec.gpu_count or 1,
        region=spec.region,
    )


def _get_urgency(tracked: TrackedPod) -> tuple[bool, int, str]:
    status = str(tracked.pod.status)
    rank = URGENCY.index(status) if status in URGENCY else len(URGENCY)
    return tracked.is_done and not tracked.error, rank, tracked.pod.pod_name or ""


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
