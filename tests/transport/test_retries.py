"""What is repeated, how often, after how long, and what never is. Requests are counted where they arrive."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.raw_server import RawServer, Reply, envelope, http, raw, reset, silence_on
from yotta_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConnectionLostError,
    CreateOutcomeUnknownError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RetryEvent,
    RetryPolicy,
    ServerError,
    TransportError,
    YottaClient,
    YottaError,
)
from yotta_async.emulator.clock import ManualClock, make_clock
from yotta_async.transport.headers import read_retry_after
from yotta_async.transport.retry import Retrier

Make = Callable[..., YottaClient]
Call = Callable[[YottaClient], Any]

POD = envelope({"id": 7, "status": "RUNNING"})
HTML = http(b"<html>", 502, {"Content-Type": "text/html"})
CUT = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")

get: Call = lambda yotta: yotta.pods.get(7)
list_: Call = lambda yotta: yotta.pods.list()
create: Call = lambda yotta: yotta.pods.create(**SPEC)
pause: Call = lambda yotta: yotta.pods.pause(7)
resume: Call = lambda yotta: yotta.pods.resume(7)
delete: Call = lambda yotta: yotta.pods.delete(7)

ANSWERS: list[tuple[Reply, type[APIError], int | None]] = [
    (envelope(code=10001, status=400), BadRequestError, 10001),
    (envelope(code=10001), BadRequestError, 10001),
    (envelope(code=400, status=400), BadRequestError, 400),
    (envelope(code=10002), ServerError, 10002),
    (envelope(code=10000, status=500), ServerError, 10000),
    (envelope(code=13000, status=500), ServerError, 13000),
    (envelope(code=10007), NotFoundError, 10007),
    (envelope(code=13000, status=400), NotFoundError, 13000),
    (envelope(code=404, status=404), NotFoundError, 404),
    (envelope(code=12001), InvalidStateError, 12001),
    (envelope(code=5, status=409), InvalidStateError, 5),
    (envelope(code=10001, status=401), AuthenticationError, 10001),
    (http(b"Unauthorized", 401), AuthenticationError, None),
    (envelope(code=5, status=403), PermissionDeniedError, 5),
    (http(b"slow down", 429), RateLimitError, None),
    (envelope(code=99999), APIError, 99999),
    (envelope(code=10000, status=418), APIError, 10000),
]


@pytest.mark.parametrize(("reply", "kind", "code"), ANSWERS)
async def test_codes_and_statuses_become_their_errors(
    server: RawServer, client_of: Make, reply: Reply, kind: type[APIError], code: int | None
) -> None:
    server.answers(reply)
    with pytest.raises(APIError) as caught:
        await client_of(retry=RetryPolicy(max_attempts=1)).pods.get(7)
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert (caught.value.method, caught.value.path) == ("GET", "/openapi/v1/pods/7")


@pytest.mark.parametrize("call", [get, list_], ids=["get", "list"])
@pytest.mark.parametrize(
    "failure", [reset, HTML, CUT, envelope(code=10002), envelope(status=503, code=1), envelope(status=408, code=1),
                http(b"", 429), http(b"{"), http(b"", 404)],
)  # fmt: skip
async def test_reads_are_repeated_after_what_may_pass(
    server: RawServer, client_of: Make, call: Call, failure: Reply
) -> None:
    good = envelope([]) if call is list_ else POD
    server.answers(failure, failure, failure, good)
    await call(client_of())
    assert len(server.received) == 4
    server.answers(failure)
    with pytest.raises(YottaError):
        await call(client_of())
    assert len(server.received) == 4


@pytest.mark.parametrize("call", [get, list_, create, pause, resume, delete])
@pytest.mark.parametrize(
    "refusal", [envelope(code=10001, status=400), envelope(code=1, status=401), envelope(code=1, status=403)]
)
async def test_a_plain_refusal_is_never_repeated(
    server: RawServer, client_of: Make, call: Call, refusal: Reply
) -> None:
    server.answers(refusal)
    with pytest.raises(APIError):
        await call(client_of())
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "failure",
    [reset, HTML, CUT, raw(b""), http(b""), http(b"{"), envelope(code=10002), envelope(status=500, code=1),
     envelope("not/an/id"), envelope(None), envelope(True), envelope(-1), envelope([1]), raw(b"HUH\r\n\r\n"), http(b"", 307)],
)  # fmt: skip
async def test_a_create_that_may_have_been_received_is_never_sent_again(
    server: RawServer, client_of: Make, failure: Reply
) -> None:
    server.answers(failure)
    with pytest.raises(CreateOutcomeUnknownError) as caught:
        await create(client_of())
    assert [request.method for request in server.received].count("POST") == 1
    assert isinstance(caught.value.__cause__, ServerError | TransportError)
    assert caught.value.client_token
    assert caught.value.client_token in server.received[0].body.decode()
    assert caught.value.client_token in str(caught.value)


async def test_an_unknown_create_that_timed_out(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    server.answers(silence_on(clock))
    with pytest.raises(CreateOutcomeUnknownError):
        await create(client_of(timeout=45, clock=clock))
    assert [request.method for request in server.received].count("POST") == 1


async def test_a_create_is_repeated_after_429_and_when_nobody_listened(
    server: RawServer, client_of: Make, unused_tcp_port: int
) -> None:
    limited = http(b"", 429)
    server.answers(limited, limited, limited, envelope(9))
    assert (await create(client_of())).id == "9"
    bodies = {request.body for request in server.received}
    assert len(server.received) == 4
    assert len(bodies) == 1, "each attempt has the same token"

    attempts = 0

    class Counting(ManualClock):
        async def sleep(self, seconds: float) -> None:
            nonlocal attempts
            attempts += 1

    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with YottaClient(KEY, base_url=url, clock=Counting()) as yotta:
        with pytest.raises(YottaError):
            await create(yotta)
    assert attempts == 3


async def test_an_unknown_create_is_resolved_by_its_token(server: RawServer, client_of: Make) -> None:
    server.answers(reset)
    yotta = client_of()
    with pytest.raises(CreateOutcomeUnknownError) as caught:
        await create(yotta)
    error = caught.value
    mine = {"id": 9, "environmentVars": [{"key": "YOTTA_CLIENT_TOKEN", "value": error.client_token}]}
    server.answers(envelope([{"id": 8}]), envelope([{"id": 8}, mine]), reset)
    assert await error.resolve() is None
    handle = await error.resolve()
    assert handle is not None
    assert handle.id == "9"
    await yotta.aclose()
    with pytest.raises(ConfigurationError, match="closed"):
        await error.resolve()


async def test_without_a_token_nothing_can_be_resolved(server: RawServer, client_of: Make) -> None:
    server.answers(reset)
    with pytest.raises(CreateOutcomeUnknownError) as caught:
        await create(client_of(client_token=False))
    assert caught.value.client_token is None
    assert b"YOTTA_CLIENT_TOKEN" not in server.received[0].body
    with pytest.raises(ConfigurationError, match="no client token"):
        await caught.value.resolve()


def pod(status: str) -> Reply:
    return envelope({"id": 7, "status": status})


@pytest.mark.parametrize("failure", [reset, HTML, CUT, envelope(code=10002)])
async def test_a_pause_whose_answer_is_lost_is_looked_after(server: RawServer, client_of: Make, failure: Reply) -> None:
    server.answers(failure, pod("PAUSING"))
    await pause(client_of())
    assert [request.method for request in server.received] == ["POST", "GET"]
    server.answers(failure, pod("RUNNING"), envelope())
    await pause(client_of())
    assert [request.method for request in server.received] == ["POST", "GET", "POST"]
    server.answers(failure, pod("FAILED"))
    with pytest.raises(YottaError):
        await pause(client_of())
    assert [request.method for request in server.received] == ["POST", "GET"]


async def test_a_pause_that_arrived_late_is_not_an_error(server: RawServer, client_of: Make) -> None:
    server.answers(reset, pod("RUNNING"), envelope(code=12001), pod("PAUSING"))
    await pause(client_of())
    server.answers(envelope(code=12001))
    with pytest.raises(InvalidStateError):
        await pause(client_of())
    assert len(server.received) == 1


async def test_a_resume_whose_answer_is_lost_is_looked_after(server: RawServer, client_of: Make) -> None:
    server.answers(reset, pod("PAUSED"), reset, pod("INITIALIZE"))
    await resume(client_of())
    assert [request.method for request in server.received] == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("call", [pause, resume])
async def test_a_change_gets_three_tries(server: RawServer, client_of: Make, call: Call) -> None:
    server.answers(http(b"", 429))
    with pytest.raises(RateLimitError):
        await call(client_of())
    assert len(server.received) == 3


@pytest.mark.parametrize("failure", [reset, HTML, CUT, envelope(code=10002), http(b"", 429)])
async def test_a_delete_gets_eight_tries(server: RawServer, client_of: Make, failure: Reply) -> None:
    server.answers(*[failure] * 7, envelope())
    await delete(client_of())
    assert len(server.received) == 8


async def test_not_finding_what_was_deleted_is_success_only_after_a_try(server: RawServer, client_of: Make) -> None:
    missing = envelope(code=13000)
    server.answers(reset, missing)
    await delete(client_of())
    server.answers(missing)
    with pytest.raises(NotFoundError):
        await delete(client_of())
    server.answers(http(b"", 429), missing)
    with pytest.raises(NotFoundError):
        await delete(client_of())
    server.answers(missing)
    await client_of().pods.delete(7, missing_ok=True)


async def test_a_delete_refused_because_the_first_try_took_effect(server: RawServer, client_of: Make) -> None:
    server.answers(HTML, envelope(code=12001), pod("TERMINATING"))
    await delete(client_of())
    server.answers(envelope(code=12001), pod("TERMINATED"))
    await client_of().pods.delete(7, missing_ok=True)


async def test_a_delete_refused_at_first_is_success_for_a_pod_on_its_way_out(
    server: RawServer, client_of: Make
) -> None:
    """A proxy such as nginx repeats a DELETE whose response it lost: the first one that we see is then refused."""
    for status in ("TERMINATING", "TERMINATED"):
        server.answers(envelope(code=12001), pod(status))
        await delete(client_of())
        assert [request.method for request in server.received] == ["DELETE", "GET"]
    server.answers(envelope(code=12001), pod("RUNNING"))
    with pytest.raises(InvalidStateError):
        await delete(client_of())


@pytest.mark.parametrize("call", [get, list_, create, pause, resume, delete])
@pytest.mark.parametrize("tries", [1, 2])
async def test_max_attempts_bounds_every_call(server: RawServer, client_of: Make, call: Call, tries: int) -> None:
    server.answers(http(b"", 429))
    with pytest.raises(RateLimitError):
        await call(client_of(retry=RetryPolicy(max_attempts=tries)))
    assert len(server.received) == tries


OWN_BOUNDS = RetryPolicy(max_attempts=2, change_attempts=5, delete_attempts=6)


@pytest.mark.parametrize(
    ("policy", "call", "tries"),
    [*((OWN_BOUNDS, call, tries) for call, tries in ((pause, 5), (resume, 5), (delete, 6), (get, 2))),
     *((RetryPolicy(max_attempts=5), call, tries) for call, tries in ((pause, 3), (delete, 5), (get, 5)))],
)  # fmt: skip
async def test_changes_and_deletes_have_bounds_of_their_own(
    server: RawServer, client_of: Make, policy: RetryPolicy, call: Call, tries: int
) -> None:
    server.answers(http(b"", 429))
    with pytest.raises(RateLimitError):
        await call(client_of(retry=policy))
    assert len(server.received) == tries


async def test_a_repeat_waits_as_long_as_the_api_asks(server: RawServer, client_of: Make) -> None:
    clock = make_clock("auto")
    server.answers(envelope(code=1, status=429, Retry_After="30"), POD)
    await get(client_of(clock=clock))
    assert 30 <= clock.time() <= 30.25
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    server.answers(http(b"", 503, {"Retry-After": later}), POD)
    clock = make_clock("auto")
    await get(client_of(clock=clock))
    assert 55 <= clock.time() <= 61


async def test_a_wait_that_is_too_long_is_told_at_once(server: RawServer, client_of: Make) -> None:
    server.answers(http(b"", 429, {"Retry-After": "3600"}))
    with pytest.raises(RateLimitError) as caught:
        await get(client_of())
    assert caught.value.retry_after == 3600
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("0", 0.0), (" 1.5 ", 1.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
     ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0), ("", None), ("-1", None), ("inf", None),
     ("soon", None), ("1e9", None), ("٣", None), ("Wed, 99 Oct 2015 07:28:00 GMT", None)],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms(text: str, seconds: float | None) -> None:
    assert read_retry_after({"Retry-After": text} if text else {}) == seconds


async def test_pauses_have_full_jitter_below_a_doubling_ceiling(server: RawServer, client_of: Make) -> None:
    class Noting(ManualClock):
        pauses: list[float] = []  # noqa: RUF012  # one list for the test

        async def sleep(self, seconds: float) -> None:
            self.pauses.append(seconds)

    server.answers(envelope(code=10002))
    policy = RetryPolicy(max_attempts=12, backoff_base=1.0, backoff_cap=20.0)
    for _ in range(8):
        with pytest.raises(ServerError):
            await get(client_of(clock=Noting(), retry=policy))
    assert len(Noting.pauses) == 8 * 11
    ceilings = [min(20.0, 2.0**n) for n in range(11)] * 8
    assert all(0 <= pause <= ceiling for pause, ceiling in zip(Noting.pauses, ceilings, strict=True))
    assert max(Noting.pauses) > 10
    assert min(Noting.pauses) < 1


@pytest.mark.parametrize(
    ("policy", "reply", "delays"),
    [
        ({}, envelope(code=10002), [0.25, 0.5, 1, 2, 4, 8, 16, 20, 20]),
        ({"backoff_base": 3, "backoff_cap": 10}, envelope(code=10002), [3, 6, 10]),
        ({}, envelope(code=1, status=429, Retry_After="1"), [1.25, 1.25, 1.25, 2.25, 4.25]),
        ({}, envelope(code=1, status=429, Retry_After="0"), [0.25, 0.5, 1]),
        ({}, envelope(code=1, status=429, Retry_After="120"), [120.25, 120.25]),
        ({}, envelope(code=1, status=429, Retry_After="121"), []),
        ({"max_retry_after": 0}, envelope(code=1, status=429, Retry_After="1"), []),
    ],
)
async def test_longest_delays_of_a_policy(
    server: RawServer,
    client_of: Make,
    monkeypatch: pytest.MonkeyPatch,
    policy: dict[str, Any],
    reply: Reply,
    delays: list[float],
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, highest: highest)
    seen: list[float] = []
    max_attempts = max(2, len(delays) + 1)
    server.answers(reply)
    with pytest.raises(APIError):
        await get(
            client_of(
                retry=RetryPolicy(max_attempts=max_attempts, on_retry=lambda event: seen.append(event.delay), **policy)
            )
        )
    assert seen == delays


async def test_budget_of_retries_is_100_by_default_and_refilled_by_a_tenth_per_success(
    server: RawServer, client_of: Make
) -> None:
    server.answers(envelope(code=10002))
    yotta = client_of()
    for _ in range(34):
        with pytest.raises(ServerError):
            await get(yotta)
    assert len(server.received) == 34 + 100
    for successes, requests in ((9, 1), (2, 2)):
        server.answers(POD)
        for _ in range(successes):
            await get(yotta)
        server.answers(envelope(code=10002))
        with pytest.raises(ServerError):
            await get(yotta)
        assert len(server.received) == requests


async def test_budget_does_not_grow_beyond_what_it_was(server: RawServer, client_of: Make) -> None:
    yotta = client_of(retry=RetryPolicy(budget=1, budget_refill=1))
    server.answers(POD)
    for _ in range(3):
        await get(yotta)
    server.answers(envelope(code=10002))
    with pytest.raises(ServerError):
        await get(yotta)
    assert len(server.received) == 2


async def test_an_outage_is_not_multiplied(server: RawServer, client_of: Make) -> None:
    yotta = client_of(retry=RetryPolicy(budget=5, budget_refill=0.5))
    server.answers(envelope(code=10002))
    notes: list[str] = []
    for _ in range(20):
        with pytest.raises(ServerError) as caught:
            await get(yotta)
        notes += getattr(caught.value, "__notes__", [])
    assert len(server.received) == 20 + 5
    assert notes[-1] == "Not retried: the retry budget of this client is used up. Successful calls refill it."
    server.answers(POD)
    for _ in range(4):
        await get(yotta)
    server.answers(envelope(code=10002))
    with pytest.raises(ServerError):
        await get(yotta)
    assert len(server.received) == 1 + 2, "four successes gave two repeats back"
    with pytest.raises(ServerError):
        await delete(yotta)
    assert len(server.received) == 3 + 8, "deletes do without the budget"


async def test_retries_of_a_delete_leave_the_budget_to_others(server: RawServer, client_of: Make) -> None:
    yotta = client_of(retry=RetryPolicy(budget=2))
    server.answers(envelope(code=10002))
    with pytest.raises(ServerError):
        await delete(yotta)
    server.received.clear()
    with pytest.raises(ServerError):
        await get(yotta)
    assert len(server.received) == 1 + 2


async def test_a_cancelled_pause_between_tries_is_not_repeated(server: RawServer, client_of: Make) -> None:
    clock = ManualClock()
    server.answers(envelope(code=10002))
    call = asyncio.create_task(get(client_of(clock=clock)))
    while not server.received:
        await asyncio.sleep(0)
    await clock.advance(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await clock.advance(100)
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"max_attempts": 0}, {"max_attempts": True}, {"max_attempts": 1.5}, {"delete_attempts": 0}, {"change_attempts": 0}, {"backoff_base": -1},
     {"backoff_cap": float("inf")}, {"max_retry_after": "long"}, {"budget": "many"}, {"budget_refill": float("nan")}],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"RetryPolicy.{next(iter(wrong))} must be"):
        RetryPolicy(**wrong)


async def test_a_connection_that_closes_between_calls_is_not_an_error(server: RawServer, client_of: Make) -> None:
    once = raw(b'HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n{"code":10000,"data":{"id":"7"}}'[:-1] + b"}")
    server.answers(once)
    yotta = client_of(retry=RetryPolicy(max_attempts=1))
    for _ in range(3):
        with pytest.raises((ConnectionLostError, ProtocolError)):
            await get(yotta)
        await asyncio.sleep(0)


@pytest.mark.parametrize("call", [pause, resume, delete])
@pytest.mark.parametrize("later", [http(b"", 429), envelope(code=10002), HTML])
async def test_a_later_failure_does_not_hide_that_an_attempt_may_have_been_received(
    server: RawServer, client_of: Make, call: Call, later: Reply
) -> None:
    server.answers(reset, later)
    with pytest.raises((TransportError, ServerError)) as caught:
        await call(client_of())
    error = caught.value
    assert isinstance(error, ServerError | TransportError)
    assert isinstance(error, ServerError) or error.request_sent
    assert error.method != "GET"


@pytest.mark.parametrize("call", [pause, delete])
async def test_a_server_that_goes_away_after_a_try_does_not_hide_it(server: RawServer, call: Call) -> None:
    async def reset_and_go(request: Any, writer: asyncio.StreamWriter) -> None:
        server.listener.close()
        await reset(request, writer)

    server.answers(reset_and_go)
    async with YottaClient(KEY, base_url=server.url, clock=make_clock("auto")) as yotta:
        with pytest.raises(ConnectionLostError) as caught:
            await call(yotta)
    assert caught.value.request_sent
    assert "A later attempt failed too: GET" in " ".join(caught.value.__notes__) or call is delete


async def test_a_refusal_after_a_try_in_doubt_says_both(server: RawServer, client_of: Make) -> None:
    server.answers(reset, envelope(code=1, status=401))
    with pytest.raises(AuthenticationError) as caught:
        await pause(client_of())
    assert isinstance(caught.value.__cause__, ConnectionLostError)


@pytest.mark.parametrize("missing_ok", [False, True])
async def test_a_delete_refused_because_the_pod_is_gone_by_now(
    server: RawServer, client_of: Make, missing_ok: bool
) -> None:
    server.answers(*([] if missing_ok else [reset]), envelope(code=12001), envelope(code=13000))
    await client_of().pods.delete(7, missing_ok=missing_ok)


async def test_an_outage_does_not_multiply_looks(server: RawServer, client_of: Make) -> None:
    server.answers(reset)
    for call, requests in ((pause, 3), (delete, 8)):
        server.received.clear()
        with pytest.raises(ConnectionLostError):
            await call(client_of())
        assert len(server.received) == requests


# The on_retry hook


async def test_on_retry_gets_each_retry_before_its_wait(
    server: RawServer, client_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    clock = make_clock("auto")
    events: list[tuple[RetryEvent, float]] = []
    policy = RetryPolicy(on_retry=lambda event: events.append((event, clock.time())))
    server.answers(http(b"", 503, {"Retry-After": "30"}), envelope(code=10002), POD)
    with caplog.at_level("DEBUG", "yotta_async"):
        await client_of(clock=clock, retry=policy).pods.get(7)
    (first, first_time), (second, second_time) = events
    assert [type(first.error), type(second.error)] == [ProtocolError, ServerError]
    assert (first.attempt, second.attempt) == (1, 2)
    assert 30 <= first.delay <= 30.25
    assert 0 <= second.delay <= 0.5
    assert [first_time, second_time] == pytest.approx([0, first.delay])
    assert clock.time() == pytest.approx(first.delay + second.delay)
    assert str(first).startswith(f"will retry in {first.delay:.2f} s (attempt 1 failed), because of ")
    assert [str(first), str(second)] == [message for message in caplog.messages if "will retry" in message]


async def test_what_on_retry_raises_ends_the_call(server: RawServer, client_of: Make) -> None:
    def fail(_: RetryEvent) -> None:
        raise KeyError("mine")

    server.answers(HTML)
    with pytest.raises(KeyError, match="mine"):
        await client_of(retry=RetryPolicy(on_retry=fail)).pods.get(7)
    assert len(server.received) == 1


def test_on_retry_must_be_a_function() -> None:
    with pytest.raises(ConfigurationError, match=r"RetryPolicy\.on_retry must be a function"):
        RetryPolicy(on_retry="print")  # type: ignore[arg-type]  # wrong on purpose


async def test_the_bounds_of_a_policy_are_part_of_it(server: RawServer, client_of: Make) -> None:
    RetryPolicy(backoff_base=0, backoff_cap=0, max_retry_after=0, budget=0, budget_refill=0)
    server.answers(http(b"", 503, {"Retry-After": "30"}), POD)
    await client_of(retry=RetryPolicy(max_retry_after=30, budget=1)).pods.get(7)
    assert len(server.received) == 2


@pytest.mark.parametrize(("deadline", "attempts"), [(29.0, 1), (30.0, 1), (31.0, 2)])
async def test_no_retry_begins_after_the_deadline(deadline: float, attempts: int) -> None:
    clock = make_clock("auto")
    begun = 0

    async def attempt() -> None:
        nonlocal begun
        begun += 1
        raise ProtocolError("busy", retry_after=30.0)

    with pytest.raises(ProtocolError):
        await Retrier(RetryPolicy(backoff_base=0), clock).run(attempt, max_attempts=4, deadline=deadline)
    assert begun == attempts
    assert clock.time() == 30 * (attempts - 1)


@pytest.mark.parametrize(("deadline", "seconds"), [(math.inf, math.inf), (130, 30), (100, 0.001), (90, 0.001)])
async def test_attempt_has_the_time_until_the_deadline_and_at_least_a_moment(deadline: float, seconds: float) -> None:
    clock = ManualClock()
    await clock.advance(100)
    assert Retrier(RetryPolicy(), clock).seconds_left(deadline) == seconds
