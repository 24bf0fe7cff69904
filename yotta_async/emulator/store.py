"""What outlives the emulator: pods and bills in one SQLite file, each change written before it is answered."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import attrs
import msgspec

from yotta_async.emulator.billing import BillingRecord
from yotta_async.emulator.pod import EmulatedPod
from yotta_async.emulator.schema import Pod

_TABLES = """
CREATE TABLE IF NOT EXISTS pods (id TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS bills (pod_id TEXT, started_at REAL, data BLOB NOT NULL, PRIMARY KEY (pod_id, started_at));
CREATE TABLE IF NOT EXISTS money (id INTEGER PRIMARY KEY CHECK (id = 1), funds REAL);
"""
# "yott": the file's mark, so that no other program's database is written into.
_APPLICATION = 0x796F7474


class _Kept(msgspec.Struct):
    """A pod as it is kept."""

    wire: Pod
    changed: tuple[float, int]
    next: tuple[float, str] | None
    past: list[tuple[float, str, str]]


class Store:
    """One file, which one process at a time has open.

    Raises ValueError for a file that is not an emulator's, or that another process has open.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        # The file holds environment values: it is its owner's alone.
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        # From the thread that the emulator runs in, which need not be the one that made it.
        self._database = sqlite3.connect(self._path, isolation_level=None, timeout=0.1, check_same_thread=False)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._database.close()
            is_locked = "locked" in str(error)
            why = "another process has it open" if is_locked else f"it is no file of the emulator's ({error})"
            raise ValueError(f"cannot use {str(path)!r} for the emulator's state: {why}") from None

    def _open(self) -> None:
        execute = self._database.execute
        mark = execute("PRAGMA application_id").fetchone()[0]
        has_tables = execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if mark != _APPLICATION and has_tables:
            raise sqlite3.DatabaseError("it has another program's tables")
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")  # a process that is killed in a change leaves the state before it
        execute(f"PRAGMA application_id = {_APPLICATION}")
        self._database.executescript(_TABLES)
        execute("BEGIN IMMEDIATE")
        execute("COMMIT")

    def save(self, pod: EmulatedPod, bills: Iterable[BillingRecord]) -> None:
        """Keep a pod as it is now, and the stretches that began or ended with that."""
        kept = msgspec.json.encode(_Kept(pod.wire, pod.changed, pod.next, pod.past))
        rows = [(bill.pod_id, bill.started_at, msgspec.json.encode(attrs.asdict(bill))) for bill in bills]
        self._database.execute("BEGIN")
        self._database.execute("INSERT OR REPLACE INTO pods VALUES (?, ?)", (pod.id, kept))
        self._database.executemany("INSERT OR REPLACE INTO bills VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def forget(self, pod_id: str) -> None:
        """Keep a pod no more."""
        self._database.execute("DELETE FROM pods WHERE id = ?", (pod_id,))

    def funds(self, first: float | None) -> float | None:
        """Return all the money that there ever was, which for a new file is `first`."""
        self._database.execute("INSERT OR IGNORE INTO money VALUES (1, ?)", (first,))
        funds: float | None = self._database.execute("SELECT funds FROM money").fetchone()[0]
        return funds

    def deposit(self, amount: float) -> None:
        """Note that money came in."""
        self._database.execute("UPDATE money SET funds = funds + ?", (amount,))

    def pods(self) -> list[EmulatedPod]:
        """Return the pods that were kept."""
        found = []
        for (data,) in self._database.execute("SELECT data FROM pods"):
            kept = msgspec.json.decode(data, type=_Kept)
            pod = EmulatedPod(kept.wire)
            pod.changed, pod.next, pod.past = kept.changed, kept.next, kept.past
            found.append(pod)
        return sorted(found, key=lambda pod: pod.changed)

    def last_change(self) -> float | None:
        """Return when a pod changed last, in seconds since 1970, or None when there is none."""
        return max((pod.changed[0] for pod in self.pods()), default=None)

    def bills(self) -> list[BillingRecord]:
        """Return the bills that were kept."""
        rows = self._database.execute("SELECT data FROM bills")
        return [BillingRecord(**msgspec.json.decode(data)) for (data,) in rows]

    def clear(self) -> None:
        """Keep nothing of what there was."""
        self._database.executescript("BEGIN; DELETE FROM pods; DELETE FROM bills; COMMIT;")

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
