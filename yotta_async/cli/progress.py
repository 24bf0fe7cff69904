"""What happens to a command's pods: a live table on a terminal, lines elsewhere, events for programs, a timeline."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from yotta_async import FanOutItem, FanOutReport, Pod, PodEvent, PodStatus, YottaClient
from yotta_async.cli.printing import (
    count_outcomes,
    echo_err,
    format_duration,
    format_error,
    format_gpus,
    is_terminal,
    item_to_json,
    pluralize,
    print_json,
    print_json_line,
    print_table,
    report_to_json,
    strip_control,
)
from yotta_async.cli.run import ExitCode, get_exit_code
from yotta_async.cli.settings import Settings
from yotta_async.timeline import Timeline, check_ending

if TYPE_CHECKING:
    from yotta_async.cli.live_table import Snapshot

# The order of the live table: what may need a person comes first.
URGENCY = ("FAILED", "INITIALIZE", "PENDING", "PREPARING", "PAUSING", "TERMINATING", "RUNNING", "PAUSED")


@attrs.define
class TrackedPod:
    """A pod as last seen, and since when (monotonic seconds) it has its status."""

    pod: Pod
    since: float
    is_done: bool = False
    error: Exception | None = None


class ProgressReporter:
    """Keeps what is known of a command's pods, and shows each change of it.

    `total` is the number of outcomes to come, None where there is no end. `timeline` is the file for a picture of it.
    """

    def __init__(
        self, settings: Settings, total: int | None, timeline: str | None = None, *, show_secrets: bool = False
    ) -> None:
        if timeline is not None:
            check_ending(timeline)
        self.pods: dict[str, TrackedPod] = {}
        self._total = total
        self._done = 0
        self._failed = 0
        self._settings = settings
        self._show_secrets = show_secrets
        self._timeline_path = timeline
        self._timeline = Timeline()
        self._started = time.monotonic()
        self._watching: asyncio.Task[None] | None = None

    # Where the library reports to

    def on_item(self, item: FanOutItem) -> None:
        """Note that a pod exists, and later its outcome: the `on_event` of create_many and wait_many."""
        self._timeline(item)
        known = self.pods.get(item.pod_id or "")
        pod = item.pod or (known.pod if known else _build_created_pod(item))
        if item.pod_id:
            self._track(pod).error = item.error
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

    def _on_pod_event(self, event: PodEvent) -> None:
        self._timeline(event)
        self._track(event.pod)
        if event.kind == "removed":
            del self.pods[event.pod.id]
        self._show(event.kind, event.pod)

    def _count_outcome(self, kind: str, pod: Pod, item: FanOutItem) -> None:
        self._done += 1
        self._failed += item.error is not None
        if item.pod_id in self.pods:
            self.pods[item.pod_id].is_done = True
        self._show(kind, pod, item)

    def _track(self, pod: Pod) -> TrackedPod:
        tracked = self.pods.setdefault(pod.id, TrackedPod(pod, time.monotonic()))
        if pod.status is not None:
            if tracked.pod.status != pod.status:
                tracked.since = time.monotonic()
            tracked.pod = pod
        return tracked

    def _show(self, kind: str, pod: Pod, item: FanOutItem | None = None) -> None:
        seconds = time.monotonic() - self._started
        if self._settings.output == "jsonl":
            shown = item_to_json(item or FanOutItem(pod_id=pod.id, pod=pod), show_secrets=self._show_secrets)
            print_json_line({"event": kind, "seconds": round(seconds, 3), **shown})
        elif not self._draws_table:
            error = f"  {_format_outcome(item)}" if item and item.error else ""
            status, name = strip_control(str(pod.status or "")), strip_control(pod.pod_name or "")
            echo_err(f"{seconds:7.1f} s  {kind:<8} {pod.id}  {status:<11} {name}{error}".rstrip())

    # Following the pods between those reports

    @asynccontextmanager
    async def follow(
        self, yotta: YottaClient, *, everything: bool = False, only: Sequence[str] | None = None
    ) -> AsyncIterator[None]:
        """Follow pods for the length of a block, and write the timeline after it.

        Shown are the pods that were reported, or `everything` (with `only`: all of these).
        """
        async with AsyncExitStack() as stack:
            if self._timeline_path:
                stack.callback(self._timeline.write, self._timeline_path)
            if self._draws_table:
                from yotta_async.cli.live_table import LiveTable  # rich is slow to import

                stack.enter_context(LiveTable(self._take_snapshot))
            self._watching = asyncio.create_task(self._watch(yotta, everything=everything, only=only))
            stack.push_async_callback(_cancel, self._watching)
            try:
                yield
            except asyncio.CancelledError:
                stack.callback(echo_err, f"Stopped with {self.format_summary()}.")
                raise
        if self._timeline_path:
            echo_err(f"The timeline is in {self._timeline_path}.")

    @property
    def _draws_table(self) -> bool:
        """Whether there is a terminal for a table; a log would tear it."""
        return self._settings.output != "jsonl" and is_terminal(sys.stderr) and not self._settings.verbose

    async def wait_for_end(self) -> None:
        """Wait until following ends by itself, and raise its error."""
        if self._watching is not None:
            await asyncio.shield(self._watching)

    async def _watch(self, yotta: YottaClient, *, everything: bool, only: Sequence[str] | None) -> None:
        async for event in yotta.pods.watch(only):
            tracked = self.pods.get(event.pod.id)
            if everything or (tracked and (tracked.pod.status != event.pod.status or event.kind == "removed")):
                self._on_pod_event(event)
            elif tracked:
                tracked.pod = event.pod

    def _take_snapshot(self) -> Snapshot:
        from yotta_async.cli.live_table import Snapshot

        rows = [_build_cells(tracked) for tracked in sorted(self.pods.values(), key=_get_urgency)]
        return Snapshot(rows, self.format_summary(), self._done, self._total)

    # At the end

    def format_summary(self) -> str:
        """Return one line of counts: statuses, failures, price and time."""
        statuses = Counter(str(tracked.pod.status) for tracked in self.pods.values() if tracked.pod.status)
        running = [tracked.pod for tracked in self.pods.values() if tracked.pod.status == PodStatus.RUNNING]
        price = sum(pod.hourly_price or 0 for pod in running)
        parts = [f"{count} {strip_control(status)}" for status, count in sorted(statuses.items())]
        if self._failed:
            parts.append(f"{self._failed} failed")
        time_taken = format_duration(time.monotonic() - self._started)
        return f"{', '.join(parts) or 'no pods'}, ${price:.2f} an hour, {time_taken}"

    def print_report(self, report: FanOutReport, *, is_one: bool) -> int:
        """Print the outcome of each pod, and return the exit code; the error of a single pod has its own."""
        if self._settings.output == "json":
            print_json(report_to_json(report, show_secrets=self._show_secrets))
        elif self._settings.output == "jsonl":
            print_json_line({"event": "summary", **count_outcomes(report)})
        else:
            print_table(("id", "name", "status", "outcome"), [self._build_report_row(item) for item in report.items])
            echo_err(f"{len(report.succeeded)} of {pluralize(len(report.items))} done. {self.format_summary()}")
        errors = [item.error for item in report.items if item.error]
        if not errors:
            return ExitCode.DONE
        if is_one:
            echo_err(f"Error: {format_error(errors[0])}")
            return get_exit_code(errors[0], self._settings)
        return ExitCode.SOME_FAILED

    def _build_report_row(self, item: FanOutItem) -> tuple[str, str, str, str]:
        tracked = self.pods.get(item.pod_id or "")
        pod = item.pod or (tracked.pod if tracked else None)
        name = (pod.pod_name if pod else None) or (item.spec.pod_name if item.spec else None) or ""
        status = str(pod.status) if pod and pod.status else ""
        return item.pod_id or "-", strip_control(name), strip_control(status), _format_outcome(item)


def _format_outcome(item: FanOutItem) -> str:
    return "done" if item.error is None else f"{type(item.error).__name__}: {format_error(item.error)}"


def _build_created_pod(item: FanOutItem) -> Pod:
    """Return what is known of a pod before the first poll."""
    pod = Pod(id=item.pod_id or "-")
    if item.spec is None:
        return pod
    spec = item.spec
    return attrs.evolve(
        pod, status=PodStatus.INITIALIZE, pod_name=spec.pod_name, gpu_type=spec.gpu_type, region=spec.region
    )


def _get_urgency(tracked: TrackedPod) -> tuple[bool, int, str]:
    status = str(tracked.pod.status)
    rank = URGENCY.index(status) if status in URGENCY else len(URGENCY)
    return tracked.is_done and not tracked.error, rank, tracked.pod.pod_name or ""


def _build_cells(tracked: TrackedPod) -> tuple[str, ...]:
    """Return a pod's cells of the live table."""
    pod = tracked.pod
    port = pod.expose[0] if pod.expose else None
    cells = (
        pod.pod_name or pod.id,
        str(pod.status),
        format_duration(time.monotonic() - tracked.since),
        "" if pod.hourly_price is None else f"{pod.hourly_price:.2f}",
        format_gpus(pod),
        pod.region or "",
        f"{port.host}:{port.proxy_port}" if port else "",
    )
    return tuple(map(strip_control, cells))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
