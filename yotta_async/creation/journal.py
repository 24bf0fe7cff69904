"""The journal of creates: what a process was about to create, for `reap` to find after it was killed.

One line of JSON for each step of a create: `{"intent": token, "time": …, "account": …}` before it is sent (with
`"in_name": true` if the pod's name carries the token),
`{"made": token, "pod_id": …}` when the pod is known and this process is to delete it, and `{"done": token}` when there
is nothing to clean up: there is no pod, it was deleted, or it was handed over to the caller. It holds no secret: a
token only distinguishes pods, and the account is a few digits of a hash.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import attrs
import msgspec

from yotta_async.api.converter import DECODE_ERRORS
from yotta_async.creation.journal_file import DiskFile, DiskFolder
from yotta_async.errors import ConfigurationError
from yotta_async.models.ids import is_pod_id
from yotta_async.support.clock import Clock

logger = logging.getLogger("yotta_async")

# A file with more lines than this, most of them finished, is replaced by one with the open intents only.
_COMPACTION_LINES = 2_000
# Seconds since 1970. What is later was not written by the journal.
_MAX_TIME = 1e11


@attrs.frozen
class Intent:
    """A create that may have left a pod: its token, when it was about to be sent (seconds since 1970), and its pod.

    `is_in_name`: the pod's name carries the token, so that lists show it even without the pod's environment.
    """

    token: str
    time: float
    account: str
    pod_id: str | None = None
    is_in_name: bool = False

    def to_lines(self) -> bytes:
        """Return what the journal holds of it."""
        in_name = {"in_name": True} if self.is_in_name else {}
        first = _to_line(intent=self.token, time=self.time, account=self.account, **in_name)
        return first if self.pod_id is None else first + _to_line(made=self.token, pod_id=self.pod_id)


class _Line(msgspec.Struct):
    intent: str | None = None
    made: str | None = None
    done: str | None = None
    time: Annotated[float, msgspec.Meta(ge=0, le=_MAX_TIME)] | None = None
    account: str | None = None
    pod_id: str | None = None
    in_name: bool = False


class Journal:
    """One client's file in the journal, created at its first create."""

    def __init__(self, folder: DiskFolder, account: str, clock: Clock) -> None:
        self.folder = folder
        self.account = account
        self.clock = clock
        self.open: dict[str, Intent] = {}
        self._file: DiskFile | None = None
        self._lines = 0
        self._waiting: list[bytes] = []  # lines that are not on the disk yet
        self._writing = asyncio.Lock()
        self._thread: ThreadPoolExecutor | None = None  # of its own: the loop's may be busy

    async def intend(self, token: str, *, is_in_name: bool = False) -> None:
        """Write to the disk that a create is about to be sent. Raises ConfigurationError when that fails."""
        intent = Intent(token, self.clock.now(), self.account, is_in_name=is_in_name)
        self.open[token] = intent
        line = intent.to_lines()
        self._waiting.append(line)
        try:
            await self._flush()
        except OSError as error:
            why = error.strerror or type(error).__name__
            del self.open[token]
            if line in self._waiting:
                self._waiting.remove(line)
        else:
            return
        raise ConfigurationError(
            f"the create was not sent: the journal of creates cannot be written ({why}). Make room, choose another "
            "place (argument journal or $YOTTA_JOURNAL), or do without"
        )

    async def record_pod(self, token: str, pod_id: str) -> None:
        """Note the pod of a create, which this process is to delete."""
        self.open[token] = attrs.evolve(self.open[token], pod_id=pod_id)
        await self._append(_to_line(made=token, pod_id=pod_id))

    async def finish(self, token: str, pod_id: str | None = None) -> None:
        """Note that a create left nothing to clean up; `pod_id` is the pod that the caller has now."""
        if self.open.pop(token, None) is not None:
            await self._append(_to_line(done=token, pod_id=pod_id) if pod_id else _to_line(done=token))

    async def close(self) -> None:
        """Release the file, and remove it when it has no open intent."""
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

    async def _append(self, line: bytes) -> None:
        """Write a line, now or with the next one: the pod is known, so a full disk is no reason to lose it."""
        self._waiting.append(line)
        try:
            await self._flush()
        except OSError as error:
            logger.warning("the journal of creates cannot be written now: %s", error)

    async def _flush(self) -> None:
        """Return when all lines that wait are on the disk. Callers that come together share one write."""
        # A write takes real time, during which a clock that moves by itself must not move.
        async with self._writing:
            if self._waiting:
                lines, self._waiting = self._waiting, []
                if self._thread is None:
                    self._thread = ThreadPoolExecutor(1, "yotta-journal")
                still_open = list(self.open.values())
                writing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, lines, still_open)
                try:
                    with self.clock.call():
                        await asyncio.shield(writing)
                except asyncio.CancelledError:
                    await asyncio.wait({writing})  # a moment, after which it is known what is on the disk
                    if writing.exception() is not None:
                        self._waiting[:0] = lines
                    raise
                except OSError:
                    self._waiting[:0] = lines
                    raise

    def _write(self, lines: list[bytes], still_open: list[Intent]) -> None:
        if self._file is not None and not self._file.exists():
            self._file.close(remove=False)  # another process removed it
            self._file = None
        if self._file is None:
            self._file = self.folder.create()
            lines = [intent.to_lines() for intent in still_open]
        if self._lines + len(lines) > max(_COMPACTION_LINES, 4 * len(still_open)):
            self._file.replace(b"".join([intent.to_lines() for intent in still_open]))
            self._lines = 2 * len(still_open)
        else:
            self._file.append(b"".join(lines))
            self._lines += len(lines)


