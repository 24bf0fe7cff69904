"""Deletions: one wrong "not found" writes no pod off, a delete without effect is repeated, and no time is wasted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.pod_server import PodServer
from tests.raw_server import RawServer, RecordedRequest, Reply, envelope
from yotta_async import InvalidStateError, NotFoundError, PodSpec, SpendLimit, YottaClient
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
        creating = asyncio.create_task(yotta.pods.create(**SPEC))
        while not api.pods:
            await asyncio.sleep(0)
        began = clock.time()
        creating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating
        assert clock.time() - began < 6
    assert api.pods == {}


async def test_new_pod_that_only_lists_show_is_deleted_when_gets_find_it(api: PodServer) -> None:
    """A first delete whose response was lost had no effect, and replicas do not know the pod for ten seconds."""
    clock = make_clock("auto")
    act = api.act

    def answer(what: str, request: RecordedRequest) -> Reply:
        is_hidden = what in ("GET", "DELETE") and clock.time() < 10
        return NOT_FOUND if is_hidden else act(what, request)

    api.act = answer  # type: ignore[method-assign]  # replicas that lag
    api.fault = lambda what: "500 before" if what == "DELETE" and api.requests.count("DELETE") == 1 else "none"
    async with client_of(api, clock=clock) as yotta:
        creating = asyncio.create_task(yotta.pods.create(**SPEC))
        while not api.pods:
            await asyncio.sleep(0)
        creating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating
    assert len(api.pods) == 1
    assert api.alive == []


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
