"""What calls of the API do besides one request: their deadlines, and the gets that decide how a change went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.parts import open_endpoints
from tests.raw_server import RawServer, Reply, envelope, http, silence_on
from yotta_async import InvalidStateError, NotFoundError, RequestTimeoutError, RetryPolicy, ServerError, YottaError
from yotta_async.api.endpoints import Endpoints
from yotta_async.emulator.clock import EmulatorClock, make_clock

Call = Callable[..., Any]

pytestmark = pytest.mark.both_versions

MISSING = envelope(code=13000)
REFUSED = envelope(code=12001)
LOST = envelope(code=10002)  # the server may have acted


def pod(status: str) -> Reply:
    return envelope({"id": "7", "status": status})


def get(endpoints: Endpoints, **options: Any) -> Any:
    return endpoints.get("7", **options)


def get_by_a_fresh_connection(endpoints: Endpoints, **options: Any) -> Any:
    return endpoints.get("7", fresh_connection=True, **options)


def list_gpu_types(endpoints: Endpoints, **options: Any) -> Any:
    return endpoints.list_gpu_types(**options)


def pause(endpoints: Endpoints, **options: Any) -> Any:
    return endpoints.pause("7", **options)


def resume(endpoints: Endpoints, **options: Any) -> Any:
    return endpoints.resume("7", **options)


def delete(endpoints: Endpoints, **options: Any) -> Any:
    return endpoints.delete("7", **options)


def methods_of(server: RawServer) -> list[str]:
    return [request.method for request in server.received]


@pytest.mark.parametrize(
    ("call", "replies", "error"),
    [
        (get, [], RequestTimeoutError),
        (list_gpu_types, [], RequestTimeoutError),
        (pause, [], RequestTimeoutError),
        (resume, [], RequestTimeoutError),
        (delete, [], RequestTimeoutError),
        # The server is silent about a get that follows.
        (pause, [LOST], ServerError),
        (pause, [LOST, pod("RUNNING"), REFUSED], ServerError),
        (delete, [MISSING], RequestTimeoutError),
        (delete, [REFUSED], RequestTimeoutError),
    ],
)
async def test_a_deadline_bounds_every_attempt_and_retry(
    server: RawServer, call: Call, replies: list[Reply], error: type[YottaError]
) -> None:
    clock: EmulatorClock = make_clock("auto")
    server.answers(*replies, silence_on(clock))
    async with open_endpoints(server.url, clock=clock, retry=RetryPolicy()) as endpoints:
        with pytest.raises(error):
            await call(endpoints, deadline=10.0)
    assert clock.time() == pytest.approx(10.0, abs=0.01)
    assert len(server.received) == len(replies) + 1


@pytest.mark.parametrize(
    ("call", "replies"),
    [
        (get_by_a_fresh_connection, [pod("RUNNING")]),
        (pause, [LOST, pod("PAUSING")]),
        (pause, [LOST, pod("RUNNING"), REFUSED, pod("PAUSED")]),
        (delete, [LOST, MISSING, MISSING]),
        (delete, [REFUSED, pod("TERMINATED")]),
        (delete, [REFUSED, MISSING, MISSING]),
    ],
)
async def test_what_decides_about_a_change_comes_by_a_fresh_connection(
    server: RawServer, call: Call, replies: list[Reply]
) -> None:
    """An old one may lead to a replica that lags, or be dead."""
    server.answers(pod("RUNNING"), *replies)
    async with open_endpoints(server.url, retry=RetryPolicy()) as endpoints:
        await endpoints.get("7")
        await call(endpoints)
    assert len(server.received) == server.connections == 1 + len(replies)
    assert all("/7" in request.path for request in server.received)


async def test_other_gets_share_a_connection(server: RawServer) -> None:
    server.answers(pod("RUNNING"))
    async with open_endpoints(server.url) as endpoints:
        await endpoints.get("7")
        await endpoints.get("7")
        await endpoints.get_once("7")
    assert server.connections == 1


@pytest.mark.parametrize("call", [pause, resume])
async def test_a_change_that_was_not_processed_is_sent_again_without_a_get(server: RawServer, call: Call) -> None:
    server.answers(http(b"", 429), envelope())
    async with open_endpoints(server.url, retry=RetryPolicy()) as endpoints:
        await call(endpoints)
    assert methods_of(server) == ["POST", "POST"]


@pytest.mark.parametrize(
    ("call", "status", "methods"),
    [
        *((pause, status, ["POST", "GET"]) for status in ("PAUSING", "PAUSED")),
        *((pause, status, ["POST", "GET", "POST"]) for status in ("RUNNING",)),
        *((resume, status, ["POST", "GET"]) for status in ("INITIALIZE", "PENDING", "PREPARING", "RUNNING")),
        *((resume, status, ["POST", "GET", "POST"]) for status in ("PAUSING", "PAUSED")),
    ],
)
async def test_a_lost_change_is_sent_again_where_it_had_no_effect(
    server: RawServer, call: Call, status: str, methods: list[str]
) -> None:
    server.answers(LOST, pod(status), envelope())
    async with open_endpoints(server.url, retry=RetryPolicy()) as endpoints:
        await call(endpoints)
    assert methods_of(server) == methods


@pytest.mark.parametrize(
    ("call", "status"),
    [(pause, "INITIALIZE")]
    + [(call, status) for call in (pause, resume) for status in ("FAILED", "TERMINATING", "TERMINATED", "MIGRATING")],
)
async def test_a_lost_change_of_a_pod_in_another_status_is_an_error(server: RawServer, call: Call, status: str) -> None:
    server.answers(LOST, pod(status), envelope())
    async with open_endpoints(server.url, retry=RetryPolicy()) as endpoints:
        with pytest.raises(ServerError):
            await call(endpoints)
    assert methods_of(server) == ["POST", "GET"]


async def test_a_refused_change_after_a_lost_one_is_an_error_where_it_had_no_effect(server: RawServer) -> None:
    server.answers(LOST, pod("RUNNING"), REFUSED, pod("RUNNING"))
    async with open_endpoints(server.url, retry=RetryPolicy()) as endpoints:
        with pytest.raises(InvalidStateError) as caught:
            await pause(endpoints)
    assert isinstance(caught.value.__cause__, ServerError)
    assert methods_of(server) == ["POST", "GET", "POST", "GET"]


async def test_delete_that_a_get_contradicts_is_sent_three_times(server: RawServer) -> None:
    missing = envelope(code=13000, status=404, message="no pod", Retry_After="7", X_Request_Id="req-1")
    server.answers(*[missing, pod("RUNNING")] * 5)
    async with open_endpoints(server.url, retry=RetryPolicy()) as endpoints:
        with pytest.raises(InvalidStateError) as caught:
            await delete(endpoints)
    error = caught.value
    assert methods_of(server) == ["DELETE", "GET"] * 3
    assert error.message == "no pod (but a get shows the pod, and it is RUNNING)"
    assert (error.http_status, error.code, error.retry_after, error.request_id) == (404, 13000, 7.0, "req-1")
    assert (error.method, error.path) == ("DELETE", server.received[0].path)


@pytest.mark.parametrize("replies", [[REFUSED], [MISSING, pod("RUNNING"), REFUSED]])
async def test_refused_delete_of_a_pod_that_runs_is_an_error(server: RawServer, replies: list[Reply]) -> None:
    server.answers(*replies, pod("RUNNING"))
    async with open_endpoints(server.url, retry=RetryPolicy()) as endpoints:
        with pytest.raises(InvalidStateError) as caught:
            await delete(endpoints)
    assert caught.value.code == 12001
    assert len(server.received) == len(replies) + 1


@pytest.mark.parametrize(
    ("options", "replies", "methods"),
    [
        ({}, [MISSING, MISSING], ["DELETE", "GET"]),
        ({}, [http(b"", 429), MISSING, MISSING], ["DELETE", "DELETE", "GET"]),
        ({"recently_created": True}, [MISSING], ["DELETE"]),
        ({"recently_created": True, "missing_ok": True}, [MISSING], ["DELETE"]),
        ({"recently_created": True}, [LOST, MISSING], ["DELETE", "DELETE"]),
    ],
)
async def test_delete_that_finds_no_pod_is_an_error(
    server: RawServer, options: dict[str, Any], replies: list[Reply], methods: list[str]
) -> None:
    server.answers(*replies)
    async with open_endpoints(server.url, retry=RetryPolicy()) as endpoints:
        with pytest.raises(NotFoundError) as caught:
            await delete(endpoints, **options)
    assert methods_of(server) == methods
    assert isinstance(caught.value.__cause__, ServerError) == (LOST in replies)


async def test_delete_of_a_pod_that_is_being_deleted_is_success(server: RawServer) -> None:
    server.answers(MISSING, pod("TERMINATING"))
    async with open_endpoints(server.url, retry=RetryPolicy()) as endpoints:
        await delete(endpoints)
    assert methods_of(server) == ["DELETE", "GET"]