class AbandonedFile:
    """The file of a process that has ended, locked while its creates are cleaned up."""

    def __init__(self, file: DiskFile) -> None:
        self._file = file
        data = file.read()
        # A line that was torn was not on the disk, so its create was not sent.
        self._separator = b"\n" if data and not data.endswith(b"\n") else b""
        self.open = {intent.token: intent for intent in parse_open_intents(data)}

    def finish(self, token: str) -> None:
        """Note that a create left nothing to clean up any more."""
        del self.open[token]
        try:
            self._file.append(self._separator + _to_line(done=token))
        except OSError as error:
            logger.warning("a journal of creates cannot be written: %s; the next `reap` checks it again", error)
        else:
            self._separator = b""

    def close(self) -> None:
        """Release the file, and remove it when it has no open intent."""
        self._file.close(remove=not self.open)


def journal_folder(path: str | os.PathLike[str] | None) -> DiskFolder | None:
    """Return the journal's directory: the given one, else $YOTTA_JOURNAL, else none.

    Raises:
        ConfigurationError: it is no path, no directory, or another user can write to it.

    """
    if path is None:
        path = os.environ.get("YOTTA_JOURNAL") or None
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise ConfigurationError(f"journal must be the path of a directory, not {type(path).__name__}")
    try:
        folder = Path(path).expanduser()
        checked = DiskFolder(folder)
        try:
            is_folder = stat.S_ISDIR(folder.stat().st_mode)  # not is_dir(), which hides a name that is too long
        except (FileNotFoundError, NotADirectoryError):
            return checked  # if it cannot be made, creates say so
        if is_folder:
            checked.check()
            return checked
        why = "it must be a directory, as each client that creates has a file of its own in it"
    except OSError as error:  # a name that is too long, or a directory that another user can write to
        why = error.strerror or type(error).__name__
    except (RuntimeError, ValueError) as error:  # no such home
        why = str(error) or type(error).__name__
    raise ConfigurationError(f"journal cannot be used: {why}")


def _to_line(**record: object) -> bytes:
    return json.dumps(record).encode() + b"\n"


def parse_open_intents(data: bytes) -> list[Intent]:
    """Return the intents that are open. A line that is not as the journal writes it is passed over.

    One that was torn did not count yet: it was not on the disk when its create was to be sent.
    """
    found: dict[str, Intent] = {}
    for line in data.split(b"\n"):
        try:
            record = msgspec.json.decode(line, type=_Line)
        except DECODE_ERRORS:
            continue
        if record.intent and record.time is not None and record.account is not None:
            found[record.intent] = Intent(record.intent, record.time, record.account, is_in_name=record.in_name)
        elif record.done is not None:
            found.pop(record.done, None)
        elif record.made in found and is_pod_id(record.pod_id or ""):
            found[record.made] = attrs.evolve(found[record.made], pod_id=record.pod_id)
    return list(found.values())
