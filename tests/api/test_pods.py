"""The six calls, by the real client over a real socket to the emulator, and what the emulator cannot be made to say."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tests.calls import name_call, name_target
from tests.conftest import SPEC
from tests.parts import open_endpoints
from tests.raw_server import RawServer, RecordedRequest, envelope, http, reset
from yotta_async import (
    BadRequestError,
    ConfigurationError,
    InvalidRequestError,
    InvalidStateError,
    NotFoundError,
    Pod,
    PodHandle,
    PodSpec,
    PodStatus,
    ProtocolError,
    RetryPolicy,
    YottaClient,
)
from yotta_async.api import requests
from yotta_async.emulator import Emulator
from yotta_async.emulator.clock import ManualClock
from yotta_async.support import tasks

Make = Callable[..., YottaClient]

pytestmark = pytest.mark.both_versions


async def test_a_pod_through_its_whole_life(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC, gpu_count=2, pod_name="mine", expose=[(22, "SSH")])
    assert yotta.pods.handle(handle).pod is None
    pod = await handle.refresh()
    assert (pod.id, pod.pod_name, pod.gpu_count, pod.status) == (handle.id, "mine", 2, PodStatus.INITIALIZE)
    assert await yotta.pods.list() == [pod]
    pod = await handle.wait_until()
    assert handle.pod is pod
    assert repr(handle) == f"PodHandle('{handle.id}', RUNNING)"
    with pytest.raises(InvalidStateError):
        await handle.resume()
    await handle.pause()
    await handle.wait_until(status=PodStatus.PAUSED)
    await handle.resume()
    await handle.wait_until(status="running")
    await handle.delete()
    assert (await handle.wait_until(status=PodStatus.TERMINATED)).status == PodStatus.TERMINATED
    await handle.delete()  # the API refuses it (12001), and what was wanted is so


async def test_a_pod_can_be_named_in_every_way(yotta: YottaClient) -> None:
    handle = await yotta.pods.create(PodSpec(**SPEC))
    pod = await yotta.pods.get(handle)
    for name in (handle.id, int(handle.id), pod, handle, yotta.pods.handle(pod)):
        assert (await yotta.pods.get(name)).id == handle.id
    assert yotta.pods.handle(pod).pod is pod
    assert yotta.pods.handle(handle.id).pod is None


async def test_a_spec_can_be_changed_by_fields(yotta: YottaClient) -> None:
    template = PodSpec(**SPEC, gpu_count=1)
    handle = await yotta.pods.create(template, gpu_count=4)
    assert (await handle.refresh()).gpu_count == 4


async def test_missing_pods_are_not_found(yotta: YottaClient) -> None:
    for call, method in (
        (yotta.pods.get, "GET"),
        (yotta.pods.pause, "POST"),
        (yotta.pods.resume, "POST"),
        (yotta.pods.delete, "DELETE"),
    ):
        with pytest.raises(NotFoundError) as caught:
            await call("123")
        assert (caught.value.code, caught.value.method) == (13000, method)
        assert "base_url" not in str(caught.value)
    await yotta.pods.delete("123", missing_ok=True)


async def test_lists_are_filtered_by_status_and_region(yotta: YottaClient) -> None:
    places = ["us-west-1", "us-east-2", "us-east-2"]
    handles = [await yotta.pods.create(**SPEC, region=region) for region in places]
    for handle in handles:
        await handle.wait_until()
    await handles[0].pause()
    await handles[0].wait_until(status=PodStatus.PAUSED)
    await handles[1].delete()
    await handles[1].wait_until(status=PodStatus.TERMINATED)
    paused, deleted, running = (handle.id for handle in handles)

    async def ids(**filters: Any) -> list[str]:
        return [pod.id for pod in await yotta.pods.list(**filters)]

    assert await ids() == [deleted, paused, running], "the last change comes first"
    assert await ids(statuses=[PodStatus.RUNNING]) == [running]
    assert await ids(statuses=["paused", 1]) == [paused, running]
    assert await ids(statuses=PodStatus.PAUSED) == [paused]
    assert await ids(statuses=["TERMINATED", "RUNNING"]) == [deleted, running]
    assert await ids(statuses={"NEVER_HEARD_OF"}) == []
    assert await ids(regions=["us-east-2"]) == [deleted, running]
    assert await ids(regions="us-west-1", statuses=iter([3])) == [paused]


async def test_statuses_go_out_as_numbers_where_the_wire_has_them(
    emulator: Emulator, yotta: YottaClient, api_version: str
) -> None:
    await yotta.pods.list(statuses=["FAILED"], regions=["a b", "c&d", "e,f"])
    await yotta.pods.list(statuses=[PodStatus.RUNNING, "TERMINATED"])
    regions = {
        "v1": "regionList=a%20b&regionList=c%26d&regionList=e%2Cf",
        "v2": "regionList=a%20b,c%26d,e,f",
    }[api_version]
    assert [request.query for request in emulator.requests] == [f"{regions}&statusList=6", ""]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"statuses": [5]}, "5 is not the number of a pod status; the numbers are 0 INITIALIZE, 1 RUNNING"),
        ({"statuses": [True]}, "not bool"),
        ({"statuses": [None]}, "not NoneType"),
        ({"statuses": [""]}, "not str"),
        ({"statuses": ["RUNING"]}, "did you mean RUNNING"),
        ({"statuses": None}, "must be lists"),
        ({"regions": None}, "must be lists"),
        ({"regions": [""]}, "regions must be"),
        ({"regions": [5]}, "regions must be"),
        ({"regions": ["a\r\nb"]}, "regions must be"),
    ],
)
async def test_a_filter_that_cannot_be_is_refused(
    emulator: Emulator, yotta: YottaClient, filters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        await yotta.pods.list(**filters)
    assert not emulator.requests


async def test_nothing_is_sent_for_what_is_no_id(emulator: Emulator, yotta: YottaClient) -> None:
    calls = (yotta.pods.get, yotta.pods.pause, yotta.pods.resume, yotta.pods.delete, yotta.pods.wait_until)
    for call in calls:
        with pytest.raises(InvalidRequestError):
            await call("../list")
    with pytest.raises(InvalidRequestError):
        yotta.pods.handle("a/b")
    assert not emulator.requests


async def test_the_api_refuses_what_the_client_lets_pass(yotta: YottaClient) -> None:
    with pytest.raises(BadRequestError, match="podId: must be an integer"):
        await yotta.pods.get("letters")


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {record.name for record in caplog.records if record.levelno == logging.WARNING} <= {"yotta_async"}
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_pod_with_unreadable_fields_is_listed_and_warned_of_once(
    server: RawServer, client_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    variables = [{"key": "A", "value": "hunter2"}]
    odd = {"id": 8, "gpuCount": "x\n", "expose": [{"port": 22}, {"port": "x"}], "environmentVars": variables}
    server.answers(envelope([{"id": 7}, odd, {"id": "9", "gpuCount": []}]))
    yotta = client_of()
    pods = await yotta.pods.list()
    assert [pod.id for pod in pods] == ["7", "8", "9"]
    assert [pod.unreadable for pod in pods] == [(), ("gpuCount", "expose"), ("gpuCount",)]
    assert pods[1].extra == {"gpuCount": "x\n", "expose": [{"port": 22}, {"port": "x"}]}
    assert [port.port for port in pods[1].expose] == [22, None]
    await yotta.pods.list()
    path = server.received[0].path
    server.answers(envelope(odd))
    assert await yotta.pods.get("8") == pods[1]
    warned = warnings_in(caplog)
    assert len(warned) == 2, "one for each field and client"
    assert warned[0].startswith(f"{path}: the field 'gpuCount' of a pod ('8')")
    assert warned[1].startswith(f"{path}: the field 'expose' of a pod ('8')")
    await client_of().pods.get("8")
    assert len(warnings_in(caplog)) == 4, "another client warns too"
    assert yotta.pods.unreadable_items == 0


async def test_items_without_an_id_are_counted(
    server: RawServer, client_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    odd = envelope([{"id": 7}, None, {"podName": "hunter2"}, {"id": {}}, 5])
    server.answers(odd, odd, envelope([{"id": 7}]))
    yotta = client_of()
    assert yotta.pods.unreadable_items == 0
    assert [pod.id for pod in await yotta.pods.list()] == ["7"]
    assert yotta.pods.unreadable_items == 4
    [warning] = warnings_in(caplog)
    assert warning.startswith(f"{server.received[0].path}: items left out of the list: 4,")
    assert "hunter2" not in warning
    await yotta.pods.list()
    assert warnings_in(caplog) == [warning] * 2, "each list warns"
    await yotta.pods.list()
    assert yotta.pods.unreadable_items == 0


async def test_polls_warn_of_items_without_an_id_when_their_number_changes(
    server: RawServer, client_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    pods = [{"id": number, "status": "INITIALIZE"} for number in range(20)]
    lists = [envelope([*pods, {}])] * 3 + [envelope(pods)] * 2 + [envelope([*pods, {}, {}])] * 3
    server.answers(*lists, envelope([{"id": number, "status": "RUNNING"} for number in range(20)]))
    report = await client_of().pods.wait_many(range(20))
    assert len(report.succeeded) == 20
    assert [warning.split(": ")[2].split(",")[0] for warning in warnings_in(caplog)] == ["1", "2"]


async def test_a_pod_that_is_listed_twice_is_as_it_changed_last(server: RawServer, client_of: Make) -> None:
    server.answers(envelope([{"id": 7, "status": "RUNNING"}, {"id": 8}, {"id": "7", "status": "INITIALIZE"}]))
    pods = client_of().pods
    assert await pods.list() == [Pod(id="7", status=PodStatus.RUNNING), Pod(id="8")]
    assert await pods.list(statuses=["INITIALIZE"]) == []


async def test_an_account_without_pods(server: RawServer, client_of: Make) -> None:
    server.answers(envelope([]))
    assert await client_of().pods.list() == []


@pytest.mark.parametrize("body", [b'{"code": 10000, "data": null}', b'{"code": 10000}', b'{"code": 10000, "data": {}}'])
async def test_list_without_a_list_is_a_protocol_error(server: RawServer, client_of: Make, body: bytes) -> None:
    server.answers(http(body))
    yotta = client_of(retry=RetryPolicy(max_attempts=1))
    with pytest.raises(ProtocolError, match="data is not a list"):
        await yotta.pods.list()
    with pytest.raises(ProtocolError, match="data is not a list"):
        async with open_endpoints(server.url) as endpoints:
            await endpoints.snapshot()


@pytest.mark.parametrize(
    ("headers", "kind"), [({"Content-Type": "text/html"}, "text/html"), ({"Content-Type": ""}, "")]
)
async def test_response_that_is_not_documented_is_described(
    server: RawServer, client_of: Make, headers: dict[str, str], kind: str
) -> None:
    server.answers(http(b"<html>", 502, {**headers, "Retry-After": "7"}))
    with pytest.raises(ProtocolError, match=f"HTTP 502, '{kind}', 6 bytes\\)") as caught:
        await client_of(retry=RetryPolicy(max_attempts=1)).pods.get(7)
    assert (caught.value.method, caught.value.path) == ("GET", server.received[0].path)
    assert caught.value.retry_after == 7


async def test_list_that_is_too_large_names_what_to_filter(
    server: RawServer, client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert requests.MAX_LIST_BYTES >= 200_000 * 5_000, "room for a large account"
    monkeypatch.setattr(requests, "MAX_LIST_BYTES", 1000)
    server.answers(envelope([{"id": 7, "podName": "x" * 1000}]))
    with pytest.raises(ProtocolError, match=r"larger than 1000 bytes.*`statuses=`.*`regions=`"):
        await client_of(retry=RetryPolicy(max_attempts=1)).pods.list()


async def test_a_pod_without_id_is_the_one_that_was_asked_for(server: RawServer, client_of: Make) -> None:
    server.answers(envelope({"status": "RUNNING"}), envelope({"id": ""}), envelope({"id": 7}))
    assert await client_of().pods.get("0007") == Pod(id="0007", status=PodStatus.RUNNING)
    assert await client_of().pods.get("0007") == Pod(id="0007")
    assert await client_of().pods.get("0007") == Pod(id="7")


def test_failure_while_a_create_is_built_has_no_frame_with_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "gpu_type_in", None)
    with pytest.raises(TypeError) as caught:
        requests.build_create_request(PodSpec(**SPEC, environment_vars={"A": "hunter2"}), "token")
    assert "build_create_request" not in {frame.name for frame in traceback.extract_tb(caught.value.__traceback__)}


@pytest.mark.parametrize("data", [331864222263676928, "331864222263676928"])
async def test_the_id_of_a_create_is_text(server: RawServer, client_of: Make, data: object) -> None:
    server.answers(envelope(data))
    handle = await client_of().pods.create(**SPEC)
    assert isinstance(handle, PodHandle)
    assert handle.id == "331864222263676928"


class SlowCreate:
    """A server whose create is answered when the test says so."""

    def __init__(self, server: RawServer) -> None:
        self.received = asyncio.Event()
        self.go_on = asyncio.Event()
        server.answers(self, envelope(), envelope(code=13000))

    async def __call__(self, request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        self.received.set()
        await self.go_on.wait()
        await envelope(7)(request, writer)


async def test_a_cancelled_create_deletes_its_pod_before_the_cancel_goes_through(
    server: RawServer, client_of: Make
) -> None:
    slow = SlowCreate(server)
    creating = asyncio.create_task(client_of().pods.create(**SPEC))
    await slow.received.wait()
    for _ in range(3):
        creating.cancel()
        await asyncio.sleep(0)
    assert not creating.done()
    slow.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert [(request.method, name_target(request)) for request in server.received] == [
        ("POST", "create"),
        ("DELETE", "7"),
        ("GET", "7"),
    ]


async def test_cancel_is_raised_in_time_and_closing_waits_until_the_pod_is_deleted(
    server: RawServer, client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_HOLD_S", 0.0)
    slow = SlowCreate(server)
    yotta = client_of()
    creating = asyncio.create_task(yotta.pods.create(**SPEC))
    await slow.received.wait()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert len(server.received) == 1
    slow.go_on.set()
    await yotta.aclose()
    assert [name_target(request) for request in server.received] == ["create", "7", "7"]


async def test_a_cancelled_create_of_unknown_outcome_says_so(
    server: RawServer, client_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    lost = SlowCreate(server)

    async def lose(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        lost.received.set()
        await lost.go_on.wait()
        await reset(request, writer)

    server.answers(lose)
    creating = asyncio.create_task(client_of().pods.create(**SPEC))
    await lost.received.wait()
    creating.cancel()
    lost.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert "a cancelled create may have left a pod" in caplog.text
    assert [request.method for request in server.received].count("POST") == 1
    assert {name_call(request) for request in server.received[1:]} == {"list"}


async def test_closing_waits_for_creates_in_flight(server: RawServer, client_of: Make) -> None:
    slow = SlowCreate(server)
    yotta = client_of()
    creating = asyncio.create_task(yotta.pods.create(**SPEC))
    await slow.received.wait()
    closing = asyncio.create_task(yotta.aclose())
    await asyncio.sleep(0)
    with pytest.raises(ConfigurationError, match="being closed"):
        await yotta.pods.create(**SPEC)
    slow.go_on.set()
    assert (await creating).id == "7"
    await closing


async def test_a_create_cancelled_before_it_is_sent_is_not_sent(server: RawServer, client_of: Make) -> None:
    server.answers(http(b"", 429, {"Retry-After": "100"}), envelope(7))
    clock = ManualClock()
    creating = asyncio.create_task(client_of(clock=clock).pods.create(**SPEC))
    while not server.received:
        await asyncio.sleep(0)
    await clock.advance(1)
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    await clock.advance(1000)
    assert len(server.received) == 1


async def test_closing_ends_creates_that_were_not_sent(server: RawServer, client_of: Make) -> None:
    server.answers(http(b"", 429, {"Retry-After": "100"}), envelope(7))
    clock = ManualClock()
    yotta = client_of(clock=clock)
    creating = asyncio.create_task(yotta.pods.create(**SPEC))
    while not server.received:
        await asyncio.sleep(0)
    await clock.advance(1)
    await yotta.aclose()
    with pytest.raises(ConfigurationError, match="was not sent"):
        await creating
    assert len(server.received) == 1


async def test_a_create_cut_off_with_all_other_tasks_is_found_again_and_deleted(
    server: RawServer, client_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    slow = SlowCreate(server)

    async def listed(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        token = json.loads(server.received[0].body)["environmentVars"]
        await envelope([{"id": 8}, {"id": 7, "environmentVars": token}])(request, writer)

    server.replies = [slow, listed, envelope(), envelope(code=13000)]
    creating = asyncio.create_task(client_of().pods.create(**SPEC))
    await slow.received.wait()
    for task in asyncio.all_tasks():
        if (
            "yotta_async" in repr(task.get_coro())
            or "Pods" in repr(task.get_coro())
            or "PodCreator" in repr(task.get_coro())
        ):
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert [(request.method, name_target(request)) for request in server.received] == [
        ("POST", "create"),
        ("GET", "list"),
        ("DELETE", "7"),
        ("GET", "7"),
    ]
    assert not caplog.records
