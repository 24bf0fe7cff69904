"""Creates over real sockets through every fault: none sent twice that may have been received, and none lost."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.calls import name_call
from tests.conftest import KEY, SPEC
from tests.creates import StoppedDisk, cancel_once_received, read_open_intents
from tests.parts import list_poller_tasks
from tests.pod_server import FAULTS, PodServer
from tests.raw_server import RawServer, RecordedRequest, Reply, envelope, http, reset
from yotta_async import (
    AuthenticationError,
    CapacityError,
    ConfigurationError,
    CreateOutcomeUnknownError,
    FanOutError,
    PodHandle,
    PodSpec,
    RateLimitError,
    RolledBackError,
    YottaClient,
    YottaError,
)
from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.creation.creator import CreateAttempt
from yotta_async.emulator.clock import EmulatorClock, ManualClock, make_clock

pytestmark = pytest.mark.both_versions


def client_of(api: PodServer | RawServer, **options: Any) -> YottaClient:
    return YottaClient(KEY, base_url=api.url, **{"clock": make_clock("auto"), **options})


async def outcome(yotta: YottaClient) -> PodHandle | YottaError:
    try:
        return await yotta.pods.create(**SPEC)
    except YottaError as error:
        return error


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
async def test_150_creates_through_every_fault(api: PodServer, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    api.fault = lambda what: draw.choice(list(FAULTS)) if what in ("create", "list") and draw.random() < 0.6 else "none"
    api.listed = lambda pods: pods[draw.choice([0, 0, 5]) :]
    async with client_of(api, journal=tmp_path) as yotta:
        outcomes = await asyncio.gather(*(outcome(yotta) for _ in range(150)))
        held = {each.id for each in outcomes if isinstance(each, PodHandle)}
        unknown = [each for each in outcomes if isinstance(each, CreateOutcomeUnknownError)]
        assert all(isinstance(each, PodHandle | CreateOutcomeUnknownError | RateLimitError) for each in outcomes)
        api.fault, api.listed = lambda _: "none", lambda pods: pods
        held |= {found.id for error in unknown if (found := await error.resolve()) is not None}
        assert held == set(api.alive)
    assert set(api.posts.values()) == {1}
    tokens = [pod["environmentVars"][-1]["value"] for pod in api.pods.values()]
    assert len(set(tokens)) == len(tokens)
    assert len(held) > 75


@pytest.mark.parametrize("fault", [fault for fault, (acts, reply) in FAULTS.items() if acts and reply])
async def test_a_create_whose_answer_is_unusable_is_found_in_a_list(api: PodServer, fault: str) -> None:
    api.fault = lambda what: fault if what == "create" else "none"
    async with client_of(api) as yotta:
        handle = await yotta.pods.create(**SPEC)
        assert api.alive == [handle.id]
    assert api.requests == ["create", "list"]


@pytest.mark.parametrize("fault", [fault for fault, (acts, _) in FAULTS.items() if not acts and fault != "429"])
async def test_a_create_that_no_list_shows_is_unknown_after_a_minute(api: PodServer, fault: str) -> None:
    api.fault = lambda what: fault if what == "create" else "none"
    clock = make_clock("auto")
    async with client_of(api, clock=clock) as yotta:
        began = clock.time()
        with pytest.raises(CreateOutcomeUnknownError, match="No list has shown it"):
            await yotta.pods.create(**SPEC)
        assert clock.time() - began >= 60
    assert api.requests.count("create") == 1
    assert 10 <= api.requests.count("list") <= 16


@pytest.mark.parametrize(("poll_interval", "fewest", "most"), [(60, 10, 16), (1, 40, 70)])
async def test_lost_create_is_searched_for_at_the_poll_interval_and_at_least_every_five_seconds(
    api: PodServer, poll_interval: float, fewest: int, most: int
) -> None:
    api.fault = lambda what: "reset before" if what == "create" else "none"
    async with client_of(api, poll_interval=poll_interval) as yotta:
        with pytest.raises(CreateOutcomeUnknownError):
            await yotta.pods.create(**SPEC)
    assert fewest <= api.requests.count("list") <= most


async def test_one_list_looks_for_all_until_the_last_is_found(api: PodServer) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "none"
    lists = 0

    def show_some(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nonlocal lists
        lists += 1
        return pods if lists > 4 else pods[:30] if lists > 3 else []

    api.listed = show_some
    async with client_of(api) as yotta:
        handles = await asyncio.gather(*(yotta.pods.create(**SPEC) for _ in range(60)))
        assert sorted(handle.id for handle in handles) == sorted(api.alive)
        assert lists <= 7
        assert not await list_poller_tasks()
        assert (await yotta.pods.create(**SPEC)).id in api.alive


async def test_waiters_and_unsettled_creates_share_lists(api: PodServer) -> None:
    api.fault = lambda what: "reset before" if what == "create" and api.pods else "none"
    async with client_of(api) as yotta:
        first = await yotta.pods.create(**SPEC)
        waiting = asyncio.create_task(first.wait_until(status="PAUSED", timeout=50))
        with pytest.raises(CreateOutcomeUnknownError):
            await yotta.pods.create(**SPEC)
        with pytest.raises(YottaError):
            await waiting
    assert api.requests.count("list") <= 24
    assert api.requests.count("GET") <= 2


async def test_without_a_token_it_is_unknown_at_once(server: RawServer) -> None:
    server.answers(reset)
    async with client_of(server, client_token=False) as yotta:
        with pytest.raises(CreateOutcomeUnknownError, match=r"no client token.*Compare `pods\.list\(\)`"):
            await yotta.pods.create(**SPEC)
        assert len(server.received) == 1
        await cancel_once_received(yotta, server.received)
    assert [request.method for request in server.received] == ["POST", "POST"]


async def test_a_key_that_is_refused_ends_the_looking(server: RawServer) -> None:
    async def serve(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        reply = reset if request.method == "POST" else envelope(code=401, status=401)
        await reply(request, writer)

    clock = make_clock("auto")
    server.answers(serve)
    async with client_of(server, clock=clock) as yotta:
        for _ in range(2):
            with pytest.raises(CreateOutcomeUnknownError, match=AuthenticationError.__name__):
                await yotta.pods.create(**SPEC)
        assert clock.time() < 10


async def test_fault_of_the_client_in_the_search_leaves_a_create_unknown(
    api: PodServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: PodListSnapshot) -> None:
        raise KeyError("a fault of the client")

    api.fault = lambda what: "reset after" if what == "create" else "none"
    async with client_of(api) as yotta:
        with monkeypatch.context() as broken:
            broken.setattr(PodListSnapshot, "find_tokens", fail)
            with pytest.raises(CreateOutcomeUnknownError, match="It cannot be searched for") as caught:
                await yotta.pods.create(**SPEC)
        assert await caught.value.resolve() is not None


async def test_of_several_pods_with_the_token_the_lowest_is_kept_and_the_others_deleted(server: RawServer) -> None:
    deleted = []

    async def serve(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        marks = json.loads(server.received[0].body)["environmentVars"]
        if request.method == "POST":
            await reset(request, writer)
        elif name_call(request) == "list":
            pods = [{"id": pod, "status": status, "environmentVars": marks} for pod, status in
                    [("12", "RUNNING"), ("11", "INITIALIZE"), ("100", "RUNNING"), ("7", "TERMINATED")]]  # fmt: skip
            await envelope(pods)(request, writer)
        elif request.method == "DELETE":
            deleted.append(request.path.rpartition("/")[2])
            await envelope()(request, writer)
        else:
            await envelope(code=13000)(request, writer)

    server.answers(serve)
    async with client_of(server) as yotta:
        assert (await yotta.pods.create(**SPEC)).id == "11"
        async with asyncio.timeout(5):
            while sorted(deleted) != ["100", "12", "7"]:
                await asyncio.sleep(0)


async def test_unknown_create_says_how_the_last_list_failed(api: PodServer) -> None:
    api.fault = lambda what: "reset before" if what == "create" else "500 before"
    async with client_of(api, settle_timeout=7) as yotta:
        with pytest.raises(CreateOutcomeUnknownError, match=r"The last list failed: ServerError\."):
            await yotta.pods.create(**SPEC)
        api.fault = lambda what: "reset before" if what == "create" else "none"
        with pytest.raises(CreateOutcomeUnknownError, match=r"No list has shown it\. Call `await error\.resolve"):
            await yotta.pods.create(**SPEC)


@pytest.mark.one_version
@pytest.mark.parametrize(
    ("pod_name", "hidden", "words"),
    [
        (
            "mine",
            {"environmentVars"},
            ["by the name that you gave it, 'mine'", "keep or delete it", "Without pod_name"],
        ),
        ("mine", set(), ["error.resolve()"]),
        (None, {"environmentVars", "name"}, ["in the console by its name, 'yotta-async-{token}'", "keep or delete it"]),
        (None, {"environmentVars"}, ["error.resolve()"]),
    ],
)
async def test_unknown_create_says_how_to_find_its_pod(
    api: PodServer, pod_name: str | None, hidden: set[str], words: list[str]
) -> None:
    api.fault = lambda what: "reset before" if what == "create" else "none"
    api.pods["7"] = {"id": "7", "name": "other", "status": "RUNNING", "environmentVars": [{"key": "A", "value": "1"}]}
    api.hidden_in_v2 = hidden
    async with client_of(api, api_version="v2") as yotta:
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await yotta.pods.create(**SPEC, pod_name=pod_name)
    for text in words:
        assert text.format(token=caught.value.client_token) in str(caught.value)


async def test_closing_lets_a_create_be_found(api: PodServer) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "none"
    yotta = client_of(api)
    seen = asyncio.Event()
    api.listed = lambda pods: pods if seen.is_set() else seen.set() or []  # type: ignore[func-returns-value]  # it sets
    creating = asyncio.create_task(yotta.pods.create(**SPEC))
    await seen.wait()
    await yotta.aclose()
    assert (await creating).id in api.alive


async def test_a_create_cancelled_while_it_is_looked_for_leaves_no_pod(api: PodServer) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "none"
    seen = asyncio.Event()
    api.listed = lambda pods: pods if seen.is_set() else seen.set() or []  # type: ignore[func-returns-value]  # it sets
    async with client_of(api) as yotta:
        creating = asyncio.create_task(yotta.pods.create(**SPEC))
        await seen.wait()
        creating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating
        assert api.alive == []


async def test_a_settle_timeout_bounds_the_looking(api: PodServer) -> None:
    api.fault = lambda what: "reset before" if what == "create" else "none"
    clock = make_clock("auto")
    async with client_of(api, clock=clock, settle_timeout=7) as yotta:
        with pytest.raises(CreateOutcomeUnknownError):
            await yotta.pods.create(**SPEC)
        assert 7 <= clock.time() < 9


def test_a_journal_and_no_token_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="token"):
        YottaClient(KEY, journal=tmp_path, client_token=False)


async def late(api: PodServer, seconds: float, clock: Any) -> None:
    """Let a pod be known to gets and deletes only so long after it was made."""
    act = api.act
    made: dict[str, float] = {}

    def lagging(what: str, request: RecordedRequest) -> Any:
        pod_id = request.path.rpartition("/")[2]
        if what in ("GET", "DELETE") and clock.time() < made.setdefault(pod_id, clock.time()) + seconds:
            return envelope(code=13000)
        return act(what, request)

    api.act = lagging  # type: ignore[method-assign]  # a replica that lags


async def test_an_adopted_pod_that_a_get_does_not_know_yet_is_not_gone(api: PodServer) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "none"
    clock = make_clock("auto")
    await late(api, 4, clock)
    async with client_of(api, clock=clock) as yotta, yotta.pods.ephemeral(**SPEC) as handle:
        assert api.alive == [handle.id]
    assert api.alive == []


async def test_not_to_be_found_after_a_failed_delete_is_not_gone_for_a_new_pod(api: PodServer) -> None:
    api.fault = lambda what: "500 before" if what == "DELETE" and api.requests.count("DELETE") == 1 else "none"
    clock = make_clock("auto")
    await late(api, 3, clock)
    async with client_of(api, clock=clock) as yotta:
        ephemeral = yotta.pods.ephemeral(**SPEC)
        entering = asyncio.create_task(ephemeral.__aenter__())
        while "GET" not in api.requests:
            await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
    assert len(api.pods) == 1
    assert api.alive == []


async def test_a_pod_with_a_field_that_cannot_be_read_is_found_all_the_same(api: PodServer) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "none"
    api.listed = lambda pods: [{**pod, **change} for change in ({"id": None}, {"gpuCount": "one"}) for pod in pods]
    async with client_of(api) as yotta:
        assert (await yotta.pods.create(**SPEC)).id in api.alive


@pytest.mark.parametrize(("ends", "error"), [("cancel", asyncio.CancelledError), ("aclose", RateLimitError)])
async def test_a_create_that_is_ended_is_not_sent_again_after_429(
    server: RawServer, ends: str, error: type[BaseException]
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await go_on.wait()
        await http(b"", 429, {"Retry-After": "4"})(request, writer)

    server.answers(slow, envelope(7))
    async with client_of(server) as yotta:
        creating = asyncio.create_task(yotta.pods.create(**SPEC))
        await arrived.wait()
        closing = asyncio.create_task(yotta.aclose()) if ends == "aclose" else creating.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(error):
            await creating
        if isinstance(closing, asyncio.Task):
            await closing
    assert len(server.received) == 1


async def test_a_cancelled_resolve_leaves_the_intent_open(
    api: PodServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "reset before"
    async with client_of(api, journal=tmp_path) as yotta:
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await yotta.pods.create(**SPEC)
        api.fault = lambda _: "none"
        disk = StoppedDisk(monkeypatch)
        resolving = asyncio.ensure_future(caught.value.resolve())
        await disk.wait_for_writes(1)
        resolving.cancel()
        await asyncio.sleep(0)
        disk.start()
        with pytest.raises(asyncio.CancelledError):
            await resolving
        [intent] = read_open_intents(tmp_path)
        assert (intent.token, intent.pod_id) == (caught.value.client_token, api.alive[0])
        assert await caught.value.resolve() is not None


@pytest.mark.parametrize(("ends", "error"), [("cancel", asyncio.CancelledError), ("aclose", ConfigurationError)])
async def test_create_that_is_ended_before_it_is_sent_again_is_not_open_in_the_journal(
    server: RawServer, tmp_path: Path, ends: str, error: type[BaseException]
) -> None:
    server.answers(http(b"", 429, {"Retry-After": "100"}), envelope(7))
    clock = ManualClock()
    async with client_of(server, clock=clock, journal=tmp_path) as yotta:
        creating = asyncio.create_task(yotta.pods.create(**SPEC))
        while not server.received:
            await asyncio.sleep(0)
        await clock.advance(1)
        assert len(read_open_intents(tmp_path)) == 1
        if ends == "aclose":
            await yotta.aclose()
        else:
            creating.cancel()
        with pytest.raises(error):
            await creating
        assert read_open_intents(tmp_path) == []
    assert len(server.received) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("refusal", ["10001", "429"])
async def test_create_that_is_refused_is_not_open_in_the_journal(api: PodServer, tmp_path: Path, refusal: str) -> None:
    api.born = "REFUSED"
    api.fault = lambda what: "429" if refusal == "429" else "none"
    async with client_of(api, journal=tmp_path) as yotta:
        with pytest.raises(RateLimitError if refusal == "429" else CapacityError):
            await yotta.pods.create(**SPEC)
        assert read_open_intents(tmp_path) == []


async def test_create_cancelled_while_its_intent_is_written_is_not_sent_and_not_open(
    api: PodServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = StoppedDisk(monkeypatch)
    async with client_of(api, journal=tmp_path) as yotta:
        creating = asyncio.create_task(yotta.pods.create(**SPEC))
        await disk.wait_for_writes(1)
        creating.cancel()
        await asyncio.sleep(0)
        disk.start()
        with pytest.raises(asyncio.CancelledError):
            await creating
        assert read_open_intents(tmp_path) == []
    assert api.requests == []


async def test_journal_has_the_pod_of_a_cancelled_create_until_it_is_deleted(api: PodServer, tmp_path: Path) -> None:
    steps: list[str] = []

    def note(what: str) -> str:
        if what == "DELETE":
            [file] = tmp_path.iterdir()
            steps.extend(next(iter(json.loads(line))) for line in file.read_text().splitlines())
        return "none"

    api.fault = note
    async with client_of(api, journal=tmp_path) as yotta:
        await cancel_once_received(yotta, api.requests)
    assert steps == ["intent", "made"]


def make_each_pod_twice(api: PodServer) -> None:
    """Let every create make two pods, as the retry of a proxy does. The second has the lower id: 9."""
    act = api.act

    def answer(what: str, request: RecordedRequest) -> Reply:
        reply = act(what, request)
        if what == "create":
            [pod] = api.pods.values()
            api.pods["9"] = {**pod, "id": "9"}
        return reply

    api.act = answer  # type: ignore[method-assign]  # a proxy that sends creates again


async def test_intent_stays_open_until_the_pod_that_was_kept_of_two_is_deleted(api: PodServer, tmp_path: Path) -> None:
    open_at_deletes: list[list[str | None]] = []

    def note(what: str) -> str:
        if what == "DELETE":
            open_at_deletes.append([intent.pod_id for intent in read_open_intents(tmp_path)])
        return "reset after" if what == "create" else "none"

    api.fault = note
    make_each_pod_twice(api)
    async with client_of(api, journal=tmp_path) as yotta, yotta.pods.ephemeral(**SPEC) as handle:
        assert handle.id == "9"
        await yotta.aclose()  # it waits for the deletion of the other pod, and then deletes this one
    assert len(open_at_deletes) == len(api.pods) == 2
    assert open_at_deletes[-1] == ["9"]
    assert api.alive == []


async def test_pod_that_was_not_kept_of_two_is_deleted_at_the_latest_when_the_client_is_closed(
    api: PodServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = make_clock("auto")
    api.fault = lambda what: {"create": "reset after", "DELETE": "500 before"}.get(what, "none")
    make_each_pod_twice(api)
    async with client_of(api, clock=clock) as yotta:
        assert (await yotta.pods.create(**SPEC)).id == "9"
        await clock.sleep(60)
        gc.collect()
        assert len(api.alive) == 2
        api.fault = lambda _: "none"
    assert api.alive == ["9"]
    assert not caplog.records, "nor does asyncio say that an error was never retrieved"


async def test_resolve_of_two_pods_keeps_the_lower_and_deletes_the_other(api: PodServer) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "reset before"
    make_each_pod_twice(api)
    async with client_of(api) as yotta:
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await yotta.pods.create(**SPEC)
        api.fault = lambda _: "none"
        handle = await caught.value.resolve()
        assert handle is not None
        assert handle.id == "9"
    assert api.alive == ["9"]


def list_kept() -> list[object]:
    """Return what is in memory of creates and deletions."""
    gc.collect()
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, CreateAttempt) or (isinstance(each, asyncio.Task) and "PodCreator" in repr(each.get_coro()))
    ]


async def test_client_keeps_nothing_of_creates_and_deletions_that_have_ended(api: PodServer) -> None:
    before = list_kept()
    async with client_of(api) as yotta:
        await cancel_once_received(yotta, api.requests)
        async with yotta.pods.ephemeral(**SPEC):
            pass
        await yotta.pods.create(**SPEC)
        assert [each for each in list_kept() if each not in before] == []


async def test_pods_of_a_cancelled_create_that_show_late_are_deleted_and_open_in_the_journal_until_then(
    api: PodServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = make_clock("auto")
    open_at_deletes: list[int] = []

    def note(what: str) -> str:
        if what == "DELETE":
            open_at_deletes.append(len(read_open_intents(tmp_path)))
        return "reset after" if what == "create" else "none"

    api.fault = note
    api.listed = lambda pods: pods if clock.time() >= 7 else []
    make_each_pod_twice(api)
    async with client_of(api, clock=clock, settle_timeout=7, journal=tmp_path) as yotta:
        await cancel_once_received(yotta, api.requests)
        assert len(api.pods) == 2
        assert api.alive == []
    assert open_at_deletes == [1, 1]
    assert list(tmp_path.iterdir()) == []
    assert not caplog.records


async def test_cancelled_create_leaves_the_pod_of_a_block_to_the_block(api: PodServer) -> None:
    async with client_of(api) as yotta:
        async with yotta.pods.ephemeral(**SPEC) as handle:
            await cancel_once_received(yotta, api.requests)
            assert api.alive == [handle.id]
        assert api.alive == []


async def test_cancelled_create_that_may_have_left_a_pod_names_its_token(
    api: PodServer, caplog: pytest.LogCaptureFixture
) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "none"
    api.listed = lambda pods: []
    async with client_of(api, settle_timeout=7) as yotta:
        await cancel_once_received(yotta, api.requests)
    [token] = api.posts
    [record] = caplog.records
    assert record.getMessage().startswith("a cancelled create may have left a pod: ")
    assert token in record.getMessage()


async def test_pod_of_a_cancelled_create_that_cannot_be_deleted_is_named(
    api: PodServer, caplog: pytest.LogCaptureFixture
) -> None:
    api.fault = lambda what: "500 before" if what == "DELETE" else "none"
    async with client_of(api) as yotta:
        await cancel_once_received(yotta, api.requests)
        [record] = caplog.records
        assert f"may have left a pod: pod {api.alive[0]} (" in record.getMessage()
        api.fault = lambda _: "none"
    assert api.alive == []


def answer_late(api: PodServer, clock: EmulatorClock, late: str, reply: Reply | None = None) -> None:
    """Answer the calls of a kind ten seconds late; with `reply` instead of what is due."""
    act = api.act

    def delay(what: str, request: RecordedRequest) -> Reply:
        if what != late or (request.body and json.loads(request.body).get("gpuType") == "refused"):
            return act(what, request)

        async def answer(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
            due = reply or act(what, request)
            await clock.delay(10)
            await due(request, writer)

        return answer

    api.act = delay  # type: ignore[method-assign]  # a server that is slow


@pytest.mark.parametrize(
    ("reply", "error"),
    [(None, RolledBackError), (envelope(code=10001, status=400), RolledBackError), (reset, CreateOutcomeUnknownError)],
)
async def test_create_in_flight_when_a_fan_out_is_rolled_back_is_unknown_only_if_it_may_have_left_a_pod(
    api: PodServer, reply: Reply | None, error: type[YottaError]
) -> None:
    clock = make_clock("auto")
    answer_late(api, clock, "create", reply)
    api.birth = lambda body: "REFUSED" if body["gpuType"] == "refused" else "RUNNING"
    specs = [PodSpec(**SPEC), PodSpec(image="i", gpu_type="refused")]
    async with client_of(api, clock=clock, settle_timeout=7) as yotta:
        with pytest.raises(FanOutError) as caught:
            await yotta.pods.create_many(specs, policy="all_or_nothing")
        assert caught.value.report is not None
        assert type(caught.value.report.items[0].error) is error
        assert api.alive == []


@pytest.mark.parametrize(
    ("awaited", "why"),
    [("create", "All tasks were cancelled before"), ("list", "The search for it was cancelled")],
)
async def test_create_whose_own_task_is_cancelled_is_unknown_and_has_its_token(
    api: PodServer, awaited: str, why: str
) -> None:
    clock = make_clock("auto")
    api.fault = lambda what: "reset after" if what == "create" and awaited == "list" else "none"
    answer_late(api, clock, awaited)
    async with client_of(api, clock=clock) as yotta:
        creating = asyncio.create_task(yotta.pods.create(**SPEC))
        while awaited not in api.requests:
            await asyncio.sleep(0)
        [task] = [task for task in asyncio.all_tasks() if "PodCreator.send" in repr(task.get_coro())]
        task.cancel()
        with pytest.raises(CreateOutcomeUnknownError, match=why) as caught:
            await creating
        [token] = api.posts
        assert caught.value.client_token == token
        assert token in str(caught.value)


async def test_deletion_that_is_running_is_not_started_twice(api: PodServer) -> None:
    clock = make_clock("auto")
    answer_late(api, clock, "DELETE")
    api.born = "FAILED"
    async with client_of(api, clock=clock) as yotta:
        with pytest.raises(FanOutError):
            await yotta.pods.create_many(
                [PodSpec(**SPEC)], until="RUNNING", timeout=5, fallbacks=[{"gpu_type": "B"}], policy="all_or_nothing"
            )
    assert api.requests.count("DELETE") == 1
    assert api.alive == []


@pytest.mark.parametrize("who", ["the caller", "all tasks", "the caller, with a full disk"])
async def test_pod_of_a_create_cancelled_while_it_is_handed_over_is_deleted(
    api: PodServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    is_writing, go_on = threading.Event(), threading.Event()
    fsync = os.fsync
    open_at_delete: list[Any] = []

    def slow(descriptor: int) -> None:
        is_writing.set()
        go_on.wait(10)
        fsync(descriptor)

    def fail(descriptor: int) -> None:
        raise OSError("No space left on device")

    def note(what: str) -> str:
        if what == "create":
            monkeypatch.setattr(os, "fsync", slow)
        if what == "DELETE":
            open_at_delete.extend(read_open_intents(tmp_path))
        return "none"

    api.fault = note
    async with client_of(api, journal=tmp_path) as yotta:
        creating = asyncio.create_task(yotta.pods.create(**SPEC))
        await asyncio.to_thread(is_writing.wait)
        monkeypatch.setattr(os, "fsync", fail if "full" in who else fsync)
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running if who == "all tasks" else {creating}:
            task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await creating
        assert len(api.pods) == 1
        assert api.alive == []
        if "full" not in who:
            [intent] = open_at_delete
            assert intent.pod_id in api.pods
    assert list(tmp_path.iterdir()) == []
