"""The journal of creates: on the disk before anything is sent, one file and lock for each client, nothing secret in it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.creates import StoppedDisk, iterate_loop
from tests.pod_server import PodServer
from tests.raw_server import RecordedRequest, Reply, envelope, http
from yotta_async import (
    ConfigurationError,
    CreateOutcomeUnknownError,
    PodHandle,
    ReapReport,
    RetryPolicy,
    YottaClient,
    YottaError,
)
from yotta_async.creation.journal import Intent, Journal, journal_folder, parse_open_intents
from yotta_async.emulator.clock import ManualClock, make_clock
from yotta_async.support.clock import RealClock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def client_of(api: PodServer, folder: Path, **options: Any) -> YottaClient:
    return YottaClient(KEY, base_url=api.url, journal=folder, **{"clock": make_clock("auto"), **options})


class DatedClock(RealClock):
    """Real time, with the dates of a virtual clock."""

    def __init__(self, dates: ManualClock) -> None:
        self.now = dates.now  # type: ignore[method-assign]  # that is the point


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def count_open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files(folder) for line in file.read_text().splitlines()]


@pytest.mark.both_versions
async def test_an_intent_is_on_the_disk_before_it_is_sent(api: PodServer, folder: Path) -> None:
    seen: list[list[dict[str, Any]]] = []

    def note(what: str) -> str:
        if what == "create":
            seen.append(records(folder))
        return "none"

    api.fault = note
    async with client_of(api, folder) as yotta:
        handle = await yotta.pods.create(**SPEC)
        [intent, done] = records(folder)
        [file] = files(folder)
        assert [mode(path) for path in (file, folder)] == [0o600, 0o700]
    token = api.pods[handle.id]["environmentVars"][-1]["value"]
    assert seen == [[intent]]
    assert intent["intent"] == token
    assert done == {"done": token, "pod_id": handle.id}
    assert files(folder) == [], "nothing is open, so nothing is left"


async def test_pod_of_a_block_is_in_it_until_it_is_deleted(api: PodServer, folder: Path) -> None:
    async with client_of(api, folder) as yotta:
        async with yotta.pods.ephemeral(**SPEC) as handle:
            [intent, made] = records(folder)
            assert made == {"made": intent["intent"], "pod_id": handle.id}
        assert records(folder)[2:] == [{"done": intent["intent"]}]


async def test_there_is_no_secret_in_it(api: PodServer, folder: Path) -> None:
    async with client_of(api, folder) as yotta:
        await yotta.pods.create(**SPEC, environment_vars={"PASSWORD": "hunter2"})
        [file] = files(folder)
        text = file.read_text()
    assert KEY not in text
    assert "hunter2" not in text
    assert "PASSWORD" not in text


async def test_without_asking_there_is_none(api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    async with YottaClient(KEY, base_url=api.url) as yotta:
        await yotta.pods.create(**SPEC)
        with pytest.raises(ConfigurationError, match="no journal"):
            await yotta.pods.reap()
    assert not list(folder.parent.iterdir())
    monkeypatch.setenv("YOTTA_JOURNAL", "")
    assert journal_folder(None) is None
    monkeypatch.setenv("YOTTA_JOURNAL", str(folder))
    async with YottaClient(KEY, base_url=api.url) as yotta:
        await yotta.pods.create(**SPEC)
        assert len(files(folder)) == 1


async def test_journal_in_a_home_directory_comes_before_that_of_the_environment(
    api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("YOTTA_JOURNAL", str(folder / "another"))
    async with YottaClient(KEY, base_url=api.url, journal="~/of/this") as yotta:
        await yotta.pods.create(**SPEC)
        assert len(files(folder / "of" / "this")) == 1
    assert not (folder / "another").exists()


@pytest.mark.parametrize("wrong", [7, "", b"x", object()])
def test_a_journal_that_is_no_path_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="journal"):
        YottaClient(KEY, journal=wrong)


def test_a_journal_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="directory"):
        YottaClient(KEY, journal=tmp_path / "file")


async def test_a_place_that_cannot_be_written_is_told_before_anything_is_sent(api: PodServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with client_of(api, tmp_path / "file" / "journal") as yotta:
        with pytest.raises(ConfigurationError, match="not sent.*Not a directory"):
            await yotta.pods.create(**SPEC)
    assert api.requests == []


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Let no file grow beyond this size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_told_before_anything_is_sent(api: PodServer, folder: Path) -> None:
    async with client_of(api, folder) as yotta:
        await yotta.pods.create(**SPEC)
        size = files(folder)[0].stat().st_size
        with (
            full_disk(size + 10),
            pytest.raises(ConfigurationError, match=r"not sent.*File too large.*\$YOTTA_JOURNAL"),
        ):
            await yotta.pods.create(**SPEC)
        assert api.requests == ["create"]
        assert files(folder)[0].stat().st_size == size, "nothing of the line is left"
        await yotta.pods.create(**SPEC)
        assert [next(iter(record)) for record in records(folder)] == ["intent", "done"] * 2, (
            "nothing of it is written later"
        )
    assert files(folder) == []


async def test_a_disk_that_is_full_after_the_answer_loses_no_pod(
    api: PodServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(api, folder) as yotta:
        await yotta.pods.create(**SPEC)
        size = files(folder)[0].stat().st_size
        with full_disk(size + 110):  # room for the intent, and none for what follows it
            handle = await yotta.pods.create(**SPEC)
        assert handle.id in api.alive
        assert len(parse_open_intents(files(folder)[0].read_bytes())) == 1
        await yotta.pods.create(**SPEC)
        assert parse_open_intents(files(folder)[0].read_bytes()) == [], "it was written later"
        size = files(folder)[0].stat().st_size
        with full_disk(size + 110):
            await yotta.pods.create(**SPEC)
            await yotta.aclose()
    logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in logged] == ["WARNING", "WARNING", "ERROR"]
    assert all("cannot be written now: [Errno 27] File too large" in message for _, message in logged[:2])
    assert "could not be written: [Errno 27] File too large; `reap` may ask" in logged[2][1]
    assert files(folder) == []


@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("cancelled", [(), (1,), (2,), (1, 2)])
async def test_intents_that_share_a_write_are_on_the_disk_or_not_sent(
    api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch, cancelled: tuple[int, ...], is_full: bool
) -> None:
    """The second of three creates writes the third one's intent too, and may be cancelled while it does so."""
    on_disk: list[list[Any]] = []

    def note(what: str) -> str:
        if what == "create":
            on_disk.append([record.get("intent") for record in records(folder)])
        return "none"

    api.fault = note
    async with client_of(api, folder) as yotta:
        disk = StoppedDisk(monkeypatch)
        creating = [asyncio.create_task(yotta.pods.create(**SPEC)) for _ in range(3)]
        await disk.wait_for_writes(1)
        disk.go_on()
        await disk.wait_for_writes(2)
        for number in cancelled:
            creating[number].cancel()
        await iterate_loop(10)
        disk.start(is_full=is_full)
        outcomes = await asyncio.gather(*creating, return_exceptions=True)
        due: list[type[Any]] = [PodHandle, ConfigurationError if is_full else PodHandle, PodHandle]
        for number in cancelled:
            due[number] = asyncio.CancelledError
        assert [type(outcome) for outcome in outcomes] == due
        assert len(on_disk) == len(api.alive) == due.count(PodHandle)
        assert all(tokens.count(token) == 1 for token, tokens in zip(api.posts, on_disk, strict=True))
        assert parse_open_intents(files(folder)[0].read_bytes()) == []


