"""One poll for all waits: how many requests there are, of which kind, and that no response is older than its waiter."""

from __future__ import annotations

import asyncio
import gc
import itertools
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest

from tests.calls import name_call, name_target
from tests.conftest import KEY, SPEC
from tests.parts import list_poller_tasks, open_endpoints
from tests.raw_server import RawServer, RecordedRequest, Reply, envelope, http, reset, silence
from yotta_async import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    InvalidRequestError,
    Pod,
    PodGoneError,
    PodStatus,
    WaitTimeoutError,
    YottaClient,
)
from yotta_async.emulator import Emulator, Timings
from yotta_async.emulator.clock import ManualClock, make_clock
from yotta_async.polling import poller
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import Observation, Subscription

pytestmark = pytest.mark.both_versions

Make = Callable[..., YottaClient]


def pod(status: str | None, pod_id: int = 7) -> Reply:
    return envelope({"id": pod_id, "status": status})


def kinds(emulator: Emulator) -> Counter[str]:
    """How many lists and how many gets there were."""
    return Counter(name_call(request) for request in emulator.requests if request.method == "GET")


class AheadClock:
    """The emulator's clock, and some seconds more."""

    def __init__(self, clock: ManualClock) -> None:
        self.ahead = 0.0
        self._clock = clock
        self.now, self.sleep, self.call = clock.now, clock.sleep, clock.call

    def time(self) -> float:
        return self._clock.time() + self.ahead


@pytest.mark.one_version  # takes long
async def test_a_thousand_waiters_share_one_list_a_poll() -> None:
    async with (
        Emulator(clock="auto", timings=Timings(initialize=(1.0, 5.0))) as emulator,
        emulator.client(poll_interval=0.5) as yotta,
    ):
        report = await yotta.pods.create_many([SPEC] * 1_000)
        ids = [item.pod_id for item in report.items if item.pod_id is not None]
        before = len(emulator.requests)
        pods = await asyncio.gather(*(yotta.pods.wait_until(pod_id) for pod_id in ids))
        assert {pod.status for pod in pods} == {"RUNNING"}
        assert len(emulator.requests) - before <= 14


