"""The state file: pods, bills, money and time in SQLite, each change written before its response is sent."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from yotta_async.emulator.billing import BillingRecord
from yotta_async.emulator.pod import EmulatedPod
from yotta_async.emulator.schema import Pod

_TABLES = """
CREATE TABLE IF NOT EXISTS pods (id TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS bills (pod_id TEXT, started_at REAL, data BLOB NOT NULL, PRIMARY KEY (pod_id, started_at));
CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY CHECK (id = 1), funds REAL, last_id INTEGER, now REAL);
"""
# "yott" in ASCII. It marks the emulator's files, so that no other program's database is written to.
_APPLICATION_ID = 0x796F7474
_SQLITE_MAGIC = b"SQLite format 3\0"
_LOCK_TIMEOUT_S = 0.1
# Device and inode of the files that this process has open.
_open_files: set[tuple[int, int]] = set()


class _StoredPod(msgspec.Struct):
    wire: Pod
    last_change: tuple[float, int]
    next_transition: tuple[float, str] | None
    status_history: list[tuple[float, str, str]]


class StoredState(NamedTuple):
    """The content of a file. `total_funds` is all money ever paid in, `now` the time of the last change."""

    pods: list[EmulatedPod]
    bills: list[BillingRecord]
    total_funds: float | None
    last_id: int | None
    now: float | None


class Store:
    """One state file, which only one emulator at a time has open; `loaded` is what it held.

    Raises:
        ValueError: the file is not an emulator's, is damaged, or is in use.

    """

    def __init__(self, path: str | os.PathLike[str], total_funds: float | None) -> None:
        self._unsaved: dict[str, EmulatedPod] = {}
        self._unsaved_bills: list[BillingRecord] = []
        problem = ""
        try:
            self._identity = _prepare_file(Path(path))
            self._database = sqlite3.connect(path, isolation_level=None, timeout=_LOCK_TIMEOUT_S)
            try:
                self._create_tables(total_funds)
                self.loaded = self._load()
            except BaseException:
                self._database.close()
                raise
            _open_files.add(self._identity)
        except sqlite3.OperationalError as error:
            problem = "another emulator has it open" if "locked" in str(error) else str(error)
        except OSError as error:
            problem = error.strerror or str(error)
        except (sqlite3.Error, ValueError, TypeError) as error:
            problem = f"it is not an emulator's state file, or damaged ({error})"
        if problem:
            raise ValueError(f"cannot keep the emulator's state in {str(path)!r}: {problem}")

    def _create_tables(self, total_funds: float | None) -> None:
        execute = self._database.execute
        application_id = execute("PRAGMA application_id").fetchone()[0]
        has_content = application_id or execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application_id != _APPLICATION_ID and has_content:
            raise ValueError("another program's database")
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")  # if the process is killed during a change, the state before it remains
        execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._database.executescript(_TABLES)
        execute("INSERT OR IGNORE INTO account VALUES (1, ?, NULL, NULL)", (total_funds,))

    def _load(self) -> StoredState:
        execute = self._database.execute
        pods = [_decode_pod(data) for (data,) in execute("SELECT data FROM pods")]
        bills = [msgspec.json.decode(data, type=BillingRecord) for (data,) in execute("SELECT data FROM bills")]
        account = execute("SELECT funds, last_id, now FROM account").fetchone()
        return StoredState(sorted(pods, key=lambda pod: pod.last_change), bills, *account)

    def save(self, pod: EmulatedPod, bills: Iterable[BillingRecord]) -> None:
        """Write a pod and the bills that its status change has opened or closed.

        Raises:
            sqlite3.Error: it cannot be written, as on a full disk. The next change then writes it too.

        """
        self._unsaved[pod.id] = pod
        self._unsaved_bills += bills
        self._write()

    def delete(self, pod: EmulatedPod) -> None:
        """Delete a pod but not its bills. Raises as `save` does."""
        self._unsaved.pop(pod.id, None)
        with self._database:
            self._database.execute("BEGIN")
            self._database.execute("DELETE FROM pods WHERE id = ?", (pod.id,))
        self._write()

    def deposit(self, amount: float, now: float) -> None:
        """Add to the funds."""
        self._database.execute("UPDATE account SET funds = funds + ?, now = max(ifnull(now, 0), ?)", (amount, now))

    def save_time(self, now: float) -> None:
        """Write the time, so that the next emulator's clock does not start earlier."""
        self._database.execute("UPDATE account SET now = max(ifnull(now, 0), ?)", (now,))

    def close(self, now: float | None) -> None:
        """Write the time and close the file."""
        with suppress(sqlite3.Error):
            self._write()
            if now is not None:
                self.save_time(now)
        self._database.close()
        _open_files.discard(self._identity)

    def _write(self) -> None:
        """Write all that is unsaved in one transaction."""
        pods = [(pod.id, _encode_pod(pod)) for pod in self._unsaved.values()]
        bills = [(bill.pod_id, bill.started_at, msgspec.json.encode(bill)) for bill in self._unsaved_bills]
        last_id = max((int(pod_id) for pod_id in self._unsaved), default=0)
        now = max((pod.last_change[0] for pod in self._unsaved.values()), default=0.0)
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO pods VALUES (?, ?)", pods)
            self._database.executemany("INSERT OR REPLACE INTO bills VALUES (?, ?, ?)", bills)
            self._database.execute("UPDATE account SET last_id = max(ifnull(last_id, 0), ?)", (last_id,))
            self.save_time(now)
        self._unsaved.clear()
        self._unsaved_bills.clear()


def _encode_pod(pod: EmulatedPod) -> bytes:
    return msgspec.json.encode(_StoredPod(pod.wire, pod.last_change, pod.next_transition, pod.status_history))


def _decode_pod(data: bytes) -> EmulatedPod:
    stored = msgspec.json.decode(data, type=_StoredPod)
    pod = EmulatedPod(stored.wire)
    pod.last_change, pod.next_transition = stored.last_change, stored.next_transition
    pod.status_history = stored.status_history
    return pod


def _prepare_file(path: Path) -> tuple[int, int]:
    """Create the file or check it, restrict it to its owner (it holds environment values), and return its identity."""
    if path.exists():
        if not path.is_file():
            raise OSError("it is not a regular file")
        if (path.stat().st_dev, path.stat().st_ino) in _open_files:
            raise sqlite3.OperationalError("locked by this process")  # opening and closing it would release that lock
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    with os.fdopen(descriptor, "rb") as file:
        start = file.read(len(_SQLITE_MAGIC))
        if start and start != _SQLITE_MAGIC:
            raise ValueError("no database")
        with suppress(OSError):
            path.chmod(0o600)
    return path.stat().st_dev, path.stat().st_ino
