"""Many at a time: the truth about each, policies that roll back, fallbacks, and no more calls at a time than the API takes."""

from __future__ import annotations

import asyncio
import itertools
import json
import pickle
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.creates import StoppedDisk, iterate_loop, read_open_intents
from tests.pod_server import PodServer
from tests.raw_server import A_DAY_S, RawServer, RecordedRequest, Reply, envelope, http, raw_server
from yotta_async import (
    CapacityError,
    ConfigurationError,
    CreateOutcomeUnknownError,
    FanOutError,
    FanOutItem,
    InvalidRequestError,
    NotFoundError,
    PodFailedError,
    PodGoneError,
    PodSpec,
    PodStatus,
    RolledBackError,
    WaitTimeoutError,
    YottaClient,
)
from yotta_async.emulator.clock import make_clock

pytestmark = pytest.mark.both_versions

L4 = PodSpec(**SPEC)


def client_of(api: PodServer | RawServer, **options: Any) -> YottaClient:
    return YottaClient(KEY, base_url=api.url, **{"clock": make_clock("auto"), **options})


def every_tenth_fails(api: PodServer) -> None:
    numbers = itertools.count(1)
    api.birth = lambda _: "FAILED" if next(numbers) % 10 == 0 else "RUNNING"


def named(count: int) -> list[PodSpec]:
    return [PodSpec(**SPEC, pod_name=f"pod-{number}") for number in range(count)]


async def test_the_report_tells_the_truth_about_each_in_order(api: PodServer) -> None:
    every_tenth_fails(api)
    async with client_of(api) as yotta:
        report = await yotta.pods.create_many(named(40), until="RUNNING")
        assert (len(report.succeeded), len(report.failed), len(report.unknown)) == (36, 4, 0)
        assert [item.spec.pod_name for item in report.items if item.spec] == [f"pod-{n}" for n in range(40)]
        for item in report.succeeded:
            assert item.pod is not None
            assert (item.pod.status, item.pod.pod_name) == (PodStatus.RUNNING, item.spec and item.spec.pod_name)
            assert (item.attempts, item.errors) == (1, ())
        assert {type(item.error) for item in report.failed} == {PodFailedError}
        assert all(item.pod_id in api.pods for item in report.failed)
        with pytest.raises(FanOutError, match="36 succeeded, 4 failed, 0 unknown"):
            report.raise_for_failures()
    assert len(api.pods) == 40, "closing deletes none that was handed over"
    assert "DELETE" not in api.requests


@pytest.mark.parametrize(
    ("policy", "holds"), [("best_effort", True), (36, True), (37, False), ("all_or_nothing", False)]
)
async def test_a_policy_holds_or_everything_is_taken_back(api: PodServer, policy: Any, holds: bool) -> None:
    every_tenth_fails(api)
    async with client_of(api) as yotta:
        if holds:
            assert len((await yotta.pods.create_many(named(40), until="RUNNING", policy=policy)).succeeded) == 36
            assert len(api.alive) == 40
            return
        with pytest.raises(FanOutError, match="were wanted, so all that were started are deleted") as caught:
            await yotta.pods.create_many(named(40), until="RUNNING", policy=policy)
        assert api.alive == []
    report = caught.value.report
    assert report is not None
    assert len(report.items) == 40
    assert report.succeeded == ()
    assert {type(item.error) for item in report.items} == {PodFailedError, RolledBackError}
    assert {type(item.error) for item in report.failed} == {PodFailedError}
    assert len(report.failed) + len(report.rolled_back) == 40


async def test_without_until_a_pod_is_done_when_it_is_created(api: PodServer) -> None:
    events: list[FanOutItem] = []
    async with client_of(api) as yotta:
        report = await yotta.pods.create_many([L4, SPEC, L4], on_event=events.append)
    assert [item.pod_id for item in report.items if item.error is None] == sorted(api.alive)
    assert sorted(item.pod_id or "" for item in events) == sorted(api.alive)


async def test_events_come_when_a_create_is_answered_and_when_its_outcome_is_known(api: PodServer) -> None:
    events: list[tuple[str | None, bool]] = []

    async def note(item: FanOutItem) -> None:
        await asyncio.sleep(0)
        # In v2 the response to a create is the pod as it is then.
        events.append((item.pod_id, item.pod is not None and item.pod.status == "RUNNING"))

    async with client_of(api) as yotta:
        report = await yotta.pods.create_many([L4] * 3, until=["RUNNING"], on_event=note)
    for item in report.items:
        assert [seen for pod_id, seen in events if pod_id == item.pod_id] == [False, True]