async def test_no_time_passes_while_the_journal_is_written(
    api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes real time takes none of a clock that moves by itself, or deadlines would be over."""
    clock = make_clock("auto")
    async with client_of(api, folder, clock=clock) as yotta:
        disk = StoppedDisk(monkeypatch)
        creating = asyncio.create_task(yotta.pods.create(**SPEC))
        sleeping = asyncio.create_task(clock.sleep(60))
        await disk.wait_for_writes(1)
        await iterate_loop(100)
        assert clock.time() == 0
        disk.start()
        await asyncio.gather(creating, sleeping)
        assert clock.time() == 60


async def test_many_creates_share_writes(api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    async with client_of(api, folder) as yotta:
        await asyncio.gather(*(yotta.pods.create(**SPEC) for _ in range(100)))
    assert syncs <= 120, "200 lines: the intents share a write or two, whatever the pace of the responses"


async def test_it_stays_small(folder: Path) -> None:
    disk = journal_folder(folder)
    assert disk is not None
    journal = Journal(disk, "account", RealClock())
    await journal.intend("stays")
    await journal.record_pod("stays", "7")
    for batch in range(30):
        tokens = [f"{batch:02}{number:030}" for number in range(100)]
        await asyncio.gather(*(journal.intend(token) for token in tokens))
        await asyncio.gather(*(journal.finish(token) for token in tokens))
    [file] = files(folder)
    assert file.stat().st_size < 300_000
    assert mode(file) == 0o600
    [intent] = parse_open_intents(file.read_bytes())
    assert (intent.token, intent.pod_id) == ("stays", "7")
    assert list(disk.open_abandoned()) == [], "the new file is locked as the old one was"
    await journal.close()
    assert files(folder) == [file]


async def test_file_is_seldom_replaced_by_a_smaller_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yotta_async.creation.journal._COMPACTION_LINES", 4)
    disk = journal_folder(folder)
    assert disk is not None
    journal = Journal(disk, "account", RealClock())
    tokens = [str(number) for number in range(20)]
    inodes: list[int] = []
    await journal.intend("0")
    count = count_open_files()
    for change in (journal.intend, journal.finish):
        for token in tokens:
            await change(token)
            [file] = files(folder)
            inodes.append(file.stat().st_ino)
            assert [intent.token for intent in parse_open_intents(file.read_bytes())] == list(journal.open)
        assert len(set(inodes)) == 1 or change == journal.finish, "most of its lines are open"
    assert count_open_files() <= count
    assert 1 <= sum(earlier != later for earlier, later in pairwise(inodes)) <= 4
    for token in tokens:
        await journal.intend(token)
        await journal.finish(token)
        assert files(folder)[0].stat().st_size < 500
    await journal.close()


async def test_full_disk_leaves_a_file_that_is_to_shrink_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yotta_async.creation.journal._COMPACTION_LINES", 4)
    disk = journal_folder(folder)
    assert disk is not None
    journal = Journal(disk, "account", RealClock())
    for token in ("stays", "a"):
        await journal.intend(token)
    await journal.finish("a")
    await journal.intend("b")
    [file] = files(folder)
    before, count = file.read_bytes(), count_open_files()
    with full_disk(10):
        await journal.finish("b")
    assert count_open_files() <= count
    assert files(folder) == [file]
    assert file.read_bytes() == before
    assert list(disk.open_abandoned()) == []
    await journal.intend("c")
    assert [intent.token for intent in parse_open_intents(file.read_bytes())] == ["stays", "c"]
    await journal.close()


async def test_intent_and_the_name_of_its_file_survive_a_power_failure(
    api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, int]] = []
    at_create: list[Any] = []
    fsync = os.fsync

    def note_sync(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        synced.append((status.st_ino, status.st_size))

    def note(what: str) -> str:
        if what == "create":
            statuses = [path.stat() for path in (folder, *files(folder))]
            at_create.append((list(synced), [(status.st_ino, status.st_size) for status in statuses]))
        return "none"

    monkeypatch.setattr(os, "fsync", note_sync)
    api.fault = note
    async with client_of(api, folder) as yotta:
        await yotta.pods.create(**SPEC)
    [(before, due)] = at_create
    assert before == due


async def die(api: PodServer, folder: Path, script: str, stdin: int | None = None) -> None:
    """Run a script in a process that is killed, or kills itself, with `yotta` and `SPEC` at hand."""
    program = f"""
import asyncio, os, signal
from yotta_async import YottaClient
SPEC = {SPEC!r}
async def main():
    async with YottaClient({KEY!r}, base_url={api.url!r}, journal={str(folder)!r}, poll_interval=0.05) as yotta:
        {script}
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=stdin, stderr=subprocess.PIPE)
    await process.communicate()
    assert process.returncode == -9


