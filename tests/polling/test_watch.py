"""Added, changed, removed: to a quick reader each, to a slow one merged, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from tests.calls import name_call, name_target
from tests.conftest import SPEC
from tests.parts import list_poller_tasks
from tests.raw_server import RawServer, RecordedRequest, Reply, envelope, http, reset
from yotta_async import AuthenticationError, InvalidRequestError, PodEvent, YottaClient
from yotta_async.emulator import Emulator, Timings
from yotta_async.emulator.clock import ManualClock

pytestmark = pytest.mark.both_versions

Make = Callable[..., YottaClient]


def describe(event: PodEvent) -> tuple[str, str, str | None, str | None]:
    return (event.kind, event.pod.id, event.previous.status if event.previous else None, event.pod.status)


async def test_a_pod_is_followed_through_its_life() -> None:
    timings = Timings(initialize=10.0, terminating=10.0, terminated=100.0)
    async with Emulator(clock="auto", timings=timings) as emulator, emulator.client() as yotta:
        first = await yotta.pods.create(**SPEC)
        async with aclosing(yotta.pods.watch()) as events:
            assert describe(await anext(events)) == ("added", first.id, None, "INITIALIZE")
            second = await yotta.pods.create(**SPEC)
            assert describe(await anext(events)) == ("added", second.id, None, "INITIALIZE")
            run = {describe(await anext(events)) for _ in range(2)}
            assert run == {("changed", handle.id, "INITIALIZE", "RUNNING") for handle in (first, second)}
            await first.delete()
            rest = [describe(await anext(events)) for _ in range(3)]
        assert rest == [
            ("changed", first.id, "RUNNING", "TERMINATING"),
            ("changed", first.id, "TERMINATING", "TERMINATED"),
            ("removed", first.id, "TERMINATED", "TERMINATED"),
        ]


async def test_named_pods_only(emulator: Emulator, yotta: YottaClient) -> None:
    handles = [await yotta.pods.create(**SPEC) for _ in range(3)]
    async with aclosing(yotta.pods.watch([handles[1], handles[1].id])) as events:
        assert describe(await anext(events)) == ("added", handles[1].id, None, "INITIALIZE")
        assert describe(await anext(events)) == ("changed", handles[1].id, "INITIALIZE", "RUNNING")
    assert not any(name_call(request) == "list" for request in emulator.requests)


async def test_any_field_counts(server: RawServer, client_of: Make) -> None:
    def pod(**fields: Any) -> Reply:
        return envelope([{"id": 7, "status": "RUNNING", **fields}])

    server.answers(pod(), pod(), pod(podName="new"), pod(podName="new", expose=[{"port": 1, "healthy": True}]))
    async with aclosing(client_of().pods.watch()) as events:
        await anext(events)
        assert (await anext(events)).pod.pod_name == "new"
        event = await anext(events)
    assert event.previous is not None
    assert (event.previous.expose, event.pod.expose[0].healthy) == ((), True)


class Account:
    """A server whose pods the test changes; a list can lose some that a get finds."""

    def __init__(self, server: RawServer) -> None:
        self.pods: dict[int, str] = {}
        self.lost: set[int] = set()
        server.answers(self)

    async def __call__(self, request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        name = name_target(request)
        listed = [{"id": number, "status": status} for number, status in self.pods.items() if number not in self.lost]
        reply = envelope(listed)
        if name != "list":
            status = self.pods.get(int(name))
            reply = envelope({"id": name, "status": status}) if status else envelope(code=13000)
        await reply(request, writer)


async def test_a_slow_reader_gets_the_newest_state_with_what_was_between_merged(
    server: RawServer, client_of: Make
) -> None:
    account, clock = Account(server), ManualClock()
    account.pods = {1: "INITIALIZE", 2: "RUNNING", 3: "RUNNING"}
    async with aclosing(client_of(clock=clock, poll_interval=1).pods.watch()) as events:
        assert [describe(await anext(events))[0] for _ in range(3)] == ["added"] * 3
        for status in ("PREPARING", "RUNNING", "PAUSING", "PAUSED"):
            account.pods[1] = status
            account.pods[4] = status
            account.pods[5] = status
            account.pods[2] = status if status != "PAUSED" else "RUNNING"
            account.pods.pop(3, None)
            await clock.advance(2)
        del account.pods[5]
        await clock.advance(2)
        found = {describe(await anext(events)) for _ in range(3)}
        assert found == {
            ("changed", "1", "INITIALIZE", "PAUSED"),
            ("removed", "3", "RUNNING", "RUNNING"),
            ("added", "4", None, "PAUSED"),
        }, "pod 2 is as it was, and pod 5 came and went"
        account.pods[4] = "RUNNING"
        later = asyncio.ensure_future(anext(events))
        await clock.advance(2)
        assert describe(await later) == ("changed", "4", "PAUSED", "RUNNING")


async def test_a_pod_that_a_list_lost_is_not_removed(server: RawServer, client_of: Make) -> None:
    account, clock = Account(server), ManualClock()
    account.pods = {1: "RUNNING", 2: "RUNNING"}
    async with aclosing(client_of(clock=clock, poll_interval=1).pods.watch()) as events:
        assert {describe(await anext(events))[1] for _ in range(2)} == {"1", "2"}
        account.lost = {1, 2}
        await clock.advance(3)
        account.pods[1] = "PAUSED"
        del account.pods[2]
        await clock.advance(3)
        account.lost = set()
        await clock.advance(3)
        found = {describe(await anext(events)) for _ in range(2)}
        assert found == {("changed", "1", "RUNNING", "PAUSED"), ("removed", "2", "RUNNING", "RUNNING")}
        server.received.clear()
        await clock.advance(5)
        assert {name_target(request) for request in server.received} == {"list"}, "nothing is asked for by itself now"
        account.lost = {1}
        await clock.advance(3)
    server.received.clear()
    await clock.advance(10)
    assert not server.received


async def test_a_named_pod_that_is_gone_is_removed_once_and_added_when_it_is_back(
    server: RawServer, client_of: Make
) -> None:
    account, clock = Account(server), ManualClock()
    account.pods = {1: "RUNNING"}
    async with aclosing(client_of(clock=clock, poll_interval=1).pods.watch(["1"])) as events:
        first = asyncio.ensure_future(anext(events))
        await clock.advance(1)
        assert describe(await first) == ("added", "1", None, "RUNNING")
        del account.pods[1]
        await clock.advance(10)
        assert describe(await anext(events)) == ("removed", "1", "RUNNING", "RUNNING")
        back = asyncio.ensure_future(anext(events))
        await clock.advance(5)
        assert not back.done()
        account.pods[1] = "PAUSED"
        await clock.advance(5)
        assert describe(await back) == ("added", "1", None, "PAUSED")
    server.received.clear()
    await clock.advance(10)
    assert not server.received


async def test_an_item_without_an_id_hides_no_other(server: RawServer, client_of: Make) -> None:
    server.answers(envelope([{"status": "RUNNING"}, {"id": 1, "status": "RUNNING"}]))
    async with aclosing(client_of().pods.watch()) as events:
        assert describe(await anext(events)) == ("added", "1", None, "RUNNING")


async def test_events_come_in_the_order_of_the_last_changes_and_before_an_error(
    server: RawServer, client_of: Make
) -> None:
    account, clock = Account(server), ManualClock()
    account.pods = {1: "RUNNING", 2: "RUNNING"}
    async with aclosing(client_of(clock=clock, poll_interval=1).pods.watch()) as events:
        assert [(await anext(events)).pod.id for _ in range(2)] == ["1", "2"]
        for pod_id, status in ((1, "PAUSING"), (2, "PAUSING"), (1, "PAUSED")):
            account.pods[pod_id] = status
            await clock.advance(2)
        server.answers(http(b"", 401))
        await clock.advance(2)
        assert describe(await anext(events)) == ("changed", "2", "RUNNING", "PAUSING")
        assert describe(await anext(events)) == ("changed", "1", "RUNNING", "PAUSED")
        with pytest.raises(AuthenticationError):
            await anext(events)


@pytest.mark.parametrize("pod_ids", [None, [1]])
async def test_failures_that_may_pass_are_borne_and_others_raised(
    server: RawServer, client_of: Make, pod_ids: list[int] | None
) -> None:
    found = envelope({"id": 1} if pod_ids else [{"id": 1}])
    server.answers(http(b"", 502), reset, found, http(b"", 401))
    async with aclosing(client_of().pods.watch(pod_ids)) as events:
        assert (await anext(events)).kind == "added"
        with pytest.raises(AuthenticationError):
            await anext(events)


@pytest.mark.parametrize("way", ["close", "cancel", "break"])
async def test_nothing_is_sent_after_the_end(way: str) -> None:
    async with Emulator(clock="manual") as emulator, emulator.client(poll_interval=1) as yotta:
        await yotta.pods.create(**SPEC)

        async def read() -> None:
            async with aclosing(yotta.pods.watch()) as events:
                async for _ in events:
                    if way == "break":
                        break

        reading = asyncio.create_task(read())
        await emulator.clock.advance(3)
        if way == "close":
            await yotta.aclose()
        if way == "cancel":
            reading.cancel()
        await asyncio.wait({reading})
        assert not await list_poller_tasks()
        count = len(emulator.requests)
        await emulator.clock.advance(60)
        assert len(emulator.requests) == count


async def test_watching_and_waiting_share_a_poll(emulator: Emulator, yotta: YottaClient) -> None:
    handles = [await yotta.pods.create(**SPEC) for _ in range(5)]
    async with aclosing(yotta.pods.watch()) as events:
        reading = asyncio.ensure_future(anext(events))
        await asyncio.gather(*(handle.wait_until() for handle in handles))
        await reading
    assert {name_target(request) for request in emulator.requests} == {"create", "list"}


@pytest.mark.parametrize("wrong", ["331", 7, ["a/b"], [None]])
async def test_what_cannot_be_watched_is_refused(yotta: YottaClient, wrong: Any) -> None:
    with pytest.raises(InvalidRequestError):
        yotta.pods.watch(wrong)
