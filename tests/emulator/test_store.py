"""The state file: pods, bills and balance that the next emulator restores, however the process ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import SPEC
from tests.processes import start_process
from yotta_async import CreateOutcomeUnknownError, RetryPolicy
from yotta_async.emulator import Emulator, Timings

TIMINGS = Timings(initialize=60, pausing=60)


async def test_pods_bills_and_balance_are_restored(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with (
        Emulator(clock="manual", timings=TIMINGS, state=path, balance=10) as emulator,
        emulator.client() as yotta,
    ):
        names = ("kept", "paused", "deleted")
        _, paused, deleted = [await yotta.pods.create(**SPEC, pod_name=name, expose=[22]) for name in names]
        await emulator.clock.advance(3660)
        await paused.pause()
        await deleted.delete()
        emulator.deposit(5)
        before, bills, balance = await yotta.pods.list(), emulator.bills, emulator.balance
        now = emulator.clock.now()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with (
        Emulator(clock="manual", timings=TIMINGS, state=path, balance=99) as emulator,
        emulator.client() as yotta,
    ):
        assert emulator.clock.now() == now
        assert [(pod.id, pod.status, pod.updated_at) for pod in await yotta.pods.list()] == [
            (pod.id, pod.status, pod.updated_at) for pod in before
        ]
        assert list(emulator.bills) == list(bills)
        assert emulator.balance == pytest.approx(balance)
        await emulator.clock.advance(60)
        assert (await yotta.pods.get(paused.id)).status == "PAUSED"
        assert emulator.balance < balance  # type: ignore[operator]  # it has one
        fresh = await yotta.pods.create(**SPEC)
        assert int(fresh.id) > int(deleted.id)
        emulator.reset()
    async with Emulator(clock="manual", state=path) as emulator, emulator.client() as yotta:
        assert await yotta.pods.list() == []


async def test_confirmed_creates_survive_a_kill(tmp_path: Path) -> None:
    """Kill the process during creates, three times."""
    path = tmp_path / "state.db"
    confirmed: set[str] = set()
    for _ in range(3):
        command = [sys.executable, "-c", "from yotta_async.cli import main; main()", "emulator", "--port", "0"]
        with start_process([*command, "--state", str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            url = next(word for word in process.stdout.readline().decode().split() if word.startswith("http"))
            async with aiohttp.ClientSession(f"{url}/openapi/v1/pods/", headers={"x-api-key": "emulator-key"}) as peer:
                async with peer.get("list") as response:
                    listed = {pod["id"] for pod in (await response.json())["data"]}
                assert confirmed <= listed
                await _create_until_killed(peer, process, confirmed)


async def _create_until_killed(
    peer: aiohttp.ClientSession, process: subprocess.Popen[bytes], confirmed: set[str]
) -> None:
    target = len(confirmed) + 40

    async def creates() -> None:
        with contextlib.suppress(aiohttp.ClientError):
            while True:
                async with peer.post("create", json={"image": "a", "gpuType": "b"}) as response:
                    confirmed.add(str((await response.json())["data"]))
                if len(confirmed) == target:
                    process.send_signal(signal.SIGKILL)

    await asyncio.gather(*(creates() for _ in range(8)))


def test_state_file_is_used_by_one_emulator_at_a_time(tmp_path: Path) -> None:
    with Emulator(state=tmp_path / "state.db") as first:
        with pytest.raises(ValueError, match=r"state\.db.*another emulator"):
            Emulator(state=tmp_path / "state.db").__enter__()
        with pytest.raises(OSError, match="address"):
            Emulator(state=tmp_path / "other.db", port=int(first.url.rpartition(":")[2])).__enter__()
    for name in ("state.db", "other.db"):
        with Emulator(state=tmp_path / name):
            pass


@pytest.mark.parametrize("content", ["x", "\n", "these are my notes, " * 100])
def test_other_files_are_not_overwritten(tmp_path: Path, content: str) -> None:
    text = tmp_path / "notes.txt"
    text.write_text(content)
    with pytest.raises(ValueError, match=r"notes\.txt"):
        Emulator(state=text).__enter__()
    assert text.read_text() == content


@pytest.mark.parametrize("sql", ["CREATE TABLE pods (mine TEXT)", "PRAGMA application_id = 7"])
def test_other_databases_are_not_overwritten(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute(sql)
    database.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"other\.db.*another program"):
        Emulator(state=path).__enter__()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "sql", ["DROP TABLE bills", "UPDATE pods SET data = '{}'", "UPDATE bills SET data = '{\"x\": 1}'"]
)
async def test_damaged_state_file_is_named_in_the_error(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "state.db"
    async with Emulator(clock="manual", state=path) as emulator, emulator.client() as yotta:
        await yotta.pods.create(**SPEC)
        await emulator.clock.advance(60)
    with sqlite3.connect(path) as database:
        database.execute(sql)
        if sql.startswith("DROP"):
            database.execute("CREATE TABLE bills (other TEXT)")
    database.close()
    with pytest.raises(ValueError, match=r"state\.db"):
        await Emulator(state=path).start()


@pytest.mark.parametrize("way", ["reset", "gone"])
async def test_ids_time_and_balance_are_restored_without_pods(tmp_path: Path, way: str) -> None:
    path = tmp_path / "state.db"
    timings = Timings(initialize=0.0, terminating=0.0, terminated=0.0)
    ids, balances, times = [], [], []
    for _ in range(3):
        async with (
            Emulator(clock="manual", state=path, balance=10, timings=timings) as emulator,
            emulator.client() as yotta,
        ):
            handle = await yotta.pods.create(**SPEC)
            await emulator.clock.advance(3600)
            await yotta.pods.list()
            if way == "reset":
                emulator.reset()
            else:
                await handle.delete()
            assert await yotta.pods.list() == []
            await emulator.clock.advance(1800)
            ids.append(int(handle.id))
            balances.append(emulator.balance)
            times.append(emulator.clock.now())
            assert all(bill.ended_at for bill in emulator.bills)
    assert ids == sorted(set(ids))
    hourly = 0.6 + 252 * 0.00005
    assert balances == pytest.approx([10 - hourly, 10 - 2 * hourly, 10 - 3 * hourly])
    assert [time - times[0] for time in times] == [0, 5400, 10800]


async def test_full_disk_loses_no_confirmed_create(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    connect, databases = sqlite3.connect, list[sqlite3.Connection]()

    def record_connection(*args: Any, **options: Any) -> sqlite3.Connection:
        databases.append(connect(*args, **options))
        return databases[-1]

    monkeypatch.setattr(sqlite3, "connect", record_connection)
    async with (
        Emulator(clock="auto", state=path) as emulator,
        emulator.client(retry=RetryPolicy(max_attempts=1)) as yotta,
    ):
        first = last = await yotta.pods.create(**SPEC)
        (database,) = databases
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(CreateOutcomeUnknownError, match="system error"):
            for _ in range(100):
                last = await yotta.pods.create(**SPEC, environment_vars={"A": "x" * 1000})
        listed = {pod.id for pod in await yotta.pods.list()}
        database.execute("PRAGMA max_page_count = 100000")
        await emulator.clock.advance(60)
        assert last.id in listed
    async with Emulator(clock="manual", state=path) as emulator, emulator.client() as yotta:
        pods = {pod.id: pod.status for pod in await yotta.pods.list()}
        assert set(pods) == listed
        assert pods[first.id] == "RUNNING"


async def test_closed_emulator_keeps_balance_and_bills() -> None:
    async with Emulator(clock="manual", balance=10) as emulator, emulator.client() as yotta:
        await yotta.pods.create(**SPEC, expose=[22])
        await emulator.clock.advance(3600)
    assert emulator.balance == pytest.approx(9.39, abs=0.01)
    assert len(emulator.bills) == 1
    with pytest.raises(RuntimeError, match="once"):
        await emulator.start()


async def test_account_can_be_changed_from_any_thread(tmp_path: Path) -> None:
    """The account lives in one loop; calls from other threads run there and do not block."""
    async with Emulator(state=tmp_path / "state.db", balance=1, control=True) as emulator:
        fault = emulator.faults.add(kind="stuck")
        for call in (lambda: emulator.deposit(1), emulator.reset, lambda: emulator.faults.add(kind="stuck")):
            await asyncio.to_thread(call)
        assert not fault.is_active
        emulator.faults.clear()
        assert emulator.balance == 2
    with pytest.raises(RuntimeError, match="closed"):
        emulator.deposit(1)
    with Emulator(control=True) as other:
        other.faults.add(kind="stuck")
        other.reset()
        fault = other.faults.add(kind="stuck")
        async with aiohttp.ClientSession(f"{other.url}/_emulator/", headers={"x-api-key": other.api_key}) as peer:
            for method, path in (("DELETE", f"faults/{fault.id}"), ("DELETE", "faults"), ("POST", "reset")):
                async with peer.request(method, path) as response:
                    assert response.status == 200
        assert len(other.faults) == 0


async def test_restored_pod_is_not_billed_for_the_time_it_was_stuck(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with Emulator(clock="manual", state=path, faults=[{"kind": "stuck"}]) as emulator, emulator.client() as yotta:
        await yotta.pods.create(**SPEC)
        await emulator.clock.advance(5 * 3600)
        now = emulator.clock.now()
    async with Emulator(clock="manual", state=path) as emulator, emulator.client() as yotta:
        assert [pod.status for pod in await yotta.pods.list()] == ["RUNNING"]
        assert [bill.started_at for bill in emulator.bills] == [now]


async def test_clock_does_not_go_back_on_restore(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with Emulator(clock="manual", state=path, balance=10) as emulator, emulator.client() as yotta:
        await emulator.clock.advance(30 * 365 * 86400)
        await yotta.pods.create(**SPEC)
        await emulator.clock.advance(3600)
        balance, now = emulator.balance, emulator.clock.now()
    async with Emulator(clock="real", state=path) as emulator:
        assert emulator.clock.now() >= now
        assert emulator.balance == pytest.approx(balance, abs=0.01)


def test_refused_second_emulator_does_not_release_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    script = f"from yotta_async.emulator import Emulator\nwith Emulator(state={str(path)!r}): pass"
    with Emulator(state=path):
        with pytest.raises(ValueError, match="another emulator"):
            Emulator(state=path).__enter__()
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert "another emulator has it open" in other.stderr
    subprocess.run([sys.executable, "-c", script], check=True)
