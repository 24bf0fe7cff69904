"""Runs one pod's command, and ends with all that came of it. A program: `python -I -S supervisor.py PID COMMAND NAME…`.

The emulator holds the other end of standard input. A byte there asks everybody to end and gives them two seconds; the
end of it, which is what is left of an emulator that was killed, ends everybody at once and removes the directory. On
Linux this process is the reaper of its descendants, so one that called setsid is found too; elsewhere the command's
process group is what ends.

PID is the emulator's. The names are those of the command's variables: Python itself may add one for its locale, which
is taken out again.

The exit code is the command's, or 128 and the signal that ended it. A command that leaves others running in the
background, as `sshd &` does, has ended when they have.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time

_GRACE = 2.0
_TURN = 0.01
_LOOK = 0.5
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run the command in the working directory, until it ends or everybody is asked to."""
    is_linux = sys.platform == "linux"
    emulator = int(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # who wants this to end asks by standard input
    if is_linux:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signals, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(signals, False)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    shell = os.fork()
    if not shell:
        _become(sys.argv[2], is_linux=is_linux)
    code: int | None = None
    while True:
        has_children, code = _reap(shell, code)
        if code is not None and (code or not has_children):
            _end(shell, emulator, 0.0)
            return code
        select.select([0, signals], [], [], _LOOK)
        with contextlib.suppress(BlockingIOError):
            os.read(signals, 4096)
        said = _heard(emulator)
        if said is not None:
            _end(shell, emulator, _GRACE if said else 0.0)
            return 0


def _heard(emulator: int) -> bytes | None:
    """Return what the emulator has said: None for nothing, and b"" when it is not there any more."""
    if os.getppid() != emulator:
        return b""  # whom it forked may still hold the other end
    return os.read(0, 1) if select.select([0], [], [], 0)[0] else None


def _clear() -> None:
    """Remove what a killed emulator cannot: the directory; of a pod its log and, the last one, the folder of all."""
    home = os.getcwd()
    shutil.rmtree(home, ignore_errors=True)
    if os.path.basename(home).isdigit():
        with contextlib.suppress(OSError):
            os.unlink(f"{home}.log")
            os.rmdir(os.path.dirname(home))


def _become(command: str, *, is_linux: bool) -> None:
    """Turn into the command's shell, with nothing of ours but the log."""
    os.setsid()
    if is_linux:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_DFL)  # the command would inherit what is ignored
    for name in set(os.environ).difference(sys.argv[3:]):
        del os.environ[name]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv("/bin/sh", ["sh", "-c", "--", command])


def _reap(shell: int, code: int | None) -> tuple[bool, int | None]:
    """Take leave of all that ended; say whether anybody is left, and with which code the shell ended if it did."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False, code
        if not pid:
            return True, code
        if pid == shell:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code


def _end(shell: int, emulator: int, grace: float) -> None:
    """End everybody: politely while there is grace and an emulator, then not; without one, clear up."""
    deadline = time.monotonic() + grace
    is_orphaned = _heard(emulator) == b""
    if grace:
        _signal_all(shell, signal.SIGTERM)
    while _reap(shell, None)[0]:
        is_orphaned = is_orphaned or _heard(emulator) == b""
        if is_orphaned or time.monotonic() >= deadline:
            _signal_all(shell, signal.SIGKILL)
        time.sleep(_TURN)
    if is_orphaned:
        _clear()


def _signal_all(shell: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(shell, number)
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def descendants(root: int) -> list[int]:
    """Return every process below this one, as far as /proc tells."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                parent = stat.read().rpartition(b")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(name))
    found = list(children.get(root, ()))
    for pid in found:
        found += children.get(pid, ())
    return found


if __name__ == "__main__":
    sys.exit(main())