async def test_calls_in_flight_are_bounded_and_waiting_takes_no_slot(api: PodServer) -> None:
    in_flight = most = 0
    serve = api.serve

    async def counted(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal in_flight, most
        if request.method == "POST":
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0.002)
            in_flight -= 1
        await serve(request, writer)

    api.born = "INITIALIZE"
    async with raw_server(counted) as server, client_of(server) as yotta:
        creating = asyncio.create_task(yotta.pods.create_many([L4] * 60, until="RUNNING", concurrency=5, timeout=600))
        while len(api.pods) < 60:
            await asyncio.sleep(0.001)
        for pod in api.pods.values():
            pod["status"] = "RUNNING"
        assert len((await creating).succeeded) == 60
    assert 3 <= most <= 5


async def test_scarce_pods_come_up_on_the_fallback(api: PodServer) -> None:
    scarce = itertools.count()

    def birth(body: dict[str, Any]) -> str:
        if body["gpuType"] != SPEC["gpu_type"]:
            return "RUNNING"
        return ["FAILED", "REFUSED"][next(scarce) % 2]

    api.birth = birth
    async with client_of(api) as yotta:
        report = await yotta.pods.create_many(
            [L4] * 6, until="RUNNING", fallbacks=[{"gpu_type": "NVIDIA_A100_80G", "region": "us-east-1"}]
        )
    assert len(report.succeeded) == 6
    assert {item.attempts for item in report.items} == {2}
    assert {type(item.errors[0]) for item in report.items} == {PodFailedError, CapacityError}
    assert {api.pods[item.pod_id or ""]["gpuType"] for item in report.items} == {"NVIDIA_A100_80G"}
    assert not [pod for pod in api.pods.values() if pod["status"] == "FAILED"]


async def test_when_every_candidate_fails_the_image_may_be_the_cause(api: PodServer) -> None:
    api.born = "FAILED"
    async with client_of(api) as yotta:
        [item] = (
            await yotta.pods.create_many([L4], until="RUNNING", fallbacks=[{"region": "a"}, {"region": "b"}])
        ).items
    assert item.attempts == 3
    assert len(item.errors) == 3
    assert item.errors[-1] is item.error
    assert "image may be the cause" in str(item.error)
    assert api.alive == []


async def test_a_lost_answer_with_a_dead_list_is_unknown(api: PodServer) -> None:
    api.fault = lambda what: "reset after" if what == "create" and api.requests.count("create") == 2 else (
        "500 before" if what == "list" else "none")  # fmt: skip
    async with client_of(api) as yotta:
        report = await yotta.pods.create_many([L4] * 3, concurrency=1)
        assert [len(each) for each in (report.succeeded, report.failed, report.unknown)] == [2, 0, 1]
        [item] = report.unknown
        assert isinstance(item.error, CreateOutcomeUnknownError)
        api.fault = lambda _: "none"
        handle = await item.error.resolve()
        assert handle is not None
        assert handle.id in api.alive


@pytest.mark.parametrize("policy", ["best_effort", "all_or_nothing"])
async def test_the_timeout_bounds_everything(api: PodServer, policy: Any) -> None:
    api.born = "INITIALIZE"
    clock = make_clock("auto")
    async with client_of(api, clock=clock) as yotta:
        began = clock.time()
        if policy == "best_effort":
            report = await yotta.pods.create_many([L4] * 3, until="RUNNING", timeout=30)
            assert {type(item.error) for item in report.items} == {WaitTimeoutError}
            assert len(api.alive) == 3
        else:
            with pytest.raises(FanOutError):
                await yotta.pods.create_many([L4] * 3, until="RUNNING", timeout=30, policy=policy)
            assert api.alive == []
        assert 30 <= clock.time() - began <= 40


