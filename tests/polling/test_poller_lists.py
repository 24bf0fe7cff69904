"""Polls by lists, whole and filtered: what a list does not show, lists that fail, and who takes which list."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing

import pytest

from tests.calls import name_target
from tests.conftest import SPEC
from tests.raw_server import RawServer, RecordedRequest, Reply, envelope, http, silence_on
from yotta_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    Pod,
    PodStatus,
    ProtocolError,
    WaitTimeoutError,
    YottaClient,
)
from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.emulator.clock import ManualClock, make_clock

pytestmark = pytest.mark.both_versions

Make = Callable[..., YottaClient]

MANY = range(20)  # more pods than are polled one by one while the size of the account is not known
NUMBERS = {"0": "INITIALIZE", "1": "RUNNING", "2": "PAUSING", "3": "PAUSED", "4": "TERMINATING", "6": "FAILED"}


def listed(status: str, ids: range = MANY) -> Reply:
    return envelope([{"id": number, "status": status, "podName": f"n{number}"} for number in ids])


def hold_back(reply: Reply, go_on: asyncio.Event) -> Reply:
    """Return a reply that is sent when the event is set."""

    async def send(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await reply(request, writer)

    return send


def count_calls(server: RawServer) -> Counter[str]:
    """How many whole lists, filtered lists and gets there were."""
    return Counter(
        ("filtered" if "statusList" in request.target else "list") if name_target(request) == "list" else "get"
        for request in server.received
    )


class Account:
    """A server with an account of pods, whose lists understand filters. `on_request` is called before each reply."""

    def __init__(self, server: RawServer, pods: dict[int, str], terminated: int = 0) -> None:
        self.pods = pods | {10_000 + number: "TERMINATED" for number in range(terminated)}
        self.unlisted: set[int] = set()
        self.on_request: Callable[[RecordedRequest], Reply | None] = lambda _: None
        server.answers(self)

    async def __call__(self, request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        reply, name = self.on_request(request), name_target(request)
        if reply is None and name == "list":
            wanted = {NUMBERS[part] for part in request.target.partition("=")[2].split(",") if part in NUMBERS}
            wanted |= {NUMBERS[part[-1]] for part in request.target.split("&")[1:]}
            reply = envelope([
                {"id": number, "status": status} for number, status in self.pods.items()
                if number not in self.unlisted and (not wanted or status in wanted)
            ])  # fmt: skip
        elif reply is None:
            status = self.pods.get(int(name))
            reply = envelope({"id": name, "status": status}) if status else envelope(code=13000)
        await reply(request, writer)


@pytest.mark.parametrize(("missing", "calls"), [(3, {"filtered": 1, "get": 3}), (40, {"filtered": 1, "list": 1})])
async def test_pods_that_a_filtered_list_does_not_show_are_polled_the_cheapest_way(
    server: RawServer, client_of: Make, missing: int, calls: dict[str, int]
) -> None:
    clock = ManualClock()
    account = Account(server, dict.fromkeys(range(40), "INITIALIZE"), terminated=4000)
    waiting = asyncio.create_task(client_of(clock=clock).pods.wait_many(range(40)))
    await clock.advance(12)
    assert count_calls(server) == {"list": 1, "filtered": 2}
    account.pods.update(dict.fromkeys(range(missing), "PREPARING"))
    server.received.clear()
    while not server.received:
        await clock.advance(1)
    assert count_calls(server) == calls
    account.pods.update(dict.fromkeys(range(40), "RUNNING"))
    await clock.advance(12)
    assert len((await waiting).succeeded) == 40


async def test_a_status_that_most_pods_have_is_not_filtered_for(server: RawServer, client_of: Make) -> None:
    clock = ManualClock()
    Account(server, dict.fromkeys(range(1100), "INITIALIZE"), terminated=2000)
    waiting = asyncio.create_task(client_of(clock=clock, poll_interval=2).pods.wait_many(range(12)))
    await clock.advance(3)
    server.received.clear()  # the second one is filtered: pods just seen in a status make it likely for others
    await clock.advance(6)
    assert set(count_calls(server)) == {"list"}
    waiting.cancel()


async def test_a_filter_includes_the_status_that_many_pods_reach(server: RawServer, client_of: Make) -> None:
    clock = ManualClock()
    account = Account(server, dict.fromkeys(range(40), "INITIALIZE"), terminated=4000)
    account.pods.update(dict.fromkeys(range(100, 110), "RUNNING"))
    waiting = asyncio.create_task(client_of(clock=clock).pods.wait_many(range(40)))
    await clock.advance(1)
    account.pods.update(dict.fromkeys(range(5), "RUNNING"))
    for _ in range(2):
        server.received.clear()
        while not server.received:
            await clock.advance(1)
    assert re.search(r"statusList=0(,|&statusList=)1$", server.received[0].target)
    waiting.cancel()


async def test_a_filtered_list_that_is_refused_for_the_key_ends_every_wait(server: RawServer, client_of: Make) -> None:
    account = Account(server, dict.fromkeys(range(40), "INITIALIZE"), terminated=4000)
    account.on_request = lambda request: http(b"", 401) if "statusList" in request.target else None
    report = await client_of().pods.wait_many(range(40))
    assert {type(item.error) for item in report.failed} == {AuthenticationError}
    assert count_calls(server) == {"list": 1, "filtered": 1}


@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadRequestError), (401, AuthenticationError), (403, PermissionDeniedError)]
)
async def test_a_whole_list_that_is_refused_ends_every_wait(
    server: RawServer, client_of: Make, status: int, kind: type[APIError]
) -> None:
    server.answers(envelope(code=10001, status=status))
    report = await client_of().pods.wait_many(MANY)
    assert [type(item.error) for item in report.failed] == [kind] * len(MANY)
    assert len(server.received) == 1


async def test_an_error_counts_the_lists_that_failed(server: RawServer, client_of: Make) -> None:
    server.answers(listed("INITIALIZE"), http(b"<html>", 502))
    report = await client_of(poll_interval=5).pods.wait_many(MANY, timeout=60)
    error = report.failed[0].error
    assert isinstance(error, WaitTimeoutError)
    assert isinstance(error.last_error, ProtocolError)
    polls = len(server.received)
    assert f"; {polls} polls, {polls - 1} of them failed; the last error was ProtocolError: " in str(error)


@pytest.mark.parametrize("ids", [[7], MANY])
async def test_an_error_tells_of_a_request_that_is_not_answered(
    server: RawServer, client_of: Make, ids: list[int] | range
) -> None:
    clock = make_clock("auto")
    shown = listed("INITIALIZE") if len(ids) > 1 else envelope({"id": 7, "status": "INITIALIZE"})
    server.answers(shown, silence_on(clock))
    yotta = client_of(clock=clock, timeout=1000)
    report = await yotta.pods.wait_many(ids, timeout=10)
    expected = "; 1 polls, 0 of them failed, 1 more requests are unanswered"
    assert str(report.failed[0].error).endswith(expected), "and nothing of a last error"


async def test_an_error_tells_the_pod_as_the_last_list_showed_it_to_on_change(
    server: RawServer, client_of: Make
) -> None:
    server.answers(listed("INITIALIZE"), http(b"<html>", 502))
    yotta = client_of()
    seen: list[Pod] = []
    waits = [yotta.pods.wait_until(number, timeout=20, on_change=seen.append) for number in MANY]
    errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [pod.pod_name for pod in seen] == [f"n{number}" for number in MANY], "once for each change"
    assert all(isinstance(error, WaitTimeoutError) and error.last_pod in seen for error in errors)


async def test_a_pod_of_a_list_is_built_only_when_it_ends_a_wait(
    server: RawServer, client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    build = PodListSnapshot.pod

    def count(snapshot: PodListSnapshot, index: int) -> Pod | None:
        built.append(index)
        return build(snapshot, index)

    monkeypatch.setattr(PodListSnapshot, "pod", count)
    server.answers(*[listed("INITIALIZE")] * 5, listed("RUNNING"))
    await client_of().pods.wait_many(MANY)
    assert built == [*MANY]


async def test_a_wait_is_not_satisfied_by_a_list_that_was_asked_for_before_it(
    server: RawServer, client_of: Make
) -> None:
    go_on = asyncio.Event()
    server.answers(hold_back(listed("RUNNING"), go_on), listed("PAUSED"), listed("RUNNING"))
    yotta = client_of()
    first = asyncio.create_task(yotta.pods.wait_many(MANY))
    while not server.received:
        await asyncio.sleep(0)
    seen: list[Pod] = []
    waits = [yotta.pods.wait_until(number, on_change=seen.append) for number in MANY]
    second = asyncio.gather(*waits)
    async with aclosing(yotta.pods.watch()) as events:
        event = asyncio.ensure_future(anext(events))
        for _ in range(10):
            await asyncio.sleep(0)
        go_on.set()
        await first
        assert not seen
        assert not event.done()
        assert (await event).pod.status == "PAUSED"
    await second
    assert len(server.received) == 3


async def test_an_absence_from_a_list_that_was_asked_for_before_a_wait_does_not_count(
    server: RawServer, client_of: Make
) -> None:
    go_on = asyncio.Event()
    server.answers(hold_back(listed("RUNNING"), go_on), envelope(code=13000), envelope({"id": 50, "status": "RUNNING"}))
    yotta = client_of()
    first = asyncio.create_task(yotta.pods.wait_many(MANY))
    while not server.received:
        await asyncio.sleep(0)
    second = asyncio.create_task(yotta.pods.wait_until(50))
    for _ in range(10):
        await asyncio.sleep(0)
    go_on.set()
    await first
    assert (await second).status == "RUNNING"
    assert len(server.received) == 3


async def test_of_pods_just_created_that_a_list_lacks_only_some_are_asked_for(
    server: RawServer, client_of: Make
) -> None:
    account = Account(server, dict.fromkeys(range(60), "RUNNING"))
    account.unlisted = set(range(60))
    created = iter(range(40))
    account.on_request = lambda request: create(request, next(created)) if name_target(request) == "create" else None

    def create(request: RecordedRequest, number: int) -> Reply:
        return envelope({"id": number} if request.path.startswith("/v2") else number)

    yotta = client_of()
    for _ in range(40):
        await yotta.pods.create(**SPEC)
    server.received.clear()
    report = await yotta.pods.wait_many(range(60))
    assert len(report.succeeded) == 60
    targets = [name_target(request) for request in server.received]
    first_poll = targets[: targets.index("list", 1)] if targets.count("list") > 1 else targets
    assert sum(int(name) >= 40 for name in first_poll[1:]) == 20, "every old one"
    assert sum(int(name) < 40 for name in first_poll[1:]) == 16


async def test_an_item_without_an_id_does_no_harm(server: RawServer, client_of: Make) -> None:
    server.answers(envelope([{"status": "RUNNING"}, *({"id": number, "status": "RUNNING"} for number in MANY)]))
    report = await client_of().pods.wait_many(MANY)
    assert len(report.succeeded) == len(MANY)


async def test_a_pod_that_cannot_be_read_in_a_list_is_asked_for_by_itself(server: RawServer, client_of: Make) -> None:
    pods = [{"id": number, "status": "RUNNING", "podName": "NAME" if number == 3 else "n"} for number in MANY]
    body = json.dumps({"message": "success", "code": 10000, "data": pods}).encode().replace(b"NAME", b"\xff")
    three = envelope({"id": 3, "status": "RUNNING", "podName": "three"})
    server.answers(http(body), three)
    clock = make_clock("auto")
    report = await client_of(clock=clock).pods.wait_many(MANY)
    assert [item.pod.pod_name for item in report.items if item.pod][3] == "three"
    assert [name_target(request) for request in server.received] == ["list", "3"]
    assert clock.time() < 1
    server.answers(listed("INITIALIZE"), http(body), three)
    report = await client_of().pods.wait_many(MANY)
    assert [item.pod.pod_name for item in report.items if item.pod][3] == "three"


async def test_waits_that_have_ended_do_not_count_when_the_way_to_poll_is_chosen(
    server: RawServer, client_of: Make
) -> None:
    Account(server, dict.fromkeys(range(100), "RUNNING"))
    clock = make_clock("auto")
    yotta = client_of(clock=clock)
    await yotta.pods.wait_many(range(100))
    await clock.sleep(100)
    server.received.clear()
    await yotta.pods.wait_until(7)
    assert count_calls(server) == {"get": 1}


async def test_a_list_for_new_waits_puts_off_the_next_one(server: RawServer, client_of: Make) -> None:
    clock = ManualClock()
    server.answers(listed("INITIALIZE", range(40)))
    yotta = client_of(clock=clock, poll_interval=10)
    waits = [asyncio.create_task(yotta.pods.wait_many(range(20)))]
    await clock.advance(5)
    waits.append(asyncio.create_task(yotta.pods.wait_many(range(20, 40))))
    await clock.advance(8)
    assert len(server.received) == 2
    await clock.advance(4)
    assert len(server.received) == 3
    for wait in waits:
        wait.cancel()


async def test_a_watch_that_ends_leaves_the_waits_at_their_own_pace(server: RawServer, client_of: Make) -> None:
    clock = ManualClock()
    account = Account(server, {7: "INITIALIZE"})
    yotta = client_of(clock=clock, poll_interval=1)
    waiting = asyncio.create_task(yotta.pods.wait_until(7, poll_interval=30))
    async with aclosing(yotta.pods.watch()) as events:
        await anext(events)
        await clock.advance(20)
        assert count_calls(server)["list"] >= 18
    server.received.clear()
    await clock.advance(60)
    assert set(count_calls(server)) == {"get"}
    assert 1 <= len(server.received) <= 3
    account.pods[7] = PodStatus.RUNNING
    await clock.advance(60)
    assert (await waiting).status == "RUNNING"
