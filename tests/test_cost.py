"""What things cost, in what can be counted exactly: requests, calls, timers, bytes. Never in seconds."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from benchmarks.fixed import POD
from tests.raw_server import RawServer, envelope
from yotta_async import YottaClient
from yotta_async.api import converter, pod_list, responses
from yotta_async.emulator import Emulator, Timings

PODS = 2_000


@pytest.fixture
def listed(server: RawServer) -> RawServer:
    server.answers(envelope([POD | {"id": str(number)} for number in range(PODS)]))
    return server


@pytest.fixture
def structured(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the pods that were not exactly as documented, and took the converter."""
    count: Counter[str] = Counter()
    structure = converter.structure

    def counted(value: object, kind: Any) -> Any:
        count["values"] += 1
        return structure(value, kind)

    monkeypatch.setattr(converter, "structure", counted)
    monkeypatch.setattr(responses, "structure", counted)
    return count


async def test_a_call_takes_one_request_one_timer_and_few_calls(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, structured: Counter[str]
) -> None:
    server.answers(envelope(POD | {"id": "7"}))
    async with YottaClient("sk-cost", base_url=server.url) as client:
        await _ten_calls(server, client, monkeypatch)
    assert not structured, "a documented pod takes the struct"


async def _ten_calls(server: RawServer, client: YottaClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await client.pods.get("7")
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    call_at = loop.call_at

    def counted(when: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *arguments, **options)

    monkeypatch.setattr(loop, "call_at", counted)
    calls: Counter[str] = Counter()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "yotta_async" in frame.f_code.co_filename and "/tests/" not in frame.f_code.co_filename:
            calls[frame.f_code.co_qualname] += 1

    before = len(server.received)
    sys.setprofile(watch)
    try:
        for _ in range(10):
            await client.pods.get("7")
    finally:
        sys.setprofile(None)
    assert len(server.received) - before == 10
    assert len(timers) <= 10, "the time limit of each"
    assert calls.total() <= 10 * 56, calls


async def test_a_list_takes_one_request_and_little_memory(
    listed: RawServer, client_of: Callable[..., YottaClient], structured: Counter[str]
) -> None:
    client = client_of()
    await client.pods.list()
    gc.collect()
    tracemalloc.start()
    try:
        pods = await client.pods.list()
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(pods) == PODS
    assert len(listed.received) == 2
    assert kept / PODS <= 2_400
    # A server in this process holds the answer as well.
    assert (peak - len(json.dumps(POD)) * PODS * 2.5) <= 1.3 * kept
    assert not structured


async def test_poll_builds_only_pods_whose_status_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    parse = converter.parse_pod_json

    def counted(raw: Any) -> Any:
        pod = parse(raw)
        built.append(pod.id)
        return pod

    monkeypatch.setattr(pod_list, "parse_pod_json", counted)
    timings = Timings(initialize=(5.0, 60.0))
    async with Emulator(clock="auto", timings=timings) as emulator, emulator.client() as yotta:
        report = await yotta.pods.create_many([{"image": "a", "gpu_type": "NVIDIA_L4_24G"}] * 300)
        ids = [item.pod.id for item in report.items if item.pod is not None]
        before = len(emulator.requests)
        await asyncio.gather(*(yotta.pods.wait_until(pod_id, poll_interval=1.0) for pod_id in ids))
    assert set(built) == set(ids)
    assert len(built) == len(ids), "each pod is built once, when its status has changed"
    assert len(emulator.requests) - before <= 90