async def test_what_is_under_way_at_the_timeout_is_unknown_and_what_was_not_sent_is_not(api: PodServer) -> None:
    stuck = asyncio.Event()
    serve = api.serve

    async def hang(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        if request.method == "POST":
            await stuck.wait()
        await serve(request, writer)

    async with raw_server(hang) as server, YottaClient(KEY, base_url=server.url) as yotta:
        report = await yotta.pods.create_many([L4] * 3, concurrency=2, timeout=0.1)
        assert len(report.unknown) == 2
        assert isinstance(report.items[2].error, WaitTimeoutError)
        stuck.set()
    assert len(api.pods) == 2
    assert api.alive == [], "the client deletes what was made too late"


@pytest.mark.parametrize("end", ["cancel", "on_event"])
async def test_whatever_cuts_it_off_what_was_started_is_deleted(api: PodServer, end: str) -> None:
    api.born = "INITIALIZE"

    def note(_: FanOutItem) -> None:
        if len(api.pods) >= 5:
            if end == "on_event":
                raise KeyError("mine")
            creating.cancel()

    async with client_of(api) as yotta:
        creating = asyncio.create_task(yotta.pods.create_many([L4] * 20, until="RUNNING", concurrency=3, on_event=note))
        with pytest.raises(KeyError if end == "on_event" else asyncio.CancelledError):
            await creating
        assert len(api.pods) >= 5
        assert api.alive == []


async def test_a_pod_that_cannot_be_taken_back_is_named(api: PodServer) -> None:
    every_tenth_fails(api)
    api.fault = lambda what: "500 before" if what == "DELETE" else "none"
    yotta = client_of(api)
    with pytest.raises(FanOutError) as caught:
        await yotta.pods.create_many([L4] * 10, until="RUNNING", policy="all_or_nothing")
    assert caught.value.report is not None
    assert all(item.pod_id in str(item.error) for item in caught.value.report.items if item.pod_id)
    api.fault = lambda _: "none"
    await yotta.aclose()
    assert api.alive == []


@pytest.mark.parametrize(
    "wrong",
    [{"policy": 0}, {"policy": 3}, {"policy": True}, {"policy": "most"}, {"concurrency": 0}, {"concurrency": 1.5},
     {"timeout": 0}, {"until": "RUNING"}, {"fallbacks": {"region": "a"}}, {"fallbacks": [{"regoin": "a"}]}, {"fallbacks": "a"}, {"on_event": 5}, {"spend_limit": 5},
     {"specs": L4}, {"specs": [L4, {"image": ""}]}, {"specs": [L4, 7]}],
)  # fmt: skip
async def test_bad_input_is_refused_before_anything_is_sent(api: PodServer, wrong: dict[str, Any]) -> None:
    async with client_of(api) as yotta:
        with pytest.raises(InvalidRequestError):
            await yotta.pods.create_many(**{"specs": [L4, L4], **wrong})
    assert api.requests == []


async def test_pausing_resuming_and_deleting_many(api: PodServer) -> None:
    async with client_of(api) as yotta:
        report = await yotta.pods.create_many([L4] * 5)
        ids = [item.pod_id or "" for item in report.items]
        events: list[FanOutItem] = []
        report = await yotta.pods.delete_many([*ids, "404"], concurrency=2, on_event=events.append)
        assert [item.pod_id for item in report.items] == [*ids, "404"]
        assert [type(item.error) for item in report.items] == [type(None)] * 5 + [NotFoundError]
        assert len(events) == 6
        assert len((await yotta.pods.delete_many(["404"], missing_ok=True)).succeeded) == 1
        for many in (yotta.pods.pause_many, yotta.pods.resume_many):
            with pytest.raises(InvalidRequestError, match="several"):
                await many("404")
            assert len((await many(["404"])).failed) == 1
    assert api.alive == []


class Limited:
    """An API that takes a number of requests a second, and answers 429 to the others."""

    def __init__(self, a_second: int, headers: dict[str, str]) -> None:
        self.a_second, self.headers = a_second, headers
        self.times: deque[float] = deque()
        self.refused = self.gets = 0

    async def serve(self, request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        now = time.monotonic()
        while self.times and self.times[0] < now - 1:
            self.times.popleft()
        if len(self.times) >= self.a_second:
            self.refused += 1
            await http(b"", 429, self.headers)(request, writer)
            return
        self.times.append(now)
        await envelope({"id": "1"} if request.method == "GET" else len(self.times))(request, writer)


@pytest.mark.one_version  # takes long
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}])
async def test_a_limit_of_the_api_is_kept_and_a_single_call_does_not_queue(headers: dict[str, str]) -> None:
    limited = Limited(50, headers)
    async with raw_server(limited.serve) as server, YottaClient(KEY, base_url=server.url) as yotta:
        creating = asyncio.create_task(yotta.pods.create_many([L4] * 150))
        while not limited.refused:
            await asyncio.sleep(0.01)
        await yotta.pods.get(1)
        assert not creating.done(), "it did not wait for all the creates"
        report = await creating
    assert len(report.succeeded) == 150
    assert limited.refused < 30


