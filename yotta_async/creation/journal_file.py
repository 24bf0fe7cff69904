"""Files of the journal: appended to, on the disk before a write counts, and locked while their writer lives.

What another user can write is not read: a line of theirs would make `reap` delete a pod.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None  # type: ignore[assignment]

from yotta_async.errors import ConfigurationError

# A forked child inherits what is open, and the locks would outlive the process that took them.
_LOCKED: weakref.WeakSet[DiskFile] = weakref.WeakSet()


def _close_parents_files() -> None:
    for file in tuple(_LOCKED):
        os.close(file.descriptor)
        _LOCKED.discard(file)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_parents_files)


class DiskFile:
    """A file on the disk, of mode 0600. Its lock ends with the process that holds it, however that ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        _LOCKED.add(self)

    @classmethod
    def place(cls, path: Path, data: bytes) -> Self:
        """Put a whole file in place at once, locked before another process can see it."""
        temporary = path.with_suffix(f".{os.urandom(4).hex()}.new")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        file = cls(path, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if data:
                file.append(data)
            temporary.rename(path)
        except OSError:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return file

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Lock an existing file, or return None while another process holds it.

        Raises:
            PermissionError: another user owns it or can write to it.

        """
        with suppress(FileNotFoundError):
            _refuse_other_writers(path, path.lstat())
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        except OSError:
            return None  # its writer has removed it, or it is root's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its writer may have put another file in its place, or have ended well, before the lock was ours.
            if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not os.path.samestat(
                os.fstat(descriptor), path.stat()
            ):
                raise BlockingIOError
        except OSError:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def read(self) -> bytes:
        """Return all that was written."""
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)

    def exists(self) -> bool:
        """Return whether the file still has its name."""
        return os.fstat(self.descriptor).st_nlink > 0

    def append(self, data: bytes) -> None:
        """Add to the end; return when it is on the disk, or raise OSError and leave nothing of it."""
        size = os.fstat(self.descriptor).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
            os.fsync(self.descriptor)
        except OSError:
            os.ftruncate(self.descriptor, size)
            raise

    def replace(self, data: bytes) -> None:
        """Replace this file by a new one that holds `data`, or raise OSError and change nothing."""
        new = type(self).place(self.path, data)
        os.close(self.descriptor)
        self.descriptor = new.descriptor

    def close(self, *, remove: bool) -> None:
        """Release the lock; with `remove`, remove the file."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)
        _LOCKED.discard(self)


class DiskFolder:
    """A directory with a file for each client that creates. Others' files in it are left alone."""

    def __init__(self, path: Path) -> None:
        if fcntl is None:
            raise ConfigurationError("a journal needs the file locks of a POSIX system, which this one does not have")
        self._path = path

    def create(self) -> DiskFile:
        """Return a new file, locked; raise OSError when it cannot be made."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.check()
        return DiskFile.place(self._path / f"creates-{os.getpid()}-{os.urandom(4).hex()}.jsonl", b"")

    def check(self) -> None:
        """Raise PermissionError when another user owns the directory or can write to it."""
        _refuse_other_writers(self._path, self._path.stat())

    def open_abandoned(self) -> Iterator[DiskFile]:
        """Yield each file whose lock is free. Raises what `check` and `DiskFile.take` raise."""
        if not self._path.exists():
            return
        self.check()
        for path in sorted(self._path.glob("creates-*.jsonl")):
            file = DiskFile.take(path)
            if file is not None:
                yield file


def _refuse_other_writers(path: Path, status: os.stat_result) -> None:
    """Raise PermissionError when another user, root apart, owns the path or can write to it."""
    if status.st_uid not in (os.geteuid(), 0):
        problem = f"{path} belongs to another user (uid {status.st_uid}), whose lines would make `reap` delete pods. "
        problem += "Choose a directory of your own, or make it yours: `chown`"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(status.st_mode):
        problem = f"other users can write to {path}, and their lines would make `reap` delete pods: `chmod go-w {path}`"
    else:
        return
    raise PermissionError(errno.EPERM, problem)


def _sync_folder(path: Path) -> None:
    """Let the name of a new file be on the disk too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
