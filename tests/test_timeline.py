"""The timeline: a bar for each pod, its statuses, and its failure."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import SPEC
from yotta_async import InvalidRequestError, Pod, YottaClient
from yotta_async.emulator import Emulator, Timings
from yotta_async.timeline import Timeline

SVG = "{http://www.w3.org/2000/svg}"


def find_elements(picture: str, kind: str) -> list[ElementTree.Element]:
    tag, _, name = kind.partition(".")
    root = ElementTree.fromstring(picture)  # no foreign input
    return [each for each in root.iter(f"{SVG}{tag}") if not name or each.get("class") == name]


async def test_each_pod_has_a_bar_and_each_failure_a_mark(tmp_path: Path) -> None:
    async with (
        Emulator(clock="auto", timings=Timings(initialize=60.0), faults=[{"kind": "failed", "nth": 3}]) as emulator,
        emulator.client() as yotta,
    ):
        timeline = Timeline(now=emulator.clock.time)
        specs = [{**SPEC, "pod_name": f"train <{number}>"} for number in range(12)]
        report = await yotta.pods.create_many(specs, until="RUNNING", on_event=timeline)
        assert len(report.failed) == 1
    picture = timeline.svg()
    assert len(timeline) == len(find_elements(picture, "g.pod")) == 12
    assert len(find_elements(picture, "path.failure")) == 1
    assert "1 failed" in picture
    states = [title.text or "" for title in ElementTree.fromstring(picture).iter(f"{SVG}title")]  # no foreign input
    assert sum("INITIALIZE for 1:0" in state for state in states) == 12
    assert any(re.search(r"train <2>: PodFailedError: ", state) for state in states)
    timeline.write(tmp_path / "run.svg")
    timeline.write(tmp_path / "run.html")
    assert (tmp_path / "run.svg").read_text() == picture
    page = (tmp_path / "run.html").read_text()
    assert picture in page
    assert not re.search(r'(src|href)="', page), "there are no external resources"


async def test_events_of_watch_and_on_change_are_drawn(emulator: Emulator, yotta: YottaClient) -> None:
    timeline = Timeline(now=emulator.clock.time)

    async def record_events() -> None:
        async for event in yotta.pods.watch():
            timeline(event)

    recording = asyncio.create_task(record_events())
    handle = await yotta.pods.create(**SPEC)
    await handle.wait_until(on_change=timeline)
    await handle.delete()
    await handle.wait_until(status="TERMINATED", on_change=timeline)
    recording.cancel()
    colours = [bar.get("fill") for bar in find_elements(timeline.svg(), "rect.state")]
    assert len(colours) == len(set(colours)) == 4


async def test_failed_create_without_a_pod_has_a_bar() -> None:
    async with Emulator(clock="auto", balance=0) as emulator, emulator.client() as yotta:
        timeline = Timeline()
        await yotta.pods.create_many([SPEC] * 2, on_event=timeline)
    assert len(find_elements(timeline.svg(), "g.pod")) == len(find_elements(timeline.svg(), "path.failure")) == 2


def test_invalid_file_names_and_events_are_refused(tmp_path: Path) -> None:
    timeline = Timeline()
    with pytest.raises(InvalidRequestError, match=r"run\.png"):
        timeline.write(tmp_path / "run.png")
    with pytest.raises(InvalidRequestError, match="FanOutItem, PodEvent or Pod"):
        timeline("pod")  # type: ignore[arg-type]  # wrong on purpose
    assert "0 pods" in timeline.svg()
    timeline(Pod(id="7"))
    assert "unknown" in timeline.html()