async def test_requests_per_second_are_spaced(api: PodServer) -> None:
    began = time.monotonic()
    async with client_of(api, requests_per_second=50) as yotta:
        await yotta.pods.create_many([L4] * 20)
    assert time.monotonic() - began > 18 / 50


async def test_closing_the_client_ends_it_and_deletes_what_it_made(api: PodServer) -> None:
    api.born = "INITIALIZE"
    yotta = client_of(api, clock=make_clock("real"), poll_interval=0.05)
    creating = asyncio.create_task(yotta.pods.create_many([L4] * 40, until="RUNNING", concurrency=4))
    while len(api.pods) < 10:
        await asyncio.sleep(0.001)
    await asyncio.wait_for(yotta.aclose(), 10)
    with pytest.raises(ConfigurationError, match="closed"):
        await creating
    assert api.alive == []


@pytest.mark.parametrize("turns", range(0, 16, 3))
async def test_a_cancel_while_the_report_is_handed_over_takes_the_pods_back(
    api: PodServer, tmp_path: Path, turns: int
) -> None:
    last = asyncio.Event()
    events = itertools.count(1)
    open_at_deletes: list[set[str | None]] = []

    def note(what: str) -> str:
        if what == "DELETE":
            open_at_deletes.append({intent.pod_id for intent in read_open_intents(tmp_path)})
        return "none"

    api.fault = note
    async with client_of(api, journal=tmp_path) as yotta:
        creating = asyncio.create_task(
            yotta.pods.create_many([L4] * 10, on_event=lambda _: last.set() if next(events) == 10 else None)
        )
        await last.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        creating.cancel()
        try:
            report = await creating
        except asyncio.CancelledError:
            assert api.alive == []
            assert open_at_deletes[0] == set(api.pods)
        else:
            assert len(report.succeeded) == len(api.alive) == 10


