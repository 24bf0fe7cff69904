"""Waiting for a status, with time that moves by itself."""

from __future__ import annotations

import asyncio
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import SPEC
from tests.raw_server import RawServer, Reply, envelope, http, reset
from yotta_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    Pod,
    PodFailedError,
    PodGoneError,
    PodStatus,
    ServerError,
    WaitTimeoutError,
    YottaClient,
)
from yotta_async.emulator import Emulator, Timings
from yotta_async.emulator.clock import ManualClock, make_clock

pytestmark = pytest.mark.both_versions

Make = Callable[..., YottaClient]
HTML = http(b"<html>", 502)


def pod(status: str | None) -> Reply:
    return envelope({"id": 7, "status": status, "environmentVars": [{"key": "A", "value": "hunter2"}]})


async def test_an_hour_of_waiting_takes_no_time() -> None:
    async with (
        Emulator(clock="auto", timings=Timings(initialize=3600.0)) as emulator,
        emulator.client(poll_interval=60) as yotta,
    ):
        handle = await yotta.pods.create(**SPEC)
        seen: list[Pod] = []
        pod = await handle.wait_until(timeout=4000, on_change=seen.append)
        assert [change.status for change in seen] == ["INITIALIZE", "RUNNING"]
        assert pod is seen[-1]
        assert 3600 <= emulator.clock.time() <= 3667
        assert len(emulator.requests) <= 70, "each pause is 54 to 66 s"


async def test_a_manual_clock_moves_waits_step_by_step() -> None:
    async with (
        Emulator(clock="manual", timings=Timings(initialize=180.0)) as emulator,
        emulator.client(poll_interval=5) as yotta,
    ):
        handle = await yotta.pods.create(**SPEC)
        waiting = asyncio.create_task(handle.wait_until())
        await emulator.clock.advance(179)
        assert not waiting.done()
        await emulator.clock.advance(7)
        assert (await waiting).status == "RUNNING"
        # One create, and a look every 5 seconds, give or take a tenth.
        assert 1 + 180 / 5.5 <= len(emulator.requests) <= 2 + 186 / 4.5


async def test_failures_that_may_pass_are_borne(server: RawServer, client_of: Make) -> None:
    failures = [HTML, reset, envelope(code=10002), http(b"", 429), http(b"{"), envelope(code=99999), pod(None)]
    server.answers(*failures, pod("INITIALIZE"), pod("RUNNING"))
    found = await client_of().pods.wait_until(7)
    assert found.status == "RUNNING"
    assert len(server.received) == len(failures) + 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (envelope(code=10001, status=400), BadRequestError),
        (http(b"", 401), AuthenticationError),
        (envelope(code=1, status=403), PermissionDeniedError),
    ],
)
async def test_what_will_not_pass_ends_a_wait_as_it_is(
    server: RawServer, client_of: Make, reply: Reply, kind: type[APIError]
) -> None:
    server.answers(pod("INITIALIZE"), reply)
    with pytest.raises(kind):
        await client_of().pods.wait_until(7)
    assert len(server.received) == 2


@pytest.mark.parametrize("state", ["FAILED", "TERMINATING", "TERMINATED"])
async def test_a_state_from_which_the_target_cannot_come_ends_a_wait_at_once(
    server: RawServer, client_of: Make, state: str
) -> None:
    server.answers(pod("INITIALIZE"), pod(state))
    why = r" \(no capacity .*\)" if state == "FAILED" else ""
    with pytest.raises(PodFailedError, match=f"it is {state}{why}, and cannot become RUNNING") as caught:
        await client_of().pods.wait_until(7)
    assert len(server.received) == 2
    assert [status for status, _ in caught.value.history] == ["INITIALIZE", state]


async def test_a_paused_or_unknown_state_is_on_the_way(server: RawServer, client_of: Make) -> None:
    server.answers(pod("PAUSED"), pod("MIGRATING"), pod("RUNNING"))
    assert (await client_of().pods.wait_until(7)).status == "RUNNING"


async def test_a_pod_that_is_not_there_any_more(server: RawServer, client_of: Make) -> None:
    server.answers(pod("RUNNING"), envelope(code=13000))
    with pytest.raises(PodGoneError, match="does not exist any more") as caught:
        await client_of().pods.wait_until(7, status=PodStatus.PAUSED)
    assert caught.value.last_pod is not None
    assert caught.value.last_pod.status == "RUNNING"
    assert isinstance(caught.value.__cause__, NotFoundError)


@pytest.mark.parametrize("statuses", [[None], ["INITIALIZE", None, "INITIALIZE", None]])
async def test_one_not_found_does_not_end_a_wait(
    server: RawServer, client_of: Make, statuses: list[str | None]
) -> None:
    replies = [pod(status) if status else envelope(code=13000) for status in statuses]
    server.answers(*replies, pod("RUNNING"))
    assert (await client_of().pods.wait_until(7)).status == "RUNNING"
    assert len(server.received) == len(replies) + 1


