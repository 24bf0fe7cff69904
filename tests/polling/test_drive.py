"""From any state to RUNNING, PAUSED or TERMINATED, also while another program acts on the pod."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from tests.conftest import SPEC
from tests.raw_server import RawServer, RecordedRequest, Reply, envelope, http, reset
from yotta_async import (
    BadRequestError,
    InvalidRequestError,
    InvalidStateError,
    Pod,
    PodFailedError,
    PodGoneError,
    PodStatus,
    RetryPolicy,
    WaitTimeoutError,
    YottaClient,
)
from yotta_async.emulator import Emulator
from yotta_async.emulator.clock import make_clock

pytestmark = pytest.mark.both_versions

Make = Callable[..., YottaClient]


def pod(status: str) -> Reply:
    return envelope({"id": 7, "status": status})


def calls(server: RawServer) -> list[str]:
    return [
        request.path.split("/")[4] if request.method == "POST" else request.method.lower()
        for request in server.received
    ]


START = ["INITIALIZE", "RUNNING", "PAUSING", "PAUSED", "TERMINATING"]


@pytest.mark.parametrize("start", START[:4])
@pytest.mark.parametrize("to", ["RUNNING", "PAUSED", "TERMINATED"])
async def test_every_state_leads_to_every_target(emulator: Emulator, yotta: YottaClient, start: str, to: str) -> None:
    handle = await yotta.pods.create(**SPEC)
    if start != "INITIALIZE":
        await handle.wait_until()
    if start in ("PAUSING", "PAUSED"):
        await handle.pause()
        await handle.wait_until(status=start)
    seen: list[Pod] = []
    found = await handle.drive(to=to, on_change=seen.append)
    assert found.status == to
    assert handle.pod is found
    assert seen[-1].status == to
    changes = [request for request in emulator.requests if request.method != "GET"]
    needed = {"RUNNING": {"PAUSING", "PAUSED"}, "PAUSED": {"INITIALIZE", "RUNNING"}, "TERMINATED": set(START)}[to]
    assert len(changes) == 1 + (start in ("PAUSING", "PAUSED")) + (start in needed)


@pytest.mark.parametrize("start", ["FAILED", "TERMINATING", "TERMINATED"])
@pytest.mark.parametrize("to", ["RUNNING", "PAUSED"])
async def test_there_is_no_way_back_from_an_end(server: RawServer, client_of: Make, start: str, to: str) -> None:
    server.answers(pod(start))
    with pytest.raises(PodFailedError, match=f"it is {start}"):
        await client_of().pods.drive(7, to=to)
    assert calls(server) == ["get"]


async def test_a_failed_pod_can_be_deleted(server: RawServer, client_of: Make) -> None:
    server.answers(pod("FAILED"), envelope(), pod("TERMINATING"), envelope(code=13000))
    assert (await client_of().pods.drive(7, to=PodStatus.TERMINATED)).status == "TERMINATED"
    assert calls(server) == ["get", "delete", "get", "get"]


async def test_a_pod_that_is_gone_is_terminated_and_nothing_else(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(code=13000))
    assert (await client_of().pods.drive(7, to="TERMINATED")).status == "TERMINATED"
    with pytest.raises(PodGoneError):
        await client_of().pods.drive(7, to="RUNNING")
    server.answers(pod("RUNNING"), envelope(code=13000))
    assert (await client_of().pods.drive(7, to="TERMINATED")).status == "TERMINATED"
    server.answers(pod("RUNNING"), envelope(code=13000))
    with pytest.raises(PodGoneError, match="was to become PAUSED"):
        await client_of().pods.drive(7, to="PAUSED")


async def test_12001_means_look_again(server: RawServer, client_of: Make) -> None:
    refused = envelope(code=12001)
    server.answers(pod("RUNNING"), refused, pod("PAUSING"), pod("PAUSED"))
    await client_of().pods.drive(7, to="PAUSED")
    assert calls(server) == ["get", "pause", "get", "get"]


async def test_someone_else_may_resume_on_the_way(server: RawServer, client_of: Make) -> None:
    ok = envelope()
    server.answers(pod("RUNNING"), ok, pod("PAUSING"), pod("INITIALIZE"), pod("RUNNING"), ok, pod("PAUSED"))
    await client_of().pods.drive(7, to="PAUSED")
    assert calls(server) == ["get", "pause", "get", "get", "get", "pause", "get"]


async def test_an_action_that_is_slow_to_show_is_not_hammered(server: RawServer, client_of: Make) -> None:
    async def answer(request: RecordedRequest, writer: object) -> None:
        reply = envelope(code=12001) if request.method == "POST" and len(server.received) > 2 else envelope()
        await (pod("PAUSED") if request.method == "GET" else reply)(request, writer)  # type: ignore[arg-type]  # passed on

    server.answers(answer)
    with pytest.raises(WaitTimeoutError) as caught:
        await client_of(poll_interval=10).pods.drive(7, to="RUNNING", timeout=60)
    assert 5 <= calls(server).count("resume") <= 8
    assert isinstance(caught.value.last_error, InvalidStateError)


async def test_an_action_is_repeated_after_half_an_interval(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    times = []

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        if request.method == "POST":
            times.append(clock.time())
        await (pod("PAUSED") if request.method == "GET" else envelope())(request, writer)

    server.answers(answer)
    yotta = client_of(clock=clock, poll_interval=10)
    often = asyncio.create_task(yotta.pods.wait_until(7, poll_interval=0.5))
    with pytest.raises(WaitTimeoutError):
        await yotta.pods.drive(7, to="RUNNING", timeout=29)
    assert all(5 <= later - earlier <= 5.6 for earlier, later in itertools.pairwise(times))
    assert len(times) == 6
    often.cancel()


async def test_an_action_follows_at_once_where_the_status_has_changed(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    yotta = client_of(clock=clock, poll_interval=100, retry=RetryPolicy(max_attempts=1))
    server.answers(pod("RUNNING"), http(b"", 502), pod("PAUSED"), envelope(), envelope(code=13000))
    await yotta.pods.drive(7, to="TERMINATED")
    assert calls(server) == ["get", "delete", "get", "delete", "get"]
    assert clock.time() < 1


async def test_one_absence_after_a_resume_is_not_the_end(server: RawServer, client_of: Make) -> None:
    server.answers(pod("PAUSED"), envelope(), envelope(code=13000), pod("RUNNING"))
    assert (await client_of().pods.drive(7, to="RUNNING")).status == "RUNNING"


async def test_an_action_that_does_not_find_the_pod_counts_as_its_first_absence(
    server: RawServer, client_of: Make
) -> None:
    server.answers(pod("RUNNING"), envelope(code=13000))
    with pytest.raises(PodGoneError):
        await client_of().pods.drive(7, to="PAUSED")
    assert calls(server) == ["get", "pause", "get"]


async def test_failures_that_may_pass_are_borne_and_others_are_not(server: RawServer, client_of: Make) -> None:
    html = http(b"<html>", 502)
    server.answers(html, reset, pod("PAUSED"), html, pod("PAUSED"), envelope(), pod("INITIALIZE"), pod("RUNNING"))
    await client_of().pods.drive(7, to="RUNNING")
    assert len(server.received) == 8
    server.answers(pod("PAUSED"), envelope(code=10001, status=400), pod("RUNNING"))
    with pytest.raises(BadRequestError):
        await client_of().pods.drive(7, to="RUNNING")


@pytest.mark.parametrize("refused", [envelope(code=12001), http(b"", 502), envelope(code=13000)])
async def test_the_failure_of_an_action_is_told_until_one_succeeds(
    server: RawServer, client_of: Make, refused: Reply
) -> None:
    actions = 0

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal actions
        actions += request.method == "POST"
        await (pod("PAUSED") if request.method == "GET" else refused if actions < 3 else envelope())(request, writer)

    server.answers(answer)
    yotta = client_of(retry=RetryPolicy(max_attempts=1), poll_interval=10)
    with pytest.raises(WaitTimeoutError) as early:
        await yotta.pods.drive(7, to="RUNNING", timeout=9)
    assert early.value.last_error is not None
    assert f"; the last error was {type(early.value.last_error).__name__}: " in str(early.value)
    actions = 0
    with pytest.raises(WaitTimeoutError) as late:
        await yotta.pods.drive(7, to="RUNNING", timeout=60)
    assert actions > 3
    assert late.value.last_error is None


@pytest.mark.parametrize("to", ["RUNNING", "PAUSED", "TERMINATED"])
async def test_no_attempt_of_an_action_is_after_the_deadline(server: RawServer, client_of: Make, to: str) -> None:
    clock = make_clock("auto")

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        is_get = request.method == "GET"
        busy = http(b"", 503, {"Retry-After": "20"})
        await (pod("PAUSED" if to == "RUNNING" else "RUNNING") if is_get else busy)(request, writer)

    server.answers(answer)
    with pytest.raises(WaitTimeoutError):
        await client_of(clock=clock).pods.drive(7, to=to, timeout=10)
    assert clock.time() == pytest.approx(10)


async def test_the_state_after_an_action_is_polled_at_once(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    server.answers(pod("RUNNING"), envelope(), pod("PAUSED"))
    await client_of(clock=clock, poll_interval=100).pods.drive(7, to="PAUSED")
    assert clock.time() < 1


async def test_one_deadline_is_for_all_of_it(server: RawServer, client_of: Make) -> None:
    server.answers(pod("PAUSED"), http(b"", 502))
    with pytest.raises(WaitTimeoutError, match="not RUNNING within 30 s"):
        await client_of().pods.drive(7, to="RUNNING", timeout=30)


@pytest.mark.parametrize("to", ["INITIALIZE", "FAILED", "NONSENSE", "", 2])
async def test_there_are_three_targets(server: RawServer, client_of: Make, to: str) -> None:
    with pytest.raises(InvalidRequestError, match="RUNNING, PAUSED or TERMINATED|pod status"):
        await client_of().pods.drive(7, to=to)
    assert not server.received


async def test_a_pod_just_created_and_deleted_may_be_gone_at_once(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(7), pod("RUNNING"), envelope(), envelope(code=13000))
    handle = await client_of().pods.create(**SPEC)
    assert (await handle.drive(to="TERMINATED", timeout=5)).status == "TERMINATED"
    assert len(server.received) == 4, "the delete counts as the first of two responses that do not find it"


@pytest.mark.parametrize("seconds", [10, 30])
async def test_nothing_is_done_after_the_deadline(server: RawServer, client_of: Make, seconds: int) -> None:
    clock = make_clock("auto")
    server.answers(pod("RUNNING"))

    async def slow(_: Pod) -> None:
        await clock.sleep(seconds)

    with pytest.raises(WaitTimeoutError):
        await client_of(clock=clock).pods.drive(7, to="PAUSED", timeout=10, on_change=slow)
    assert set(calls(server)) == {"get"}
    assert len(server.received) <= 4, "nor is the pod polled while on_change goes on"


async def test_a_pod_without_a_status_can_be_deleted(server: RawServer, client_of: Make) -> None:
    server.answers(envelope({"id": 7, "status": None}), envelope(), pod("TERMINATED"))
    await client_of().pods.drive(7, to="TERMINATED")
    assert calls(server) == ["get", "delete", "get"]