KILLED_IN_THE_BLOCK = """async with yotta.pods.ephemeral(**SPEC):
            os.kill(os.getpid(), signal.SIGKILL)"""


async def leave_pod(
    api: PodServer, folder: Path, clock: ManualClock | None = None, *, age: float = 0, also: int = 0, **fields: Any
) -> str:
    """Leave a pod in the journal as a killed process does, created some seconds ago; `also`: more pods of its create."""
    clock = clock or ManualClock()
    others = files(folder)
    async with (
        client_of(api, folder, clock=DatedClock(clock)) as yotta,
        yotta.pods.ephemeral(**SPEC, **fields) as handle,
    ):
        [file] = [file for file in files(folder) if file not in others]
        left = file.read_bytes()
    file.write_bytes(left)
    file.chmod(0o600)
    api.pods[handle.id]["status"] = "RUNNING"
    for number in range(also):
        pod_id = f"{handle.id}{number}"
        api.pods[pod_id] = {**api.pods[handle.id], "id": pod_id}
    await clock.advance(age)
    api.forget_requests()
    return handle.id


@pytest.mark.both_versions
async def test_what_a_killed_process_left_is_reaped(api: PodServer, folder: Path) -> None:
    async with client_of(api, folder) as yotta:
        held = await yotta.pods.create(**SPEC)
        await die(api, folder, KILLED_IN_THE_BLOCK)
        [left] = set(api.alive) - {held.id}
        dry = await yotta.pods.reap(dry_run=True)
        assert [(each.pod.id, each.deleted) for each in dry.pods] == [(left, False)]
        assert left in api.alive
        report = await yotta.pods.reap()
        assert [(each.pod.id, each.deleted, each.error) for each in report.pods] == [(left, True, None)]
        assert api.alive == [held.id]
        assert await yotta.pods.reap() == ReapReport()
    assert files(folder) == []


async def test_what_was_handed_over_is_not_reaped(api: PodServer, folder: Path) -> None:
    await die(api, folder, "await yotta.pods.create(**SPEC); os.kill(os.getpid(), signal.SIGKILL)")
    async with client_of(api, folder) as yotta:
        assert await yotta.pods.reap() == ReapReport()
    assert len(api.alive) == 1


async def test_what_a_living_process_holds_is_not_reaped(api: PodServer, folder: Path) -> None:
    async with client_of(api, folder) as one, client_of(api, folder) as other, one.pods.ephemeral(**SPEC):
        count = count_open_files()
        assert await other.pods.reap() == ReapReport()
        assert count_open_files() <= count
        assert len(api.alive) == 1


