"""Following pods while a command works on them: a live table on a terminal, lines elsewhere, events for machines."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import attrs

from yotta_async import FanOutItem, FanOutReport, Pod, PodEvent, PodStatus, YottaClient
from yotta_async.cli.exits import line_of
from yotta_async.cli.output import clean, is_terminal, item_json, print_line, say, span
from yotta_async.cli.settings import Settings
from yotta_async.timeline import Timeline


@attrs.define
class Row:
    """One pod as it was last seen, and since when (monotonic seconds)."""

    pod: Pod
    since: float
    is_done: bool = False
    error: Exception | None = None


class Follower:
    """What is known of the pods that a command is about; `timeline` is where a picture of it goes."""

    def __init__(
        self, settings: Settings, total: int | None, timeline: str | None = None, *, show_secrets: bool = False
    ) -> None:
        self.rows: dict[str, Row] = {}
        self.total = total
        self.done = 0
        self.failed = 0
        self._settings = settings
        self._show_secrets = show_secrets
        self._path = timeline
        self._timeline = Timeline()
        self._began = time.monotonic()
        self._watching: asyncio.Task[None] | None = None

    def item(self, item: FanOutItem) -> None:
        """Note what `on_event` tells: first that there is a pod, then what became of it."""
        self._timeline(item)
        known = self.rows.get(item.pod_id or "")
        pod = item.pod or (known.pod if known else _fresh(item))
        if item.pod_id:
            row = self._row(pod)
            row.error = item.error
        if known is None and item.pod is None and item.error is None:
            self._tell("created" if item.spec else "waiting", pod, item)
        else:
            self._outcome("outcome", pod, item)

    def finish(self, report: FanOutReport) -> None:
        """Note those items of whose outcome `on_event` was not told, as of a timeout of all."""
        for item in report.items:
            row = self.rows.get(item.pod_id or "")
            if item.error is not None and row is not None and not row.is_done:
                self.item(item)

    def asked(self, item: FanOutItem) -> None:
        """Note the answer to a pause, a resume or a delete."""
        pod = self._row(Pod(id=item.pod_id or "-")).pod
        if item.error is not None:
            self._timeline(item)
        self._outcome("asked" if item.error is None else "outcome", pod, item)

    def _outcome(self, kind: str, pod: Pod, item: FanOutItem) -> None:
        self.done += 1
        self.failed += item.error is not None
        if item.pod_id in self.rows:
            self.rows[item.pod_id].is_done = True
        self._tell(kind, pod, item)

    def event(self, event: PodEvent) -> None:
        """Note what `watch` tells."""
        self._timeline(event)
        self._row(event.pod)
        if event.kind == "removed":
            del self.rows[event.pod.id]
        self._tell(event.kind, event.pod)

    def _row(self, pod: Pod) -> Row:
        row = self.rows.get(pod.id)
        if row is None:
            row = self.rows[pod.id] = Row(pod, time.monotonic())
        elif pod.status is not None:
            if row.pod.status != pod.status:
                row.since = time.monotonic()
            row.pod = pod
        return row

    def _tell(self, kind: str, pod: Pod, item: FanOutItem | None = None) -> None:
        seconds = time.monotonic() - self._began
        if self._settings.output == "jsonl":
            shown = item_json(item or FanOutItem(pod_id=pod.id, pod=pod), show_secrets=self._show_secrets)
            print_line({"event": kind, "seconds": round(seconds, 3), **shown})
        elif not is_terminal(sys.stderr) or self._settings.verbose:
            error = f"  {type(item.error).__name__}: {line_of(item.error)}" if item and item.error else ""
            status, name = clean(str(pod.status or "")), clean(pod.pod_name or "")
            say(f"{seconds:7.1f} s  {kind:<8} {pod.id}  {status:<11} {name}{error}".rstrip())

    @asynccontextmanager
    async def following(
        self, yotta: YottaClient, *, everything: bool = False, only: Sequence[str] | None = None
    ) -> AsyncIterator[None]:
        """Follow for the length of a block, with a live table where there is a terminal; then write the picture.

        What is followed are the pods that `item` and `asked` told of, or `everything`, or `only` these.
        """
        async with AsyncExitStack() as stack:
            if self._path:
                stack.callback(self._timeline.write, self._path)
            # A log would tear the table.
            if self._settings.output != "jsonl" and is_terminal(sys.stderr) and not self._settings.verbose:
                from yotta_async.cli.live import LiveTable  # rich is not quick to import

                stack.enter_context(LiveTable(self))
            self._watching = asyncio.create_task(self._watch(yotta, everything=everything, only=only))
            stack.push_async_callback(_stopped, self._watching)
            try:
                yield
            except asyncio.CancelledError:
                stack.callback(say, f"Stopped with {self.summary()}.")
                raise
        if self._path:
            say(f"The timeline is in {self._path}.")

    async def ended(self) -> None:
        """Return when there is nothing more to follow, or raise what ended it."""
        if self._watching is not None:
            await asyncio.shield(self._watching)

    async def _watch(self, yotta: YottaClient, *, everything: bool, only: Sequence[str] | None) -> None:
        async for event in yotta.pods.watch(only):
            known = self.rows.get(event.pod.id)
            if everything or (known and (known.pod.status != event.pod.status or event.kind == "removed")):
                self.event(event)
            elif known:
                known.pod = event.pod

    def summary(self) -> str:
        """Return the counts in a line: states, what is done, and what an hour costs."""
        states = Counter(str(row.pod.status) for row in self.rows.values() if row.pod.status)
        price = sum(row.pod.hourly_price or 0 for row in self.rows.values() if row.pod.status == PodStatus.RUNNING)
        parts = [f"{count} {clean(status)}" for status, count in sorted(states.items())]
        if self.failed:
            parts.append(f"{self.failed} failed")
        return f"{', '.join(parts) or 'no pods'} · ${price:.2f} an hour · {span(time.monotonic() - self._began)}"


def _fresh(item: FanOutItem) -> Pod:
    """Return what is known of a pod that nobody has looked at yet."""
    pod = Pod(id=item.pod_id or "-")
    if item.spec is None:
        return pod
    spec = item.spec
    return attrs.evolve(
        pod, status=PodStatus.INITIALIZE, pod_name=spec.pod_name, gpu_type=spec.gpu_type, region=spec.region
    )


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
