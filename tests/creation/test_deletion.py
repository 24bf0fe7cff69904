"""Deletions: one wrong "not found" writes no pod off, a delete without effect is repeated, and no time is wasted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.creates import cancel_once_received
from tests.pod_server import PodServer
from tests.raw_server import RawServer, RecordedRequest, Reply, envelope, silence_on
from yotta_async import (
    AuthenticationError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    PodSpec,
    PodStatus,
    RequestTimeoutError,
    SpendLimit,
    WaitTimeoutError,
    YottaClient,
    YottaError,
)
from yotta_async.emulator.clock import make_clock

pytestmark = pytest.mark.both_versions

NOT_FOUND = envelope(code=13000, message="pod not found")


def client_of(api: PodServer | RawServer, **options: Any) -> YottaClient:
    return YottaClient(KEY, base_url=api.url, **{"clock": make_clock("auto"), **options})


def answer_not_found(api: PodServer, *methods: str, times: int = 1) -> None:
    """Answer the next requests of each method with "not found", whatever there is."""
    left = dict.fromkeys(methods, times)
    act = api.act

    def answer(what: str, request: RecordedRequest) -> Reply:
        if left.get(what, 0) > 0:
            left[what] -= 1
            return NOT_FOUND
        return act(what, request)

    api.act = answer  # type: ignore[method-assign]  # a server that is wrong


def forget_deleted_pods(api: PodServer) -> None:
    """Let a pod disappear as soon as it is deleted."""
    act = api.act

    def answer(what: str, request: RecordedRequest) -> Reply:
        reply = act(what, request)
        if what == "DELETE":
            api.pods.pop(request.path.rpartition("/")[2], None)
        return reply

    api.act = answer  # type: ignore[method-assign]  # a server that keeps nothing


async def test_usual_deletion_is_one_delete_and_one_get(api: PodServer) -> None:
    async with client_of(api) as yotta:
        async with yotta.pods.ephemeral(**SPEC):
            before = len(api.requests)
        assert api.requests[before:] == ["DELETE", "GET"]
        handle = await yotta.pods.create(**SPEC)
        await handle.delete()
        assert api.requests[-1] == "DELETE"


async def delete_by_ephemeral(yotta: YottaClient, api: PodServer, wrong: Callable[[], None]) -> None:
    async with yotta.pods.ephemeral(**SPEC):
        wrong()


async def delete_by_delete(yotta: YottaClient, api: PodServer, wrong: Callable[[], None]) -> None:
    handle = await yotta.pods.create(**SPEC)
    wrong()
    await handle.delete(missing_ok=True)


async def delete_by_delete_many(yotta: YottaClient, api: PodServer, wrong: Callable[[], None]) -> None:
    handles = [await yotta.pods.create(**SPEC) for _ in range(3)]
    wrong()
    assert len((await yotta.pods.delete_many(handles)).succeeded) == 3


async def delete_by_sweep(yotta: YottaClient, api: PodServer, wrong: Callable[[], None]) -> None:
    await yotta.pods.create(**SPEC)
    wrong()
    report = (await yotta.pods.sweep(action="delete", match="*", dry_run=False)).report
    assert report is not None
    assert len(report.succeeded) == 1


async def delete_by_drive(yotta: YottaClient, api: PodServer, wrong: Callable[[], None]) -> None:
    handle = await yotta.pods.create(**SPEC)
    await handle.refresh()
    wrong()
    driving = asyncio.ensure_future(handle.drive(to="TERMINATED"))
    while api.alive:
        await asyncio.sleep(0)
    api.pods.clear()
    assert (await driving).status == "TERMINATED"


async def delete_by_fan_out(yotta: YottaClient, api: PodServer, wrong: Callable[[], None]) -> None:
    spec = PodSpec(**SPEC)
    created = []

    def count(item: Any) -> None:
        created.append(item)
        if len(created) == 2:
            wrong()
            raise KeyError

    with pytest.raises(KeyError):
        await yotta.pods.create_many([spec] * 3, on_event=count, concurrency=1)


WAYS = [
    delete_by_ephemeral,
    delete_by_delete,
    delete_by_delete_many,
    delete_by_sweep,
    delete_by_drive,
    delete_by_fan_out,
]


@pytest.mark.parametrize("methods", [("DELETE",), ("GET",)])
@pytest.mark.parametrize("way", WAYS)
async def test_one_wrong_not_found_writes_no_pod_off(api: PodServer, way: Any, methods: tuple[str, ...]) -> None:
    async with client_of(api) as yotta:
        await way(yotta, api, lambda: answer_not_found(api, *methods))
        assert api.alive == []


async def test_not_found_is_confirmed_by_a_get(api: PodServer) -> None:
    async with client_of(api) as yotta:
        with pytest.raises(NotFoundError):
            await yotta.pods.delete(404)
        assert api.requests == ["DELETE", "GET"]
        await yotta.pods.delete(404, missing_ok=True)
        report = await yotta.pods.delete_many([404, 405])
        assert {type(item.error) for item in report.items} == {NotFoundError}


async def test_pod_that_a_delete_never_finds_and_a_get_shows_is_an_error(api: PodServer) -> None:
    async with client_of(api) as yotta:
        handle = await yotta.pods.create(**SPEC)
        answer_not_found(api, "DELETE", times=100)
        with pytest.raises(InvalidStateError, match="a get shows the pod, and it is RUNNING"):
            await handle.delete(missing_ok=True)


async def test_refused_delete_and_one_wrong_not_found_write_no_pod_off(server: RawServer) -> None:
    refusal, shown = envelope(code=12001), envelope({"id": "7", "status": "INITIALIZE"})
    server.answers(refusal, NOT_FOUND, shown)
    async with client_of(server) as yotta:
        with pytest.raises(InvalidStateError):
            await yotta.pods.delete(7)
    assert [request.method for request in server.received] == ["DELETE", "GET", "GET"]


@pytest.mark.parametrize("fault", ["reset after", "500 after"])
async def test_lost_response_to_the_delete_of_a_cancelled_create_defers_the_cancel_shortly(
    api: PodServer, fault: str
) -> None:
    forget_deleted_pods(api)
    api.fault = lambda what: fault if what == "DELETE" and api.requests.count("DELETE") == 1 else "none"
    clock = make_clock("auto")
    async with client_of(api, clock=clock) as yotta:
        began = clock.time()
        await cancel_once_received(yotta, api.requests)
        assert 3 <= clock.time() - began < 6
    assert api.pods == {}


@pytest.mark.parametrize("shown_from", [0, 2])
async def test_new_pod_that_only_lists_show_is_deleted_when_gets_find_it(api: PodServer, shown_from: float) -> None:
    """A first delete whose response was lost had no effect, and replicas do not know the pod for ten seconds."""
    api.listed = lambda pods: pods if shown_from <= clock.time() < 6 or not shown_from else []
    clock = make_clock("auto")
    act = api.act

    def answer(what: str, request: RecordedRequest) -> Reply:
        is_hidden = what in ("GET", "DELETE") and clock.time() < 10
        return NOT_FOUND if is_hidden else act(what, request)

    api.act = answer  # type: ignore[method-assign]  # replicas that lag
    api.fault = lambda what: "500 before" if what == "DELETE" and api.requests.count("DELETE") == 1 else "none"
    async with client_of(api, clock=clock) as yotta:
        await cancel_once_received(yotta, api.requests)
    assert len(api.pods) == 1
    assert api.alive == []


@pytest.mark.parametrize("reply", [envelope(True), envelope(code=12001)])
async def test_delete_without_effect_is_repeated_at_growing_intervals_for_30_seconds(
    api: PodServer, reply: Reply
) -> None:
    clock = make_clock("auto")
    act = api.act
    times: list[float] = []

    def ignore_deletes(what: str, request: RecordedRequest) -> Reply:
        if what != "DELETE":
            return act(what, request)
        times.append(clock.time() - began)
        return reply

    secret = {"PASSWORD": "hunter2"}
    async with client_of(api, clock=clock) as yotta:
        with pytest.raises(
            WaitTimeoutError, match="is left, and may bill.* for 28 s had no effect, it is RUNNING"
        ) as e:
            async with yotta.pods.ephemeral(**SPEC, environment_vars=secret) as handle:
                began = clock.time()
                api.act = ignore_deletes  # type: ignore[method-assign]  # a server that forgets
        assert times == [0, 0.25, 0.75, 1.75, 3.75, 7.75, 11.75, 15.75, 19.75, 23.75, 27.75]
        assert (e.value.pod_id, e.value.last_error) == (handle.id, None)
        assert e.value.history == ((PodStatus.RUNNING, 27.75),)
        assert e.value.last_pod is not None
        assert e.value.last_pod.status == "RUNNING"
        assert "hunter2" not in [each.value for each in e.value.last_pod.environment_vars or ()]
        api.act = act  # type: ignore[method-assign]
    assert api.alive == []


async def test_error_of_a_deletion_without_effect_has_the_end_of_it(api: PodServer) -> None:
    act = api.act
    async with client_of(api) as yotta:
        with pytest.raises(WaitTimeoutError, match="no effect, it is RUNNING"):
            async with yotta.pods.ephemeral(**SPEC):
                gets = api.requests.count("GET")
                api.fault = lambda what: (
                    "500 before" if what == "GET" and api.requests.count("GET") <= gets + 4 else "none"
                )
                api.act = lambda what, request: (  # type: ignore[method-assign]  # a server that forgets
                    envelope(True) if what == "DELETE" else act(what, request)
                )
        api.act = act  # type: ignore[method-assign]
    assert api.alive == []


async def test_not_found_is_believed_after_a_delete_that_succeeded(api: PodServer) -> None:
    forget_deleted_pods(api)
    async with client_of(api) as yotta:
        async with yotta.pods.ephemeral(**SPEC) as handle:
            before = len(api.requests)
        assert api.requests[before:] == ["DELETE", "GET"]
        assert (await handle.wait_until(status="TERMINATED")).status == "TERMINATED"
        assert api.requests[before:] == ["DELETE", "GET", "GET"], "a wait for its end needs no second answer"


async def test_not_found_is_believed_of_a_new_pod_that_a_get_has_shown(api: PodServer) -> None:
    act = api.act

    def answer(what: str, request: RecordedRequest) -> Reply:
        reply = envelope(True) if what == "DELETE" and api.pods else act(what, request)
        if what == "GET":
            api.pods.clear()
        return reply

    api.act = answer  # type: ignore[method-assign]  # a server that forgets a delete, and then the pod
    async with client_of(api) as yotta:
        await cancel_once_received(yotta, api.requests)
    assert api.requests == ["create", "DELETE", "GET", "DELETE", "GET"]


@pytest.mark.parametrize("silent", ["DELETE", "GET"])
async def test_deletion_ends_in_30_seconds_when_the_api_is_silent(api: PodServer, silent: str) -> None:
    clock = make_clock("auto")
    act = api.act
    async with client_of(api, clock=clock, timeout=300) as yotta:
        await clock.sleep(100)
        with pytest.raises(WaitTimeoutError) as caught:
            async with yotta.pods.ephemeral(**SPEC):
                api.act = lambda what, request: (  # type: ignore[method-assign]  # a server that is silent
                    silence_on(clock) if what == silent else envelope(True) if what == "DELETE" else act(what, request)
                )
                began = clock.time()
        assert clock.time() - began == pytest.approx(30)
        assert isinstance(caught.value.last_error, RequestTimeoutError)
        api.act = act  # type: ignore[method-assign]
    assert api.alive == []


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (403, PermissionDeniedError)])
async def test_key_that_is_refused_ends_a_deletion_at_once(api: PodServer, status: int, kind: type[YottaError]) -> None:
    act = api.act
    clock = make_clock("auto")
    async with client_of(api, clock=clock) as yotta:
        with pytest.raises(kind) as caught:
            async with yotta.pods.ephemeral(**SPEC) as handle:
                api.act = lambda what, request: envelope(code=status, status=status)  # type: ignore[method-assign]
                began = clock.time()
        assert clock.time() == began
        assert caught.value.__notes__ == [f"Pod {handle.id} is left, and may bill: delete it."]
        api.act = act  # type: ignore[method-assign]
    assert api.alive == []


async def cancel_while_nothing_finds_its_pod(api: PodServer, yotta: YottaClient) -> None:
    """Cancel a create whose pod deletes and gets do not find."""
    answer_not_found(api, "GET", "DELETE", times=1_000)
    await cancel_once_received(yotta, api.requests)


@pytest.mark.parametrize("shown", [[], [{"id": "{id}", "status": "TERMINATING"}, {"id": "8", "status": "RUNNING"}]])
async def test_new_pod_that_nothing_shows_for_30_seconds_is_gone(
    api: PodServer, shown: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    clock = make_clock("auto")
    api.listed = lambda pods: [{**pod, "id": pod["id"].format(id=pods[0]["id"])} for pod in shown]
    async with client_of(api, clock=clock) as yotta:
        await cancel_while_nothing_finds_its_pod(api, yotta)
        assert 25 < clock.time() < 31
    assert api.requests[-1] == "list"
    assert not caplog.records


@pytest.mark.parametrize("shown", ["as it is", "without an id", "no list"])
async def test_new_pod_that_a_list_may_show_is_left(
    api: PodServer, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    api.listed = lambda pods: pods if shown == "as it is" else [{"podName": "x"}]
    api.fault = lambda what: "500 before" if what == "list" and shown == "no list" else "none"
    async with client_of(api) as yotta:
        await cancel_while_nothing_finds_its_pod(api, yotta)
        [message] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert f"pod {api.alive[0]} is left, and may bill" in message
        assert "pod not found" in message


async def test_deletion_is_sent_and_confirmed_over_fresh_connections(server: RawServer, api_version: str) -> None:
    new = {"id": "7"} if api_version == "v2" else 7
    pod = envelope({"id": "7", "status": "TERMINATING"})
    server.answers(pod, envelope(new), envelope(), pod)
    async with client_of(server) as yotta:
        await yotta.pods.get(7)
        await cancel_once_received(yotta, server.received)
    assert [request.method for request in server.received] == ["GET", "POST", "DELETE", "GET"]
    assert server.connections == 4


# A pod that a list shows twice


def list_twice(api: PodServer) -> None:
    api.listed = lambda pods: [pod for pod in pods for _ in range(2)]


async def test_pod_that_a_list_shows_twice_is_one_pod(api: PodServer) -> None:
    list_twice(api)
    async with client_of(api) as yotta:
        await yotta.pods.create(**SPEC)
        assert len(await yotta.pods.list()) == len(await yotta.pods.list(statuses=["RUNNING"])) == 1
        await yotta.pods.create(**SPEC, spend_limit=SpendLimit(max_pods=2))
        assert len((await yotta.pods.sweep(action="delete", match="*")).pods) == 2


async def test_lost_create_is_not_deleted_when_a_list_shows_its_pod_twice(api: PodServer) -> None:
    list_twice(api)
    api.fault = lambda what: "reset after" if what == "create" else "none"
    async with client_of(api) as yotta:
        handle = await yotta.pods.create(**SPEC)
    assert api.alive == [handle.id]
    assert "DELETE" not in api.requests
