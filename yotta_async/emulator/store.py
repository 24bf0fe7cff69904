"""What outlives the emulator: pods, bills, money and time in a SQLite file, each change written before its answer."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import attrs
import msgspec

from yotta_async.emulator.billing import BillingRecord
from yotta_async.emulator.pod import EmulatedPod
from yotta_async.emulator.schema import Pod

_TABLES = """
CREATE TABLE IF NOT EXISTS pods (id TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS bills (pod_id TEXT, started_at REAL, data BLOB NOT NULL, PRIMARY KEY (pod_id, started_at));
CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY CHECK (id = 1), funds REAL, last_id INTEGER, now REAL);
"""
# "yott": the file's mark, so that no other program's database is written into.
_APPLICATION = 0x796F7474
# What this process has open.
_OPEN: set[tuple[int, int] | None] = set()
_MAGIC = b"SQLite format 3\0"


class _Kept(msgspec.Struct):
    """A pod as it is kept."""

    wire: Pod
    changed: tuple[float, int]
    next: tuple[float, str] | None
    past: list[tuple[float, str, str]]


class Past(NamedTuple):
    """What was kept; `funds` is all that was ever paid in, `now` the time of the last change, `last_id` a pod's."""

    pods: list[EmulatedPod]
    bills: list[BillingRecord]
    funds: float | None
    last_id: int | None
    now: float | None


class Store:
    """One file, which one process at a time has open.

    Raises ValueError for a file that is not an emulator's, is damaged, or is open in another process.
    """

    def __init__(self, path: str | os.PathLike[str], funds: float | None) -> None:
        self._unsaved: dict[str, EmulatedPod] = {}
        self._unsaved_bills: list[BillingRecord] = []
        self._identity: tuple[int, int] | None = None
        problem = ""
        try:
            identity = _check_file(Path(path))
            self._database = sqlite3.connect(path, isolation_level=None, timeout=0.1)
            try:
                self._open(funds)
                self.past = self._read()
            except BaseException:
                self._database.close()
                raise
            self._identity = identity
            _OPEN.add(identity)
        except sqlite3.OperationalError as error:
            problem = "another emulator has it open" if "locked" in str(error) else str(error)
        except OSError as error:
            problem = error.strerror or str(error)
        except (sqlite3.Error, ValueError, TypeError) as error:
            problem = f"it is no file of the emulator's, or damaged ({error})"
        if problem:
            raise ValueError(f"cannot keep the emulator's state in {str(path)!r}: {problem}")

    def _open(self, funds: float | None) -> None:
        execute = self._database.execute
        mark = execute("PRAGMA application_id").fetchone()[0]
        if mark != _APPLICATION and (mark or execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
            raise ValueError("another program's database")
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")  # a process that is killed in a change leaves the state before it
        execute(f"PRAGMA application_id = {_APPLICATION}")
        self._database.executescript(_TABLES)
        execute("INSERT OR IGNORE INTO account VALUES (1, ?, NULL, NULL)", (funds,))

    def _read(self) -> Past:
        execute = self._database.execute
        pods = []
        for (data,) in execute("SELECT data FROM pods"):
            kept = msgspec.json.decode(data, type=_Kept)
            pod = EmulatedPod(kept.wire)
            pod.changed, pod.next, pod.past = kept.changed, kept.next, kept.past
            pods.append(pod)
        bills = [BillingRecord(**msgspec.json.decode(data)) for (data,) in execute("SELECT data FROM bills")]
        funds, last_id, now = execute("SELECT funds, last_id, now FROM account").fetchone()
        return Past(sorted(pods, key=lambda pod: pod.changed), bills, funds, last_id, now)

    def save(self, pod: EmulatedPod, bills: Iterable[BillingRecord]) -> None:
        """Keep a pod as it is now, and the stretches that began or ended with that.

        Raises sqlite3.Error when it cannot be written, as on a full disk; then the next change writes it too.
        """
        self._unsaved[pod.id] = pod
        self._unsaved_bills += bills
        self._write()

    def forget(self, pod: EmulatedPod) -> None:
        """Keep a pod no more; its bills stay. Raises as `save` does."""
        self._unsaved.pop(pod.id, None)
        with self._database:
            self._database.execute("BEGIN")
            self._database.execute("DELETE FROM pods WHERE id = ?", (pod.id,))
        self._write()

    def deposit(self, amount: float, now: float) -> None:
        """Note that money came in."""
        self._database.execute("UPDATE account SET funds = funds + ?, now = max(ifnull(now, 0), ?)", (amount, now))

    def note(self, now: float) -> None:
        """Note that it is so late."""
        self._database.execute("UPDATE account SET now = max(ifnull(now, 0), ?)", (now,))

    def close(self, now: float | None) -> None:
        """Keep the time, and let go of the file."""
        with suppress(sqlite3.Error):
            self._write()
            if now is not None:
                self.note(now)
        self._database.close()
        _OPEN.discard(self._identity)

    def _write(self) -> None:
        """Write all that is unsaved, or nothing."""
        pods = [
            (pod.id, msgspec.json.encode(_Kept(pod.wire, pod.changed, pod.next, pod.past)))
            for pod in self._unsaved.values()
        ]
        bills = [
            (bill.pod_id, bill.started_at, msgspec.json.encode(attrs.asdict(bill))) for bill in self._unsaved_bills
        ]
        last_id = max((int(pod_id) for pod_id in self._unsaved), default=0)
        now = max((pod.changed[0] for pod in self._unsaved.values()), default=0.0)
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO pods VALUES (?, ?)", pods)
            self._database.executemany("INSERT OR REPLACE INTO bills VALUES (?, ?, ?)", bills)
            self._database.execute("UPDATE account SET last_id = max(ifnull(last_id, 0), ?)", (last_id,))
            self.note(now)
        self._unsaved.clear()
        self._unsaved_bills.clear()


def _check_file(path: Path) -> tuple[int, int]:
    """Return which file it is, its owner's alone, as it holds environment values. Refuses what is there and is none."""
    if path.exists():
        if not path.is_file():
            raise OSError("it is no ordinary file")
        if (path.stat().st_dev, path.stat().st_ino) in _OPEN:
            raise sqlite3.OperationalError("locked by this process")  # to open and close it would end that lock
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    with os.fdopen(descriptor, "rb") as file:
        start = file.read(len(_MAGIC))
        if start and start != _MAGIC:
            raise ValueError("no database")
        with suppress(OSError):
            path.chmod(0o600)
    return path.stat().st_dev, path.stat().st_ino
