"""The journal of creates: what a killed process was about to make, for `reap` to find.

One line of JSON for each step of a create: `{"intent": token, "time": …, "account": …}` before it is sent,
`{"made": token, "pod_id": …}` when the pod is known and this process is to delete it, and `{"done": token}` when there
is nothing to clean up: there is no pod, it was deleted, or it was handed over to the caller. There is no secret in it:
a token only tells a pod from others, and the account is a few digits of a hash.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from yotta_async.creation.journal_file import DiskFolder, File, Folder
from yotta_async.errors import ConfigurationError
from yotta_async.support.clock import Clock

logger = logging.getLogger("yotta_async")

# A file is written anew, with what is still open, when it has so many lines and most of them are done with.
_COMPACT = 2_000


@attrs.frozen
class Intent:
    """A create that may have left a pod: its token, when it was about to be sent (seconds since 1970), and its pod."""

    token: str
    time: float
    account: str
    pod_id: str | None = None

    def lines(self) -> bytes:
        """Return what the journal says of it."""
        first = _line(intent=self.token, time=self.time, account=self.account)
        return first if self.pod_id is None else first + _line(made=self.token, pod_id=self.pod_id)


class Journal:
    """One client's file in the journal, made at its first create."""

    def __init__(self, folder: Folder, account: str, clock: Clock) -> None:
        self.account = account
        self.now: Callable[[], float] = clock.now
        self._clock = clock
        self.open: dict[str, Intent] = {}
        self.folder = folder
        self._file: File | None = None
        self._lines = 0
        self._waiting: list[bytes] = []  # lines that are not on the disk yet
        self._writing = asyncio.Lock()
        self._thread: ThreadPoolExecutor | None = None  # of its own: the loop's may be busy with anything

    async def intend(self, token: str) -> None:
        """Write down, on the disk, that a create is about to be sent. Raises ConfigurationError when that fails."""
        intent = Intent(token, self.now(), self.account)
        self.open[token] = intent
        line = intent.lines()
        self._waiting.append(line)
        try:
            await self._flush()
        except OSError as error:
            why = error.strerror or type(error).__name__
            self.open.pop(token, None)
            if line in self._waiting:
                self._waiting.remove(line)
        else:
            return
        raise ConfigurationError(
            f"the create was not sent: the journal of creates cannot be written ({why}). Make room, choose another "
            "place (argument journal or $YOTTA_JOURNAL), or do without"
        )

    async def made(self, token: str, pod_id: str) -> None:
        """Write down which pod it is that this process is to delete."""
        self.open[token] = attrs.evolve(self.open[token], pod_id=pod_id)
        await self._note(_line(made=token, pod_id=pod_id))

    async def done(self, token: str, pod_id: str | None = None) -> None:
        """Write down that there is nothing to clean up after; `pod_id` is the pod that the caller has now."""
        if self.open.pop(token, None) is not None:
            await self._note(_line(done=token, pod_id=pod_id) if pod_id else _line(done=token))

    async def close(self) -> None:
        """Give the file up: to nobody when there is nothing left in it to clean up after."""
        if self._file is None:
            return
        try:
            await self._flush()
        except OSError as error:
            logger.error("the journal of creates could not be written: %s; `reap` may ask about pods in use", error)  # noqa: TRY400  # it says all
        self._file.close(remove=not self.open)
        self._file = None
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    async def _note(self, line: bytes) -> None:
        """Write a line, now or with the next one: the pod is known, so a full disk is no reason to lose it."""
        self._waiting.append(line)
        try:
            await self._flush()
        except OSError as error:
            logger.warning("the journal of creates cannot be written just now: %s", error)

    async def _flush(self) -> None:
        """Return when everything that waits is on the disk. Those who come together share one write."""
        # A write takes real time, in which a clock that moves by itself stands still.
        async with self._writing:
            if self._waiting:
                lines, self._waiting = self._waiting, []
                if self._thread is None:
                    self._thread = ThreadPoolExecutor(1, "yotta-journal")
                still_open = list(self.open.values())
                writing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, lines, still_open)
                try:
                    with self._clock.call():
                        await asyncio.shield(writing)
                except asyncio.CancelledError:
                    await asyncio.wait({writing})  # a moment, at whose end it is known what stands there
                    if writing.exception() is not None:
                        self._waiting[:0] = lines
                    raise
                except OSError:
                    self._waiting[:0] = lines
                    raise

    def _write(self, lines: list[bytes], still_open: list[Intent]) -> None:
        if self._file is not None and not self._file.exists():
            self._file.close(remove=False)  # somebody removed it
            self._file = None
        if self._file is None:
            self._file = self.folder.create()
            lines = [intent.lines() for intent in still_open]
        if self._lines + len(lines) > max(_COMPACT, 4 * len(still_open)):
            self._file.replace(b"".join([intent.lines() for intent in still_open]))
            self._lines = 2 * len(still_open)
        else:
            self._file.append(b"".join(lines))
            self._lines += len(lines)


class Abandoned:
    """The file of a process that lives no more, held while it is cleaned up after."""

    def __init__(self, file: File) -> None:
        self._file = file
        data = file.read()
        # A line that was torn was not on the disk, so its create was not sent.
        self._ending = b"\n" if data and not data.endswith(b"\n") else b""
        self.open = {intent.token: intent for intent in _open_intents(data)}

    def done(self, token: str) -> None:
        """Write down that there is nothing left of it."""
        del self.open[token]
        try:
            self._file.append(self._ending + _line(done=token))
        except OSError as error:
            logger.warning("a journal of creates cannot be written: %s; the next `reap` looks again", error)
        else:
            self._ending = b""

    def close(self) -> None:
        """Give the file up: for another time, or to nobody when nothing is open."""
        self._file.close(remove=not self.open)


def abandoned(folder: Folder) -> Iterator[Abandoned]:
    """Yield each journal that no living process holds, locked until it is closed."""
    for file in folder.abandoned():
        yield Abandoned(file)


def journal_folder(path: str | os.PathLike[str] | None) -> DiskFolder | None:
    """Return the journal's directory: the given one, else $YOTTA_JOURNAL, else none.

    Raises ConfigurationError when it is no path, or is there and no directory.
    """
    if path is None:
        path = os.environ.get("YOTTA_JOURNAL") or None
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not str(path) or "\0" in str(path):
        raise ConfigurationError(f"journal must be the path of a directory, not {type(path).__name__}")
    try:
        folder = Path(path).expanduser()
        if folder.is_dir() or not folder.exists():
            return DiskFolder(folder)
        why = "it must be a directory, as each client that creates has a file of its own in it"
    except (RuntimeError, ValueError, OSError) as error:  # no such home, a zero byte, a name that is too long
        why = str(error) or type(error).__name__
    raise ConfigurationError(f"journal cannot be used: {why}")


def _line(**record: object) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _open_intents(data: bytes) -> list[Intent]:
    """Read what is still open. A line that cannot be read is passed over: it was torn before it counted."""
    found: dict[str, Intent] = {}
    for line in data.split(b"\n"):
        try:
            record: Any = json.loads(line)
            if "intent" in record:
                intent = Intent(str(record["intent"]), float(record["time"]), str(record["account"]))
                found[intent.token] = intent
            elif record.get("made") in found:
                found[record["made"]] = attrs.evolve(found[record["made"]], pod_id=str(record["pod_id"]))
            elif "done" in record:
                found.pop(record["done"], None)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return list(found.values())