async def test_a_subscription_that_ends_while_others_are_notified_is_not_notified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands are notified in batches, between which any task may run."""
    monkeypatch.setattr(poller, "_NOTIFY_BATCH_SIZE", 2)
    notified: list[str] = []
    statuses: list[PodStatus | None] = []
    subscriptions: list[Subscription] = []

    def notify(pod_id: str, observation: Observation) -> None:
        notified.append(pod_id)
        statuses.extend(pod.status for pod in [observation.pod] if pod)
        ours.unsubscribe(next(each for each in subscriptions if each.tracked.pod_id == pod_id))
        other = subscriptions[2 if len(notified) < 3 else 4]
        asyncio.get_running_loop().call_soon(ours.unsubscribe, other)

    async with Emulator(clock="auto", timings=Timings(initialize=5.0)) as emulator, emulator.client() as yotta:
        clock = emulator.clock
        assert isinstance(clock, ManualClock)
        async with open_endpoints(emulator.url, emulator.api_key, clock=clock) as endpoints:
            ours = StatusPoller(endpoints, clock)
            ids = [(await yotta.pods.create(**SPEC)).id for _ in range(20)]
            subscriptions += [
                ours.subscribe(each, partial(notify, each), PodStatus.RUNNING.__eq__, interval=1, timeout=60)
                for each in ids[::-1]
            ]
            await yotta.pods.wait_many(ids)
            await clock.sleep(10)
    ended = {subscriptions[2].tracked.pod_id, subscriptions[4].tracked.pod_id}
    assert sorted(notified) == sorted({*ids} - ended)
    assert statuses == [PodStatus.RUNNING] * 18, "the only one of interest"


async def test_observation_before_the_deadline_counts_even_if_notifying_others_takes_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(poller, "_NOTIFY_BATCH_SIZE", 1)
    async with Emulator(clock="manual", timings=Timings(initialize=50.0)) as emulator:
        assert isinstance(emulator.clock, ManualClock)
        clock = AheadClock(emulator.clock)
        yotta = emulator.client(clock=clock)
        ids = [(await yotta.pods.create(**SPEC)).id for _ in range(20)]
        others = []

        def slow(pod: Pod) -> None:
            if pod.status == PodStatus.RUNNING:
                clock.ahead += 10.0  # it takes so long
                others.append(asyncio.ensure_future(yotta.pods.wait_until(pod.id)))  # which wakes the poller

        waits = [asyncio.ensure_future(yotta.pods.wait_until(each, timeout=60, on_change=slow)) for each in ids]
        for _ in range(30):
            await emulator.clock.advance(2)
        pods = await asyncio.gather(*waits, *others)
        assert {pod.status for pod in pods} == {"RUNNING"}
        assert others
        await yotta.aclose()


async def test_one_waiter_in_a_large_account_asks_for_its_pod_alone() -> None:
    async with Emulator(clock="auto") as emulator, emulator.client() as yotta:
        handles = [await yotta.pods.create(**SPEC) for _ in range(100)]
        await handles[50].wait_until()
        assert kinds(emulator)["list"] == 0


@pytest.mark.one_version  # takes long
async def test_a_filter_is_used_where_it_saves_bytes() -> None:
    timings = Timings(initialize=60.0)
    async with Emulator(clock="auto", timings=timings) as emulator, emulator.client(poll_interval=1) as yotta:
        old = [await yotta.pods.create(**SPEC) for _ in range(400)]
        await yotta.pods.wait_many(old)
        for handle in old:
            await handle.delete()
        await yotta.pods.wait_many(old, status=PodStatus.TERMINATED)
        new = [await yotta.pods.create(**SPEC) for _ in range(30)]
        before = len(emulator.requests)
        report = await yotta.pods.wait_many(new)
        assert len(report.succeeded) == 30
        queries = Counter(request.query for request in list(emulator.requests)[before:] if name_call(request) == "list")
        assert queries["statusList=0"] > 40, "the 400 that are TERMINATED are not fetched each time"
        assert queries[""] <= 4


async def test_no_request_is_sent_and_no_task_held_while_nobody_waits() -> None:
    async with Emulator(clock="manual") as emulator, emulator.client(poll_interval=1) as yotta:
        handle = await yotta.pods.create(**SPEC)
        waiting = asyncio.create_task(handle.wait_until())
        await emulator.clock.advance(5)
        await waiting
        count = len(emulator.requests)
        await emulator.clock.advance(3600)
        assert len(emulator.requests) == count
        cancelled = asyncio.create_task(handle.wait_until(status=PodStatus.PAUSED))
        await emulator.clock.advance(5)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        assert not await list_poller_tasks()
        count = len(emulator.requests)
        await emulator.clock.advance(3600)
        assert len(emulator.requests) == count
        assert not await list_poller_tasks()


async def test_a_wait_is_not_satisfied_by_an_answer_to_what_was_asked_before_it(
    server: RawServer, client_of: Make
) -> None:
    go_on = asyncio.Event()

    async def held_back(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await pod("RUNNING")(request, writer)

    server.answers(held_back, pod("PAUSED"), pod("RUNNING"))
    yotta = client_of()
    first = asyncio.create_task(yotta.pods.wait_until(7))
    while not server.received:
        await asyncio.sleep(0)
    second = asyncio.create_task(yotta.pods.wait_until(7))
    for _ in range(10):
        await asyncio.sleep(0)
    go_on.set()
    await first
    assert len(server.received) == 1
    assert not second.done()
    await second
    assert len(server.received) == 3


async def test_a_wait_is_not_ended_by_an_absence_that_was_asked_for_before_it(
    server: RawServer, client_of: Make
) -> None:
    go_on = asyncio.Event()
    missing = envelope(code=13000)

    async def held_back(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await missing(request, writer)

    server.answers(missing, held_back, pod("RUNNING"))
    yotta = client_of()
    first = asyncio.create_task(yotta.pods.wait_until(7))
    while len(server.received) < 2:
        await asyncio.sleep(0)
    second = asyncio.create_task(yotta.pods.wait_until(7))
    for _ in range(10):
        await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(PodGoneError):
        await first
    assert (await second).status == "RUNNING"


async def test_a_wait_after_resume_does_not_see_the_state_from_before(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC)
    background = asyncio.create_task(yotta.pods.wait_until(handle, status=PodStatus.TERMINATED))
    await handle.wait_until()
    await handle.pause()
    await handle.wait_until(status=PodStatus.PAUSED)
    await handle.resume()
    pod = await handle.wait_until(status=(PodStatus.PAUSED, PodStatus.INITIALIZE, PodStatus.RUNNING))
    assert pod.status != PodStatus.PAUSED
    background.cancel()


async def test_cancelling_one_waiter_disturbs_no_other(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC)
    waits = [asyncio.create_task(handle.wait_until()) for _ in range(5)]
    await asyncio.sleep(0)
    waits[0].cancel()
    waits[3].cancel()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert [isinstance(result, Pod) for result in results] == [False, True, True, False, True]


async def test_an_exception_of_on_change_reaches_its_own_waiter_only(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC)

    def fail(_: Pod) -> None:
        raise KeyError("mine")

    waits = [handle.wait_until(), handle.wait_until(on_change=fail), yotta.pods.wait_until(handle)]
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(result) for result in results] == [Pod, KeyError, Pod]


@pytest.mark.parametrize("way", ["gets", "list"])
async def test_a_401_ends_every_wait_within_a_tick(server: RawServer, client_of: Make, way: str) -> None:
    count = 3 if way == "gets" else 20
    first = [pod("INITIALIZE", number) for number in range(count)] if way == "gets" else [
        envelope([{"id": number, "status": "INITIALIZE"} for number in range(count)])
    ]  # fmt: skip

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        number = name_target(request)
        reply = first[0] if number == "list" else first[int(number)]
        await reply(request, writer)

    server.answers(*[answer] * len(first), http(b"", 401))
    yotta = client_of()
    results = await asyncio.gather(*(yotta.pods.wait_until(n) for n in range(count)), return_exceptions=True)
    assert {type(result) for result in results} == {AuthenticationError}
    assert len(server.received) <= 2 * len(first)


async def test_a_bad_id_ends_its_own_wait_only(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC)
    results = await asyncio.gather(yotta.pods.wait_until("letters"), handle.wait_until(), return_exceptions=True)
    assert [type(result) for result in results] == [BadRequestError, Pod]


async def test_a_pod_that_a_list_lost_is_asked_for_by_itself(server: RawServer, client_of: Make) -> None:
    there = [{"id": number, "status": "INITIALIZE"} for number in range(19)]

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        name = name_target(request)
        replies = {"list": envelope(there), "19": pod("RUNNING", 19), "20": envelope(code=13000)}
        await replies.get(name, pod("RUNNING", int(name) if name != "list" else 0))(request, writer)

    server.answers(answer)
    yotta = client_of()
    waits = {number: asyncio.create_task(yotta.pods.wait_until(number, timeout=3600)) for number in range(21)}
    assert (await waits.pop(19)).id == "19"
    with pytest.raises(PodGoneError):
        await waits.pop(20)
    assert sorted(name_target(request) for request in server.received) == ["19", "20", "list"]
    for wait in waits.values():
        wait.cancel()


async def test_a_pod_just_created_may_be_absent_for_a_while(server: RawServer, client_of: Make) -> None:
    missing = envelope(code=13000)
    server.answers(envelope(7), missing, missing, missing, pod("RUNNING"))
    yotta = client_of(poll_interval=5)
    handle = await yotta.pods.create(**SPEC)
    assert (await handle.wait_until()).status == "RUNNING"
    server.answers(envelope(7), missing)
    clock = make_clock("auto")
    yotta = client_of(poll_interval=5, clock=clock)
    handle = await yotta.pods.create(**SPEC)
    with pytest.raises(PodGoneError):
        await handle.wait_until()
    assert 55 <= clock.time() <= 72  # a minute, and two polls of 5.5 s at most
    server.answers(envelope(7), pod("INITIALIZE"), missing)
    handle = await client_of().pods.create(**SPEC)
    with pytest.raises(PodGoneError):
        await handle.wait_until()
    assert len(server.received) == 4, "once it has been seen, two responses without it are enough"
    server.answers(envelope(7), envelope(), missing)
    yotta = client_of()
    handle = await yotta.pods.create(**SPEC)
    await handle.delete()
    assert (await handle.wait_until(status=PodStatus.TERMINATED)).status == "TERMINATED"
    assert len(server.received) == 3, "its own delete is believed at once"


async def test_a_wait_for_several_statuses(server: RawServer, client_of: Make) -> None:
    server.answers(pod("RUNNING"), pod("FAILED"))
    found = await client_of().pods.wait_until(7, status=["PAUSED", PodStatus.FAILED, 4])
    assert found.status == "FAILED"


@pytest.mark.parametrize(
    "limited", [envelope(code=1, status=429, Retry_After="120"), http(b"", 503, {"Retry-After": "120"})]
)
async def test_retry_after_slows_everybody_down(server: RawServer, client_of: Make, limited: Reply) -> None:
    clock = make_clock("auto")
    server.answers(limited, pod("RUNNING"))
    yotta = client_of(clock=clock, poll_interval=1)
    await asyncio.gather(*(yotta.pods.wait_until(7) for _ in range(5)))
    assert 120 <= clock.time() <= 122
    assert len(server.received) == 2


async def test_429_without_retry_after_slows_down_ever_more(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    server.answers(*[http(b"", 429)] * 8, pod("RUNNING"))
    await client_of(clock=clock, poll_interval=1).pods.wait_until(7)
    assert clock.time() >= 1 + 2 + 4 + 8 + 16 + 32 + 60 + 60


@pytest.mark.one_version  # takes long
@pytest.mark.parametrize("ids", [[7], range(20)])
async def test_a_success_ends_the_backoff(server: RawServer, client_of: Make, ids: list[int] | range) -> None:
    clock = make_clock("auto")
    times: list[float] = []

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        times.append(clock.time())
        pods = [{"id": number, "status": "INITIALIZE"} for number in ids]
        shown = envelope(pods if name_call(request) == "list" else pods[0])
        await (shown if len(times) in (3, 5) else http(b"", 429))(request, writer)

    server.answers(answer)
    await client_of(clock=clock, poll_interval=2).pods.wait_many(ids, timeout=40)
    delays = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert delays[1] >= 4
    assert delays[3] < 4


@pytest.mark.parametrize("http_status", [429, 503])
@pytest.mark.parametrize("ids", [[7], range(20)])
async def test_a_deadline_is_kept_even_while_the_api_asks_to_wait(
    server: RawServer, client_of: Make, http_status: int, ids: list[int] | range
) -> None:
    clock = make_clock("auto")
    server.answers(http(b"", http_status, {"Retry-After": "3600"}))
    report = await client_of(clock=clock).pods.wait_many(ids, timeout=30)
    assert clock.time() == pytest.approx(30)
    error = report.failed[0].error
    assert isinstance(error, WaitTimeoutError)
    assert "; 1 polls, 1 of them failed; " in str(error), "and no other has begun"


async def test_each_waiter_has_its_own_deadline(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    server.answers(pod("INITIALIZE"))
    yotta = client_of(clock=clock, poll_interval=100)
    ends: dict[float, float] = {}

    async def wait(timeout: float) -> None:
        with pytest.raises(WaitTimeoutError, match=f"within {timeout:g} s"):
            await yotta.pods.wait_until(7, timeout=timeout)
        ends[timeout] = clock.time()

    await asyncio.gather(*(wait(timeout) for timeout in (10, 35, 20, 600)))
    assert ends == pytest.approx({10: 10, 20: 20, 35: 35, 600: 600})
    assert not await list_poller_tasks()


async def test_who_comes_between_ticks_is_served_at_once(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    server.answers(pod("INITIALIZE"), pod("RUNNING", 8))
    yotta = client_of(clock=clock, poll_interval=1000)
    waiting = asyncio.create_task(yotta.pods.wait_until(7, timeout=5000))
    while len(server.received) < 1:
        await asyncio.sleep(0)
    await yotta.pods.wait_until(8)
    assert clock.time() < 1
    assert [request.path[-1] for request in server.received] == ["7", "8"]
    waiting.cancel()


async def test_a_second_wait_for_a_pod_is_served_at_once(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    server.answers(pod("RUNNING"))
    yotta = client_of(clock=clock, poll_interval=1000)
    waiting = asyncio.create_task(yotta.pods.wait_until(7, status="PAUSED", timeout=5000))
    await clock.sleep(100)
    await yotta.pods.wait_until(7)
    assert clock.time() < 101
    assert len(server.received) == 2
    waiting.cancel()


async def test_the_shortest_interval_sets_the_pace(server: RawServer, client_of: Make) -> None:
    clock = ManualClock()
    server.answers(pod("INITIALIZE"))
    yotta = client_of(clock=clock, poll_interval=100)
    waits = [asyncio.create_task(yotta.pods.wait_until(7, poll_interval=interval)) for interval in (None, 10, 50)]
    await clock.advance(99)
    assert 10 <= len(server.received) <= 12
    waits[1].cancel()
    await clock.advance(1)
    count = len(server.received)
    await clock.advance(200)
    assert 3 <= len(server.received) - count <= 6
    for wait in waits:
        wait.cancel()


async def test_the_interval_of_a_wait_may_grow_with_its_age(server: RawServer, client_of: Make) -> None:
    clock = ManualClock()
    server.answers(pod("INITIALIZE"))
    yotta = client_of(clock=clock)
    await clock.advance(1000)
    ages: list[float] = []

    def back_off(age: float) -> float:
        ages.append(age)
        return 1 if age < 20 else 100

    waiting = asyncio.create_task(yotta.pods.wait_until(7, poll_interval=back_off, timeout=520))
    await clock.advance(20)
    assert 20 / 1.1 <= len(server.received) <= 1 + 20 / 0.9
    await clock.advance(490)
    late = len(server.received)
    assert 4 <= late - 20 / 1.1 <= 10
    assert ages[:2] == [0, 0], "when it begins, and before the first poll"
    assert ages == sorted(ages)
    assert 400 <= ages[-1] <= 510
    await clock.advance(20)
    with pytest.raises(WaitTimeoutError):
        await waiting
    assert late < len(server.received) <= late + 2
    count = len(server.received)
    await clock.advance(500)
    assert len(server.received) == count


async def test_a_function_for_the_interval_that_fails_ends_its_own_wait(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await pod("INITIALIZE" if clock.time() < 20 else "RUNNING")(request, writer)

    server.answers(answer)
    yotta = client_of(clock=clock)
    with pytest.raises(InvalidRequestError, match="poll_interval"):
        await yotta.pods.wait_until(7, poll_interval=lambda _: 0)
    assert not server.received
    results = await asyncio.gather(
        yotta.pods.wait_until(7, poll_interval=lambda age: 1 / (age < 4)),
        yotta.pods.wait_until(7, poll_interval=lambda age: 1 - age / 100 if age < 4 else -1),
        yotta.pods.wait_until(7, poll_interval=40),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [ZeroDivisionError, InvalidRequestError, Pod]
    assert clock.time() >= 36, "the interval of the others is over with them"


async def test_closing_the_client_ends_every_wait(server: RawServer, client_of: Make) -> None:
    server.answers(pod("INITIALIZE"))
    yotta = client_of(clock=ManualClock())
    waits = [asyncio.create_task(yotta.pods.wait_until(7)) for _ in range(3)]
    while not server.received:
        await asyncio.sleep(0)
    await yotta.aclose()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(result) for result in results} == {ConfigurationError}


async def test_wait_sees_pods_with_unreadable_fields_in_lists(server: RawServer, client_of: Make) -> None:
    pods: list[dict[str, Any]] = [{"id": number, "status": "RUNNING"} for number in range(20)]
    pods[3] = {"id": 3, "status": {}}
    pods[4] = {"id": "4", "status": 1, "gpuCount": "many"}

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        name = name_target(request)
        await envelope(pods if name == "list" else pods[int(name)])(request, writer)

    server.answers(answer)
    yotta = client_of()
    report = await yotta.pods.wait_many(range(20), timeout=60)
    [failed] = report.failed
    assert failed.pod_id == "3"
    assert isinstance(failed.error, WaitTimeoutError)
    assert failed.error.last_error is None
    assert failed.error.last_pod is not None
    assert (failed.error.last_pod.status, failed.error.last_pod.unreadable) == (None, ("status",))
    assert report.items[4].pod is not None
    assert report.items[4].pod.unreadable == ("gpuCount",)


async def test_an_error_tells_the_pod_as_the_last_list_showed_it(server: RawServer, client_of: Make) -> None:
    server.answers(
        envelope([{"id": number, "status": "INITIALIZE", "podName": f"n{number}"} for number in range(20)]), reset
    )
    report = await client_of().pods.wait_many(range(20), timeout=60)
    assert [item.pod.pod_name for item in report.items if item.pod] == [f"n{number}" for number in range(20)]


async def test_short_waits_do_not_put_off_the_others_tick(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        late = request.path.endswith("7") and clock.time() < 10
        await pod("INITIALIZE" if late else "RUNNING", int(name_target(request)))(request, writer)

    server.answers(answer)
    yotta = client_of(clock=clock, poll_interval=5)
    waiting = asyncio.create_task(yotta.pods.wait_until(7))
    while not waiting.done():
        await yotta.pods.wait_until(8)
        await clock.sleep(1)
        assert clock.time() < 20
    assert (await waiting).id == "7"


@pytest.mark.one_version  # takes long
@pytest.mark.parametrize("answered", [0, 1])
async def test_a_request_that_hangs_holds_up_no_other_pod(server: RawServer, client_of: Make, answered: int) -> None:
    def count(number: int) -> int:
        return sum(name_target(request) == str(number) for request in server.received)

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        number = int(name_target(request))
        if number == 7 and count(7) > answered:
            await silence(request, writer)
        is_starting = number == 7 or (number == 8 and count(8) < 3)
        await pod("INITIALIZE" if is_starting else "RUNNING", number)(request, writer)

    server.answers(answer)
    yotta = client_of(clock=None, poll_interval=0.4)  # real time: no other moves while a call is in flight
    hanging = asyncio.create_task(yotta.pods.wait_until(7))
    assert (await yotta.pods.wait_until(8, timeout=20)).id == "8"
    assert (await yotta.pods.wait_until(9, timeout=20)).id == "9"
    assert count(7) == 2, "one that was not answered is repeated once, until there is an answer"
    hanging.cancel()
    await asyncio.wait({hanging})
    assert not await list_poller_tasks()


@pytest.mark.parametrize("ids", [[7], range(20)])
async def test_a_request_ends_with_the_last_wait_for_it(
    server: RawServer, client_of: Make, caplog: pytest.LogCaptureFixture, ids: list[int] | range
) -> None:
    server.answers(silence)
    waiting = asyncio.create_task(client_of().pods.wait_many(ids))
    while not server.received:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert not await list_poller_tasks()
    assert not caplog.records


async def test_a_clock_that_fails_ends_every_wait(server: RawServer, client_of: Make) -> None:
    class BrokenClock(AheadClock):
        def time(self) -> float:
            if server.received:
                raise KeyError("mine")
            return super().time()

    server.answers(pod("INITIALIZE"))
    yotta = client_of(clock=BrokenClock(ManualClock()))
    results = await asyncio.gather(*(yotta.pods.wait_until(7) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [KeyError] * 3


async def test_a_long_wait_keeps_no_requests_that_have_ended(server: RawServer, client_of: Make) -> None:
    server.answers(pod("INITIALIZE"))
    with pytest.raises(WaitTimeoutError):
        await client_of(poll_interval=1).pods.wait_until(7, timeout=50)
    gc.collect()
    tasks = [each for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    assert len([task for task in tasks if "StatusPoller" in repr(task)]) < 10, "of more than fifty"


@pytest.mark.one_version  # takes long
@pytest.mark.parametrize(("limit", "interval"), [(0.01, 1000), (1000, 0.4)])
async def test_others_wait_for_a_request_that_hangs_no_longer_than_an_interval_or_a_limit(
    server: RawServer, client_of: Make, monkeypatch: pytest.MonkeyPatch, limit: float, interval: float
) -> None:
    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await (silence if name_target(request) == "7" else pod("RUNNING", 8))(request, writer)

    monkeypatch.setattr(poller, "_MAX_GET_DELAY_S", limit)
    server.answers(answer)
    yotta = client_of(clock=None, poll_interval=interval)
    hanging = asyncio.create_task(yotta.pods.wait_until(7))
    while not server.received:
        await asyncio.sleep(0)
    assert (await yotta.pods.wait_until(8, timeout=20)).id == "8"
    hanging.cancel()


@pytest.mark.one_version  # takes long
async def test_polls_go_on_while_every_request_hangs(server: RawServer, client_of: Make) -> None:
    server.answers(silence)
    with pytest.raises(WaitTimeoutError, match="Seen: nothing; 0 polls, 0 of them failed, . more requests are unan"):
        await client_of(clock=None, poll_interval=0.02).pods.wait_until(7, timeout=0.2)
    assert len(server.received) <= 2


async def test_absence_does_not_become_a_storm(server: RawServer, client_of: Make) -> None:
    limited = http(b"", 429, {"Retry-After": "30"})

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await (envelope([]) if name_call(request) == "list" else limited)(request, writer)

    server.answers(answer)
    clock = make_clock("auto")
    report = await client_of(clock=clock, poll_interval=1).pods.wait_many(range(600), timeout=29)
    assert len(report.failed) == 600
    assert len(server.received) <= 1 + 16
    assert not [item for item in report.failed if "unanswered" in str(item.error)], "nor are any others queued"


async def test_nobody_asks_for_pods_whose_waits_are_over(server: RawServer, client_of: Make) -> None:
    go_on = asyncio.Event()

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        if name_call(request) != "list":
            await go_on.wait()
        await (envelope([]) if name_call(request) == "list" else pod("INITIALIZE"))(request, writer)

    server.answers(answer)
    yotta = client_of()
    waits = [asyncio.create_task(yotta.pods.wait_until(number)) for number in range(100)]
    while len(server.received) < 17:
        await asyncio.sleep(0)
    for wait in waits[1:]:
        wait.cancel()
    await asyncio.wait(waits[1:])
    go_on.set()
    for _ in range(200):
        await asyncio.sleep(0)
    assert len({request.path for request in server.received}) <= 18
    waits[0].cancel()


async def test_a_filter_that_is_refused_is_not_used_again(server: RawServer, client_of: Make) -> None:
    old = [{"id": 1000 + number, "status": "TERMINATED"} for number in range(400)]
    new = [{"id": number, "status": "INITIALIZE"} for number in range(40)]
    clock = make_clock("auto")
    times: list[float] = []

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        times.append(clock.time())
        if "statusList" in request.target:
            await envelope(code=10001, status=400)(request, writer)
            return
        status = "RUNNING" if len(times) > 6 else "INITIALIZE"
        await envelope(old + [each | {"status": status} for each in new])(request, writer)

    server.answers(answer)
    report = await client_of(clock=clock).pods.wait_many(range(40))
    assert len(report.succeeded) == 40
    [refused] = [number for number, request in enumerate(server.received) if "statusList" in request.target]
    assert times[refused + 1] == times[refused], "a list without the filter follows at once"


def test_a_wait_on_another_loop_says_so(unused_tcp_port: int) -> None:
    yotta = YottaClient(KEY, base_url=f"http://127.0.0.1:{unused_tcp_port}")

    async def wait(timeout: float) -> None:
        await yotta.pods.wait_until(7, timeout=timeout)

    with pytest.raises(WaitTimeoutError):
        asyncio.run(wait(0.05))
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(wait(60))
    asyncio.run(yotta.aclose())


@pytest.mark.parametrize("way", ["wait", "watch"])
async def test_a_wait_on_another_loop_is_refused_while_the_first_one_polls(
    server: RawServer, client_of: Make, way: str
) -> None:
    server.answers(pod("INITIALIZE"))
    clock = ManualClock()
    yotta = client_of(clock=clock)
    waiting = asyncio.create_task(yotta.pods.wait_until(7, timeout=5))
    await clock.advance(1)

    async def wait_elsewhere() -> None:
        async with asyncio.timeout(10):
            if way == "wait":
                await yotta.pods.wait_until(7)
            async with aclosing(yotta.pods.watch()) as events:
                await anext(events)

    with pytest.raises(ConfigurationError, match="another event loop"):
        await asyncio.to_thread(asyncio.run, wait_elsewhere())
    await clock.advance(5)
    with pytest.raises(WaitTimeoutError):
        await waiting


@pytest.mark.parametrize("way", ["close", "401"])
@pytest.mark.parametrize("pod_ids", [None, [1]])
async def test_nothing_goes_on_behind_a_reader_that_is_idle(
    server: RawServer, client_of: Make, way: str, pod_ids: list[int] | None
) -> None:
    clock = ManualClock()
    server.answers(envelope({"id": 1} if pod_ids else [{"id": 1}]), http(b"", 401))
    yotta = client_of(clock=clock, poll_interval=1)
    events = yotta.pods.watch(pod_ids)
    await anext(events)
    if way == "close":
        await yotta.aclose()
    await clock.advance(10)
    assert len(server.received) == (1 if way == "close" else 2)
    assert not await list_poller_tasks()
    await events.aclose()


async def test_a_wait_cancelled_at_once_leaves_no_complaint(server: RawServer, client_of: Make) -> None:
    server.answers(pod("INITIALIZE"))
    yotta = client_of()
    for turns in range(8):
        wait = asyncio.create_task(yotta.pods.wait_until(7))
        for _ in range(turns):
            await asyncio.sleep(0)
        wait.cancel()
        await asyncio.wait({wait})
    gc.collect()


async def test_each_waiter_gets_an_error_of_its_own(server: RawServer, client_of: Make) -> None:
    server.answers(http(b"", 401))
    yotta = client_of()
    results = await asyncio.gather(*(yotta.pods.wait_until(7) for _ in range(50)), return_exceptions=True)
    assert len({id(result) for result in results}) == 50
    assert all(isinstance(result, AuthenticationError) and result.http_status == 401 for result in results)
    assert all(
        len(traceback.extract_tb(result.__traceback__)) < 10 for result in results if isinstance(result, Exception)
    )


async def test_an_absence_that_a_later_answer_has_overtaken_is_no_news(server: RawServer, client_of: Make) -> None:
    go_on = asyncio.Event()

    async def late(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await envelope(code=13000)(request, writer)

    server.answers(late, pod("INITIALIZE"), pod("RUNNING"))
    yotta = client_of(clock=None, poll_interval=0.4)  # real time: no other moves while a call is in flight
    first = asyncio.create_task(yotta.pods.wait_until(7, timeout=20))
    while not server.received:
        await asyncio.sleep(0)
    seen: list[Pod] = []
    second = asyncio.create_task(yotta.pods.wait_until(7, timeout=20, on_change=seen.append))
    while not seen:
        await asyncio.sleep(0.01)
    go_on.set()
    assert [found.status for found in await asyncio.gather(first, second)] == ["RUNNING", "RUNNING"]