async def test_a_torn_line_hides_nothing(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    [file] = files(folder)
    with file.open("ab") as torn:
        torn.write(b'{"intent": "0123')
    async with client_of(api, folder) as yotta:
        report = await yotta.pods.reap()
    assert [each.deleted for each in report.pods] == [True]
    assert api.alive == []
    assert files(folder) == []


async def test_a_create_that_may_be_slow_is_kept_in_mind_for_an_hour(api: PodServer, folder: Path) -> None:
    clock = ManualClock()
    api.fault = lambda what: "reset before" if what == "create" else "none"
    async with client_of(api, folder, settle_timeout=0.01, clock=DatedClock(clock)) as yotta:
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await yotta.pods.create(**SPEC)
    marks = [{"key": "YOTTA_CLIENT_TOKEN", "value": caught.value.client_token}]
    async with client_of(api, folder, clock=clock) as yotta:
        assert await yotta.pods.reap() == ReapReport(pending=1)
        await clock.advance(3000)
        api.pods["9"] = {"id": "9", "status": "RUNNING", "environmentVars": marks}
        assert [each.pod.id for each in (await yotta.pods.reap()).pods] == ["9"]
        assert await yotta.pods.reap() == ReapReport()


@pytest.mark.both_versions
async def test_an_intent_without_a_pod_is_forgotten_after_an_hour(api: PodServer, folder: Path) -> None:
    clock = ManualClock()
    api.fault = lambda what: "reset before" if what == "create" else "none"
    async with client_of(api, folder, settle_timeout=0.01, clock=DatedClock(clock)) as yotta:
        with pytest.raises(CreateOutcomeUnknownError):
            await yotta.pods.create(**SPEC)
    async with client_of(api, folder, clock=clock) as yotta:
        await clock.advance(3700)
        api.listed = lambda pods: [*pods, {"podName": "without an id"}]
        assert await yotta.pods.reap() == ReapReport(pending=1), "the item may be its pod"
        api.listed = lambda pods: pods
        api.pods["1"] = {"id": "1", "status": "RUNNING", "name": "another's, whose environment v2 does not show"}
        assert await yotta.pods.reap() == ReapReport()
    assert files(folder) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [({}, {"name": None}), ({"pod_name": "mine"}, {"environmentVars": []}),
     ({"pod_name": "mine"}, {"environmentVars": [{"key": "YOTTA_CLIENT_TOKEN", "value": "***"}]})],
)  # fmt: skip
async def test_an_intent_whose_pod_may_be_hidden_is_kept_after_an_hour(
    api: PodServer, folder: Path, name: dict[str, Any], shown: dict[str, Any]
) -> None:
    clock = ManualClock()
    api.fault = lambda what: "reset after" if what == "create" else "none"
    api.listed = lambda pods: [{**pod, "environmentVars": None, **shown} for pod in pods]
    api.hidden_in_v2 = set()
    async with client_of(api, folder, api_version="v2", settle_timeout=0.01, clock=DatedClock(clock)) as yotta:
        with pytest.raises(CreateOutcomeUnknownError):
            await yotta.pods.create(**SPEC, **name)
    async with client_of(api, folder, api_version="v2", clock=clock) as yotta:
        await clock.advance(3700)
        assert await yotta.pods.reap() == ReapReport(pending=1)
        api.listed = lambda pods: pods
        assert [each.deleted for each in (await yotta.pods.reap()).pods] == [True]
    assert api.alive == []


