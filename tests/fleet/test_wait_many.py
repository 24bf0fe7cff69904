"""Waiting for many: the order given, and one pod's failure ends no other's wait."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable

import pytest

from tests.conftest import SPEC
from tests.raw_server import RawServer, RecordedRequest, envelope
from yotta_async import (
    FanOutError,
    FanOutItem,
    InvalidRequestError,
    PodFailedError,
    PodGoneError,
    PodStatus,
    WaitTimeoutError,
    YottaClient,
)
from yotta_async.emulator import Emulator

pytestmark = pytest.mark.both_versions

Make = Callable[..., YottaClient]


async def test_results_come_in_the_order_given_and_events_as_they_happen(
    emulator: Emulator, yotta: YottaClient
) -> None:
    handles = [await yotta.pods.create(**SPEC) for _ in range(12)]
    events: list[FanOutItem] = []
    report = await yotta.pods.wait_many(reversed(handles), on_event=events.append)
    assert [item.pod_id for item in report.items] == [handle.id for handle in reversed(handles)]
    assert report.succeeded == report.items
    assert report.failed == report.unknown == ()
    assert sorted(map(id, events)) == sorted(map(id, report.items))
    assert [event.pod_id for event in events] != [item.pod_id for item in report.items]
    assert {item.pod.status for item in report.items if item.pod} == {"RUNNING"}
    report.raise_for_failures()


async def test_one_failure_ends_no_other_wait(server: RawServer, client_of: Make) -> None:
    states = {"1": "RUNNING", "2": "FAILED", "4": "INITIALIZE", "5": "RUNNING"}

    async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        name = request.path.rpartition("/")[2]
        secret = [{"key": "A", "value": "hunter2"}]
        pod = {"id": name, "status": states.get(name), "environmentVars": secret}
        await (envelope(pod) if name in states else envelope(code=13000))(request, writer)

    server.answers(answer)
    seen: list[str | None] = []

    async def note(item: FanOutItem) -> None:
        await asyncio.sleep(0)
        seen.append(item.pod_id)

    report = await client_of().pods.wait_many([1, 2, 3, 4, 5], timeout=60, on_event=note)
    assert [type(item.error) for item in report.items] == [
        type(None),
        PodFailedError,
        PodGoneError,
        WaitTimeoutError,
        type(None),
    ]
    assert [item.pod_id for item in report.failed] == ["2", "3", "4"]
    assert set(seen) == {"1", "2", "3", "4", "5"}
    with pytest.raises(FanOutError, match="of 5 pods 2 succeeded, 3 failed, 0 unknown: 2: PodFailedError") as caught:
        report.raise_for_failures()
    assert caught.value.report is not None
    assert [item.pod_id for item in caught.value.report.items] == ["1", "2", "3", "4", "5"]
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.report == caught.value.report or str(copy) == str(caught.value)
    assert b"hunter2" not in pickle.dumps(caught.value)


async def test_what_on_event_raises_ends_it_all(emulator: Emulator, yotta: YottaClient) -> None:
    handles = [await yotta.pods.create(**SPEC) for _ in range(5)]

    def fail(_: FanOutItem) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await yotta.pods.wait_many(handles, on_event=fail)
    assert not [task for task in asyncio.all_tasks() if "wait_many" in repr(task.get_coro())]
    count = len(emulator.requests)
    await asyncio.sleep(0.01)
    assert len(emulator.requests) == count


async def test_a_cancel_ends_it_all(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC)
    waiting = asyncio.create_task(yotta.pods.wait_many([handle] * 3, status=PodStatus.FAILED))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "wait_many" in repr(task.get_coro())]


async def test_nothing_to_wait_for_is_done(yotta: YottaClient) -> None:
    assert (await yotta.pods.wait_many([])).items == ()


async def test_several_pods_are_wanted(yotta: YottaClient) -> None:
    with pytest.raises(InvalidRequestError, match="a list"):
        await yotta.pods.wait_many("331")
    with pytest.raises(InvalidRequestError, match="at least one status"):
        await yotta.pods.wait_many([1], status=[])