async def test_a_wait_for_terminated_is_satisfied_by_a_pod_that_is_gone(server: RawServer, client_of: Make) -> None:
    gone = envelope(code=13000)
    server.answers(pod("RUNNING"), gone)
    found = await client_of().pods.wait_until(7, status=PodStatus.TERMINATED)
    assert found.status == PodStatus.TERMINATED
    assert found.environment_vars[0].value == "hunter2"
    server.answers(gone)
    assert await client_of().pods.wait_until(7, status="TERMINATED") == Pod(id="7", status=PodStatus.TERMINATED)


async def test_a_timeout_tells_what_was_seen(server: RawServer, client_of: Make) -> None:
    server.answers(pod("INITIALIZE"), pod("PREPARING"), HTML)
    clock = make_clock("auto")
    await clock.sleep(1000)
    with pytest.raises(WaitTimeoutError) as caught:
        await client_of(clock=clock, poll_interval=5).pods.wait_until(7, timeout=60)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert error.pod_id == "7"
    assert [status for status, _ in error.history] == ["INITIALIZE", "PREPARING"]
    assert [seconds for _, seconds in error.history] == pytest.approx([0, 5], abs=0.6)
    assert error.last_pod is not None
    assert error.last_pod.status == "PREPARING"
    assert error.last_pod.environment_vars[0].value == "***"
    looks = len(server.received)
    expected = (
        rf"pod 7: it was not RUNNING within 60 s\. Seen: INITIALIZE at 0\.0 s, PREPARING at \d\.\d s; {looks} polls, "
    )
    expected += rf"{looks - 2} of them failed; the last error was ProtocolError: "
    assert re.match(expected, str(error)), str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.history, copy.last_pod) == (str(error), error.history, error.last_pod)
    assert b"hunter2" not in pickle.dumps(error)


async def test_a_timeout_tells_that_nothing_was_seen(server: RawServer, client_of: Make) -> None:
    server.answers(HTML)
    with pytest.raises(WaitTimeoutError, match=r"Seen: nothing; \d+ polls") as caught:
        await client_of().pods.wait_until(7, timeout=60)
    assert (caught.value.last_pod, caught.value.history) == (None, ())


async def test_a_last_look_is_taken_shortly_before_the_deadline(server: RawServer, client_of: Make) -> None:
    server.answers(pod("INITIALIZE"), pod("RUNNING"))
    assert (await client_of(poll_interval=100).pods.wait_until(7, timeout=10)).status == "RUNNING"
    assert len(server.received) == 2


async def test_a_deadline_cuts_off_a_look_that_hangs(server: RawServer, client_of: Make) -> None:
    async def hang(_: object, writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    server.answers(hang)
    with pytest.raises(WaitTimeoutError):
        await client_of(clock=None).pods.wait_until(7, timeout=0.1)


async def test_on_change_may_be_a_coroutine_function_and_may_raise(server: RawServer, client_of: Make) -> None:
    server.answers(pod("INITIALIZE"), pod("INITIALIZE"), pod("RUNNING"))
    seen = []

    async def note(pod: Pod) -> None:
        await asyncio.sleep(0)
        seen.append(pod.status)
        if pod.status == "RUNNING":
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await client_of().pods.wait_until(7, on_change=note)
    assert seen == ["INITIALIZE", "RUNNING"]


async def test_what_was_observed_before_the_deadline_counts_after_a_slow_on_change(
    server: RawServer, client_of: Make
) -> None:
    server.answers(pod("INITIALIZE"), pod("RUNNING"))
    clock = make_clock("auto")
    yotta = client_of(clock=clock)
    found = await yotta.pods.wait_until(7, timeout=30, on_change=lambda _: clock.sleep(60))
    assert found.status == "RUNNING"


async def test_a_slow_on_change_is_called_for_every_change_and_the_newest_pod_is_returned(
    server: RawServer, client_of: Make
) -> None:
    statuses = ["INITIALIZE", "INITIALIZE", "PREPARING", "PREPARING", "RUNNING", "RUNNING", "RUNNING", "RUNNING"]
    server.answers(
        *(envelope({"id": 7, "status": status, "podName": f"n{n}"}) for n, status in enumerate(statuses)),
    )
    clock = ManualClock()
    seen = []

    async def note(pod: Pod) -> None:
        seen.append(pod.status)
        if len(seen) == 1:
            await clock.sleep(60)

    waiting = asyncio.create_task(client_of(clock=clock).pods.wait_until_ready(7, on_change=note))
    await clock.advance(70)
    assert (await waiting).pod_name == "n7"
    assert seen == ["INITIALIZE", "PREPARING", "RUNNING"]


async def test_a_poll_is_not_repeated_by_itself(server: RawServer, client_of: Make) -> None:
    server.answers(envelope(code=10002))
    with pytest.raises(WaitTimeoutError) as caught:
        await client_of(poll_interval=10).pods.wait_until(7, timeout=60)
    assert 6 <= len(server.received) <= 8
    assert isinstance(caught.value.last_error, ServerError)


@pytest.mark.parametrize(
    "wrong", [{"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"timeout": True}, {"timeout": "5"},
              {"poll_interval": 0}, {"status": 99}, {"status": ""}, {"timeout": 10**400}, {"status": "RUNING"}, {"status": []},
              {"on_change": 5}],
)  # fmt: skip
async def test_a_wait_that_cannot_be_is_refused(server: RawServer, client_of: Make, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(wrong))):
        await client_of().pods.wait_until(7, **wrong)
    assert not server.received