async def test_journal_says_which_pods_a_report_handed_over(api: PodServer, tmp_path: Path) -> None:
    async with client_of(api, journal=tmp_path) as yotta:
        await yotta.pods.create_many([L4] * 3)
        lines = [json.loads(line) for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    assert {line["pod_id"] for line in lines if "done" in line} == set(api.alive)


async def test_deletion_that_ends_while_the_report_is_handed_over_takes_no_other_pod_with_it(
    api: PodServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = make_clock("auto")
    act = api.act
    answer_now = asyncio.Event()

    def answer(what: str, request: RecordedRequest) -> Reply:
        due = act(what, request)

        async def answer_later(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
            delay = asyncio.create_task(clock.delay(A_DAY_S))
            await answer_now.wait()
            delay.cancel()
            await due(request, writer)

        return answer_later if what == "DELETE" else due

    api.act = answer  # type: ignore[method-assign]  # a server whose deletes are slow
    api.birth = lambda body: "FAILED" if body["gpuType"] == "bad" else "RUNNING"
    specs = [PodSpec(image="i", gpu_type="bad"), L4]
    async with client_of(api, clock=clock, journal=tmp_path) as yotta:
        creating = asyncio.create_task(
            yotta.pods.create_many(specs, until="RUNNING", timeout=5, fallbacks=[{"gpu_type": "B"}])
        )
        while clock.time() < 5:
            await asyncio.sleep(0)
        disk = StoppedDisk(monkeypatch)
        await disk.wait_for_writes(1)
        answer_now.set()
        while "GET" not in api.requests[api.requests.index("DELETE") :]:
            await asyncio.sleep(0)
        await iterate_loop(100)
        disk.start()
        report = await creating
        assert [item.error is None for item in report.items] == [False, True]
    assert api.alive == [report.items[1].pod_id]


async def test_slow_event_hooks_are_all_awaited(api: PodServer) -> None:
    ended = 0

    async def slow(_: FanOutItem) -> None:
        nonlocal ended
        await asyncio.sleep(0.02)
        ended += 1

    async with YottaClient(KEY, base_url=api.url, poll_interval=0.05) as yotta:
        await yotta.pods.create_many([L4] * 10, until="RUNNING", on_event=slow)
    assert ended == 20


async def test_an_event_handler_that_is_cancelled_ends_it_at_once(api: PodServer) -> None:
    async def cancelled(_: FanOutItem) -> None:
        raise asyncio.CancelledError

    clock = make_clock("auto")
    async with client_of(api, clock=clock) as yotta:
        with pytest.raises(asyncio.CancelledError):
            await yotta.pods.create_many([L4] * 3, until="RUNNING", on_event=cancelled)
    assert clock.time() < 60
    assert api.alive == []


async def test_a_pod_that_is_there_at_the_timeout_is_not_said_to_be_unsent(api: PodServer) -> None:
    clock = make_clock("auto")

    async def slow(_: FanOutItem) -> None:
        await clock.sleep(5)

    async with client_of(api, clock=clock) as yotta:
        [item] = (await yotta.pods.create_many([L4], until="RUNNING", timeout=0.2, on_event=slow)).items
    assert f"pod {item.pod_id}: it was created" in str(item.error)


async def test_the_error_of_a_policy_holds_no_value(api: PodServer) -> None:
    api.born = "FAILED"
    spec = PodSpec(**SPEC, environment_vars={"PASSWORD": "hunter2-the-value"}, initialization_command="hunter2-cmd")
    async with client_of(api) as yotta:
        with pytest.raises(FanOutError) as caught:
            await yotta.pods.create_many([spec], until="RUNNING", policy=1)
    assert b"hunter2" not in pickle.dumps(caught.value)


@pytest.mark.one_version  # takes long
async def test_a_slow_pace_does_not_keep_pods_from_being_taken_back(api: PodServer) -> None:
    api.born = "INITIALIZE"
    async with client_of(api, requests_per_second=40) as yotta:
        with pytest.raises(FanOutError) as caught:
            await yotta.pods.create_many([L4] * 30, until="RUNNING", policy="all_or_nothing", timeout=5, concurrency=30)
        assert api.alive == []
    assert caught.value.report is not None
    assert not [item for item in caught.value.report.items if "is left" in str(item.error)]


@pytest.mark.parametrize("policy", ["all_or_nothing", 20])
async def test_causes_come_first_and_rolled_back_pods_are_apart(api: PodServer, policy: Any) -> None:
    numbers = itertools.count(1)
    api.birth = lambda _: "REFUSED" if next(numbers) == 20 else "INITIALIZE"
    async with client_of(api) as yotta:
        with pytest.raises(
            FanOutError, match="0 succeeded, 1 failed, 0 unknown, 19 rolled back: None: CapacityErr"
        ) as caught:
            await yotta.pods.create_many(named(20), until="RUNNING", policy=policy, concurrency=4)
    report = caught.value.report
    assert report is not None
    assert [type(item.error) for item in report.failed] == [CapacityError]
    assert report.succeeded == report.unknown == ()
    for item in report.rolled_back:
        assert "as fewer than 20 of the 20 pods" in str(item.error)
        assert isinstance(item.error, PodGoneError)
    assert api.alive == []


async def test_pods_that_are_not_there_at_the_deadline_are_causes(api: PodServer) -> None:
    numbers = itertools.count(1)
    api.birth = lambda _: "INITIALIZE" if next(numbers) == 3 else "RUNNING"
    async with client_of(api) as yotta:
        with pytest.raises(FanOutError) as caught:
            await yotta.pods.create_many([L4] * 5, until="RUNNING", policy="all_or_nothing", timeout=30)
    report = caught.value.report
    assert report is not None
    assert [type(item.error) for item in report.failed] == [WaitTimeoutError]
    assert len(report.rolled_back) == 4
    assert [item.pod and item.pod.status for item in report.rolled_back] == ["RUNNING"] * 4


async def test_creates_in_flight_that_are_rolled_back_are_not_unknown(api: PodServer) -> None:
    stuck = asyncio.Event()
    serve = api.serve
    numbers = itertools.count(1)

    async def hang(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        number = next(numbers) if request.method == "POST" else 0
        if number > 1:
            await stuck.wait()
        await serve(request, writer)
        if number == 1:
            asyncio.get_running_loop().call_later(0.05, stuck.set)

    api.birth = lambda _: "RUNNING" if api.pods or stuck.is_set() else "REFUSED"
    async with raw_server(hang) as server, YottaClient(KEY, base_url=server.url) as yotta:
        with pytest.raises(FanOutError) as caught:
            await yotta.pods.create_many([L4] * 3, concurrency=2, policy="all_or_nothing")
    report = caught.value.report
    assert report is not None
    assert [len(each) for each in (report.failed, report.unknown, report.rolled_back)] == [1, 0, 2]
    assert all("no pod was created" in str(item.error) for item in report.rolled_back)
    assert len(api.pods) == 1
    assert api.alive == []