async def test_another_account_is_left_alone(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    async with YottaClient("another-key", base_url=api.url, journal=folder) as yotta:
        assert await yotta.pods.reap() == ReapReport(other_accounts=1)
    assert len(api.alive) == 1
    assert len(files(folder)) == 1


async def test_a_pod_that_cannot_be_deleted_is_in_the_report(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    api.fault = lambda what: "500 before" if what == "DELETE" else "none"
    async with client_of(api, folder) as yotta:
        [left] = (await yotta.pods.reap()).pods
        assert isinstance(left.error, YottaError)
        assert left.pod.id in str(left.error)
        api.fault = lambda _: "none"
        [gone] = (await yotta.pods.reap()).pods
        assert gone.deleted
    assert api.alive == []


@pytest.mark.both_versions
async def test_an_unknown_create_is_reaped_once_its_client_is_closed(api: PodServer, folder: Path) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "reset before"
    async with client_of(api, folder) as yotta:
        with pytest.raises(CreateOutcomeUnknownError):
            await yotta.pods.create(**SPEC)
    api.fault = lambda _: "none"
    async with client_of(api, folder) as yotta:
        assert len((await yotta.pods.reap()).pods) == 1
    assert api.alive == []


@pytest.mark.both_versions
async def test_what_was_resolved_is_not_reaped(api: PodServer, folder: Path) -> None:
    api.fault = lambda what: "reset after" if what == "create" else "reset before"
    async with client_of(api, folder) as yotta:
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await yotta.pods.create(**SPEC)
        api.fault = lambda _: "none"
        assert await caught.value.resolve() is not None
    async with client_of(api, folder) as yotta:
        assert await yotta.pods.reap() == ReapReport()
    assert len(api.alive) == 1


async def test_a_pod_that_does_not_show_right_after_the_kill_is_kept_in_mind(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    hidden, api.pods = api.pods, {}
    async with client_of(api, folder) as yotta:
        assert await yotta.pods.reap() == ReapReport(pending=1)
        api.pods = hidden
        assert len((await yotta.pods.reap()).pods) == 1
    assert api.alive == []


async def test_a_pod_with_a_field_that_cannot_be_read_is_reaped(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    odd = {"gpuCount": "one", "status": {}, "expose": [5]}
    api.listed = lambda pods: [{**pod, **odd} for pod in pods]
    async with client_of(api, folder) as yotta:
        [reaped] = (await yotta.pods.reap()).pods
        assert (reaped.deleted, reaped.pod.unreadable) == (True, ("gpuCount", "expose", "status"))
    assert api.alive == []


@pytest.mark.parametrize("status", ["RUNNING", "TERMINATING"])
async def test_pod_whose_json_is_broken_is_reaped_unless_it_is_being_deleted(
    api: PodServer, folder: Path, status: str
) -> None:
    pod_id = await leave_pod(api, folder)
    api.pods[pod_id]["status"] = status
    act = api.act

    def list_broken(what: str, request: RecordedRequest) -> Reply:
        if what != "list":
            return act(what, request)
        listed = json.dumps({"message": "success", "code": 10000, "data": list(api.pods.values())})
        return http(listed.encode().replace(b"ubuntu", b"\xff"))

    api.act = list_broken  # type: ignore[method-assign]  # a server of broken text
    async with client_of(api, folder) as yotta:
        report = await yotta.pods.reap()
    assert [(each.pod.id, each.pod.image, each.deleted) for each in report.pods] == (
        [(pod_id, None, True)] if status == "RUNNING" else []
    )
    assert api.requests == (["list", "DELETE", "GET"] if status == "RUNNING" else ["list"])
    assert files(folder) == []


async def test_token_in_a_variable_of_another_form_is_found(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    api.listed = lambda pods: [{**pod, "environmentVars": [None, 5, *pod["environmentVars"]]} for pod in pods]
    async with client_of(api, folder) as yotta:
        assert [each.deleted for each in (await yotta.pods.reap()).pods] == [True]
    assert api.alive == []


async def test_only_the_pods_that_were_chosen_are_reaped(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    await leave_pod(api, folder)
    async with client_of(api, folder) as yotta:
        chosen, other = api.alive
        assert [each.pod.id for each in (await yotta.pods.reap(only=[chosen])).pods] == [chosen]
        assert api.alive == [other]
        assert [each.pod.id for each in (await yotta.pods.reap()).pods] == [other]


async def test_a_journal_that_was_removed_is_begun_anew(api: PodServer, folder: Path) -> None:
    async with client_of(api, folder) as yotta, yotta.pods.ephemeral(**SPEC):
        shutil.rmtree(folder)
        await yotta.pods.create(**SPEC)
        assert len(parse_open_intents(files(folder)[0].read_bytes())) == 1, "the pod of the block is in the new one too"


async def test_client_whose_journal_was_removed_can_reap_and_be_closed(api: PodServer, folder: Path) -> None:
    async with client_of(api, folder) as yotta:
        await yotta.pods.create(**SPEC)
        shutil.rmtree(folder)
        assert await yotta.pods.reap() == ReapReport()
    assert files(folder) == []


async def test_a_busy_executor_holds_nothing_up(api: PodServer, folder: Path) -> None:
    free = threading.Event()
    others = threading.enumerate()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    blocked = asyncio.create_task(asyncio.to_thread(free.wait))
    async with client_of(api, folder) as yotta, yotta.pods.ephemeral(**SPEC):
        [thread] = [each for each in threading.enumerate() if each not in others and "journal" in each.name]
    thread.join(10)
    assert not thread.is_alive(), "it ends with its client"
    assert not free.is_set()
    free.set()
    await blocked


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-that-name/x", "x" * 5000])
def test_a_path_that_no_system_takes_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="journal"):
        YottaClient(KEY, journal=path)


async def test_a_forked_child_does_not_keep_the_lock(api: PodServer, folder: Path) -> None:
    fork = """async with yotta.pods.ephemeral(**SPEC):
            if os.fork():
                os.kill(os.getpid(), signal.SIGKILL)
            os.close(2); os.close(1); os.read(0, 1); os._exit(0)"""
    child_reads, end_child = os.pipe()
    try:
        await die(api, folder, fork, stdin=child_reads)
        async with client_of(api, folder) as yotta:
            assert len((await yotta.pods.reap()).pods) == 1
    finally:
        os.close(end_child)
        os.close(child_reads)


# What is not the journal's own


GARBAGE = [
    b"5", b"[1]", b"null", b"true", b'"intent"', b'["intent"]', b"{}", b"[" * 100_000, b"\0" * 4096, b"\xff\xfe", b"1" * 5000,
    b'{"intent": null, "time": 1, "account": "a"}', b'{"intent": 5, "time": 1, "account": "a"}',
    b'{"intent": "", "time": 1, "account": "a"}', b'{"intent": "t", "time": "soon", "account": "a"}',
    b'{"intent": "t", "time": NaN, "account": "a"}', b'{"intent": "t", "time": 1e999, "account": "a"}',
    b'{"intent": "t", "time": -1, "account": "a"}', b'{"intent": "t", "time": 1e12, "account": "a"}',
    b'{"intent": "t", "time": true, "account": "a"}', b'{"intent": "t", "time": 1, "account": null}',
    b'{"intent": {}, "time": 1, "account": "a"}', b'{"intent": "t"}', b'{"intent": "t", "time": ' + b"9" * 400 + b', "account": "a"}',
    b'{"made": {}, "pod_id": "7"}', b'{"made": "stays", "pod_id": 7}', b'{"made": "stays", "pod_id": "../list"}',
    b'{"made": "stays"}', b'{"done": []}', b'{"done": {}}', b'{"done": null}', b'{"done": "another"}',
]  # fmt: skip


@pytest.mark.parametrize("line", GARBAGE)
def test_line_of_another_form_is_passed_over(line: bytes) -> None:
    intent = b'{"intent": "stays", "time": 5, "account": "a"}'
    [found] = parse_open_intents(b"\n".join([line, intent, line, b""]))
    assert (found.token, found.time, found.account, found.pod_id) == ("stays", 5.0, "a", None)


async def test_garbage_stops_no_reaping(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    [file] = files(folder)
    file.write_bytes(b"\n".join([*GARBAGE, file.read_bytes(), *GARBAGE]))
    async with client_of(api, folder) as yotta:
        assert [each.deleted for each in (await yotta.pods.reap()).pods] == [True]
    assert api.alive == []


def allow_group(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IWGRP)


def allow_all(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IWOTH)


def give_away(path: Path) -> None:
    os.chown(path, 12345, 12345)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
FOREIGN = [
    pytest.param(allow_group, "chmod go-w", id="group"),
    pytest.param(allow_all, "chmod go-w", id="all"),
    pytest.param(give_away, "chown", id="owner", marks=as_root),
]


@pytest.mark.parametrize(("change", "advice"), FOREIGN)
async def test_directory_that_another_user_can_write_is_refused(
    api: PodServer, folder: Path, change: Any, advice: str
) -> None:
    async with client_of(api, folder) as yotta:
        folder.mkdir()
        change(folder)
        with pytest.raises(ConfigurationError, match=f"not sent.*{advice}"):
            await yotta.pods.create(**SPEC)
        with pytest.raises(ConfigurationError, match=advice):
            await yotta.pods.reap()
    with pytest.raises(ConfigurationError, match=advice):
        client_of(api, folder)
    assert api.requests == []


@pytest.mark.parametrize(("change", "advice"), FOREIGN)
async def test_file_that_another_user_can_write_is_refused(
    api: PodServer, folder: Path, change: Any, advice: str
) -> None:
    await leave_pod(api, folder)
    await leave_pod(api, folder)
    file = files(folder)[1]
    change(file)
    async with client_of(api, folder) as yotta:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=advice) as caught:
                await yotta.pods.reap()
            assert str(file) in str(caught.value)
    assert len(api.alive) == 2
    assert len(files(folder)) == 2


@as_root
def test_directory_of_root_is_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert journal_folder(folder) is not None


def link_to_a_journal(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, link_to_a_journal])
async def test_what_is_no_file_is_not_reaped(api: PodServer, folder: Path, make: Any) -> None:
    kept = await leave_pod(api, folder)
    [file] = files(folder)
    file.rename(folder.parent / "elsewhere")
    left = await leave_pod(api, folder)
    make(folder / "creates-0.jsonl")
    async with client_of(api, folder) as yotta:
        assert [each.pod.id for each in (await yotta.pods.reap()).pods] == [left]
    assert api.alive == [kept]
    assert [file.name for file in files(folder)] == ["creates-0.jsonl"]


async def test_other_files_in_the_directory_are_left_alone(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    other = folder / "notes.jsonl"
    other.write_text("mine")
    other.chmod(0o600)
    async with client_of(api, folder) as yotta:
        assert len((await yotta.pods.reap()).pods) == 1
    assert files(folder) == [other]


def put_another_in_its_place(file: Path) -> None:
    new = file.with_suffix(".new")
    shutil.copy(file, new)
    new.rename(file)


@pytest.mark.parametrize(("number", "change"), [(0, Path.unlink), (0, put_another_in_its_place), (1, Path.unlink)])
async def test_file_that_its_writer_changes_before_reap_has_its_lock_is_not_reaped(
    api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, change: Any
) -> None:
    """The first file changes between opening and locking it, the second one before it is opened."""
    for _ in range(2):
        await leave_pod(api, folder)
    changes = [(change, files(folder)[number])]
    [changed] = parse_open_intents(files(folder)[number].read_bytes())
    lock = fcntl.flock

    def change_and_lock(descriptor: int, operation: int) -> None:
        while changes:
            change, file = changes.pop()
            change(file)
        lock(descriptor, operation)

    async with client_of(api, folder) as yotta:
        monkeypatch.setattr(fcntl, "flock", change_and_lock)
        assert len((await yotta.pods.reap()).pods) == 1
    assert api.alive == [changed.pod_id]


# One wrong answer


@pytest.mark.both_versions
async def test_reap_believes_no_single_not_found(api: PodServer, folder: Path) -> None:
    await leave_pod(api, folder)
    wrong = iter(["DELETE"])
    act = api.act
    api.act = lambda what, request: (  # type: ignore[method-assign]  # a server that is wrong once
        envelope(code=13000) if what == "DELETE" and next(wrong, None) else act(what, request)
    )
    async with client_of(api, folder) as yotta:
        assert [each.deleted for each in (await yotta.pods.reap()).pods] == [True]
    assert api.alive == []


async def leave_unknown(api: PodServer, folder: Path, clock: ManualClock, *, age: float = 3700, **fields: Any) -> None:
    """Leave an intent whose pod exists, without its id, as of a create some seconds ago."""
    api.fault = lambda what: {"create": "reset after", "list": "500 before"}.get(what, "none")
    async with client_of(api, folder, settle_timeout=0.01, clock=DatedClock(clock)) as yotta:
        with pytest.raises(CreateOutcomeUnknownError):
            await yotta.pods.create(**SPEC, **fields)
    api.fault = lambda _: "none"
    await clock.advance(age)
    api.forget_requests()


@pytest.mark.both_versions
async def test_one_list_without_a_pod_writes_no_intent_off(api: PodServer, folder: Path) -> None:
    clock = ManualClock()
    for _ in range(2):
        await leave_unknown(api, folder, clock)
    lists: Any = iter([[pod] for pod in api.pods.values()])  # each of the two shows another pod
    api.listed = lambda pods: next(lists, pods)
    async with client_of(api, folder, clock=clock) as yotta:
        assert [each.deleted for each in (await yotta.pods.reap()).pods] == [True, True]
    assert api.alive == []
    assert files(folder) == []


@pytest.mark.both_versions
async def test_intent_that_a_second_list_cannot_confirm_stays_open(api: PodServer, folder: Path) -> None:
    clock = ManualClock()
    await leave_unknown(api, folder, clock)
    api.listed = lambda pods: []
    first = api.requests.count("list") + 1
    api.fault = lambda what: "500 before" if what == "list" and api.requests.count("list") > first else "none"
    async with client_of(api, folder, clock=clock, retry=RetryPolicy(max_attempts=1)) as yotta:
        assert await yotta.pods.reap() == ReapReport(pending=1)
        api.fault = lambda _: "none"
        api.listed = lambda pods: pods
        assert [each.deleted for each in (await yotta.pods.reap()).pods] == [True]
    assert api.alive == []


async def test_intent_stays_open_while_a_pod_without_environment_may_be_its_own(api: PodServer, folder: Path) -> None:
    """No response of v2 shows the environment, and a caller's name is no token: nothing is deleted, nothing forgotten."""
    clock = ManualClock()
    named = {**SPEC, "pod_name": "mine"}
    api.fault = lambda what: "reset after" if what == "create" else "none"
    options: dict[str, Any] = {"settle_timeout": 0.01, "api_version": "v2"}
    async with client_of(api, folder, **options, clock=DatedClock(clock)) as yotta:
        with pytest.raises(CreateOutcomeUnknownError):
            await yotta.pods.create(**named)
    async with client_of(api, folder, **options, clock=clock) as yotta:
        await clock.advance(7200)
        assert await yotta.pods.reap() == ReapReport(pending=1)
        assert len(api.alive) == 1
        async with client_of(api, folder, api_version="v1", clock=clock) as other:
            assert [each.deleted for each in (await other.pods.reap()).pods] == [True], "v1 shows the environment"
        assert await yotta.pods.reap() == ReapReport()
    assert api.alive == []


async def test_pod_of_a_killed_process_is_not_reaped_by_its_id_alone(
    api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOTTA_API_VERSION", "v2")
    await leave_pod(api, folder, pod_name="mine")
    async with client_of(api, folder) as yotta:
        assert await yotta.pods.reap() == ReapReport(pending=1)
        [left] = api.alive
        api.pods[left]["status"] = "TERMINATING"
        assert await yotta.pods.reap() == ReapReport()
        api.pods[left]["status"] = "RUNNING"
        api.hidden_in_v2 = set()
        assert [each.pod.id for each in (await yotta.pods.reap()).pods] == [left]
    assert api.alive == []


# Old and new, whole and in part


@pytest.mark.both_versions
async def test_pod_that_a_get_shows_and_no_list_is_reaped(api: PodServer, folder: Path) -> None:
    """By its environment, or in v2 by its name."""
    clock = ManualClock()
    left = await leave_pod(api, folder, clock)
    api.listed = lambda pods: []
    async with client_of(api, folder, clock=clock) as yotta:
        assert [each.pod.id for each in (await yotta.pods.reap()).pods] == [left]
    assert api.alive == []


@pytest.mark.parametrize(("age", "is_new"), [(299, True), (300, False)])
async def test_reap_believes_no_not_found_of_a_new_pod(api: PodServer, folder: Path, age: float, is_new: bool) -> None:
    dates = ManualClock()
    pod_id = await leave_pod(api, folder, dates, age=age)
    clock = make_clock("auto")
    clock.now = dates.now  # type: ignore[method-assign]  # the dates of the journal
    answers = {"DELETE": 2, "GET": 2}
    act = api.act

    def lag(what: str, request: RecordedRequest) -> Reply:
        answers[what] = answers.get(what, 0) - 1
        return envelope(code=13000) if answers[what] >= 0 else act(what, request)

    api.act = lag  # type: ignore[method-assign]  # a replica that lags
    async with client_of(api, folder, clock=clock) as yotta:
        [reaped] = (await yotta.pods.reap()).pods
    assert reaped.deleted
    assert api.alive == ([] if is_new else [pod_id])
    assert api.requests.count("DELETE") == (3 if is_new else 1)
    assert api.requests.count("list") == 1
    assert files(folder) == []


@pytest.mark.parametrize(
    ("leave", "age", "pending"),
    [(leave_pod, 299, 1), (leave_pod, 300, 0), (leave_unknown, 3599, 1), (leave_unknown, 3600, 0)],
)
async def test_create_is_kept_in_mind_for_an_hour_and_its_pod_for_five_minutes(
    api: PodServer, folder: Path, leave: Any, age: float, pending: int
) -> None:
    clock = ManualClock()
    pod_id = await leave(api, folder, clock, age=age)
    api.pods.clear()
    async with client_of(api, folder, clock=clock) as yotta:
        assert await yotta.pods.reap() == ReapReport(pending=pending)
    assert len(files(folder)) == pending
    lists = ["list"] if pending else ["list", "list"]
    assert api.requests == (lists if pod_id is None else [*lists, "GET"])
    assert len(api.connections) == len(set(api.requests)), "a get that decides about a pod has a connection of its own"


@pytest.mark.parametrize(("leave", "age", "name"), [(leave_pod, 300, None), (leave_unknown, 3600, "mine")])
async def test_create_whose_pod_no_list_can_hide_is_forgotten(
    api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch, leave: Any, age: float, name: str | None
) -> None:
    """The id of its pod is known, or its pod has a drawn name, and lists show the names of all pods."""
    monkeypatch.setenv("YOTTA_API_VERSION", "v2")
    clock = ManualClock()
    await leave(api, folder, clock, age=age)
    api.pods.clear()
    api.listed = lambda pods: [{"id": "9", "status": "RUNNING", "name": name}]
    async with client_of(api, folder, clock=clock) as yotta:
        assert await yotta.pods.reap() == ReapReport()
    assert files(folder) == []


async def test_get_that_fails_leaves_the_intent_open(api: PodServer, folder: Path) -> None:
    clock = ManualClock()
    pod_id = await leave_pod(api, folder, clock, age=4000)
    api.listed = lambda pods: []
    api.fault = lambda what: "500 before" if what == "GET" else "none"
    async with client_of(api, folder, clock=clock, retry=RetryPolicy(max_attempts=1)) as yotta:
        assert await yotta.pods.reap() == ReapReport(pending=1)
        api.fault = lambda _: "none"
        assert [each.pod.id for each in (await yotta.pods.reap()).pods] == [pod_id], "a get shows it"
    assert api.alive == []


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ({"pod_name": "mine"}, {"id": None}),
        ({"pod_name": "mine"}, {"environmentVars": None, "podName": None}),
        ({}, {"environmentVars": None, "name": None}),
    ],
)
@pytest.mark.parametrize("first", [True, False])
async def test_one_list_that_may_hide_a_pod_keeps_the_intent_open(
    api: PodServer, folder: Path, monkeypatch: pytest.MonkeyPatch, name: Any, hidden: Any, first: bool
) -> None:
    monkeypatch.setenv("YOTTA_API_VERSION", "v2")
    clock = ManualClock()
    api.hidden_in_v2 = set()
    await leave_unknown(api, folder, clock, **name)
    shown = {"status": "RUNNING", "id": "9", "environmentVars": [{"key": "A", "value": "1"}], **hidden}
    lists = [[shown], []] if first else [[], [shown]]
    api.listed = lambda pods: lists.pop(0)
    async with client_of(api, folder, clock=clock) as yotta:
        assert await yotta.pods.reap() == ReapReport(pending=1)
    assert len(files(folder)) == 1


async def leave_pods(api: PodServer, folder: Path, clock: ManualClock, count: int) -> tuple[Path, list[str]]:
    """Leave pods of several creates in one file of the journal."""
    pod_ids = [await leave_pod(api, folder, clock) for _ in range(count)]
    file, *others = files(folder)
    file.write_bytes(b"".join(each.read_bytes() for each in (file, *others)))
    for other in others:
        other.unlink()
    return file, pod_ids


@pytest.mark.parametrize("torn", [b"", b'{"intent": "0123'])
async def test_finished_intents_of_a_file_stay_finished(api: PodServer, folder: Path, torn: bytes) -> None:
    clock = ManualClock()
    file, (*gone, left) = await leave_pods(api, folder, clock, 3)
    file.write_bytes(file.read_bytes() + torn)
    async with client_of(api, folder, clock=clock) as yotta:
        assert {each.pod.id for each in (await yotta.pods.reap(only=gone)).pods} == set(gone)
        assert [intent.pod_id for intent in parse_open_intents(file.read_bytes())] == [left]
        assert b"\n\n" not in file.read_bytes()


async def test_reap_goes_on_when_the_disk_is_full(
    api: PodServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    file, pod_ids = await leave_pods(api, folder, clock, 3)
    async with client_of(api, folder, clock=clock) as yotta:
        with full_disk(file.stat().st_size):
            report = await yotta.pods.reap(only=pod_ids[:2])
        assert {each.pod.id: each.deleted for each in report.pods} == dict.fromkeys(pod_ids[:2], True)
        assert [record.getMessage().partition("written: ")[2] for record in caplog.records] == [
            "[Errno 27] File too large; the next `reap` checks it again"
        ] * 2
        assert [each.pod.id for each in (await yotta.pods.reap()).pods] == pod_ids[2:], "the others are gone"
    assert files(folder) == []


def test_intent_in_a_name_is_read_as_it_is_written() -> None:
    for intent in (Intent("t", 5.0, "a", is_in_name=True), Intent("t", 5.0, "a", pod_id="7")):
        assert parse_open_intents(intent.to_lines()) == [intent]


async def test_intent_stays_open_until_all_pods_of_its_create_are_deleted(api: PodServer, folder: Path) -> None:
    clock = ManualClock()
    pod_id = await leave_pod(api, folder, clock, also=1)
    for pod in api.pods.values():
        pod |= {"gpuCount": 1, "singleCardPrice": 0.5}
    async with client_of(api, folder, clock=clock) as yotta:
        dry = await yotta.pods.reap(dry_run=True)
        assert dry.pending == 0, "its pods are known"
        assert dry.hourly_price == 1.0
        chosen = await yotta.pods.reap(dry_run=True, only=[pod_id])
        assert [each.pod.id for each in chosen.pods] == [pod_id]
        assert {each.pod.id for each in dry.pods} == {pod_id, f"{pod_id}0"}
        assert {each.pod.gpu_type for each in dry.pods} == {SPEC["gpu_type"]}
        assert len((await yotta.pods.reap(only=[pod_id])).pods) == 1
        assert len((await yotta.pods.reap(dry_run=True)).pods) == 1
        assert [each.pod.id for each in (await yotta.pods.reap()).pods] == [f"{pod_id}0"]
        api.requests.clear()
        assert await yotta.pods.reap() == ReapReport()
        assert api.requests == [], "nothing is open"
    assert api.alive == []
    assert files(folder) == []
