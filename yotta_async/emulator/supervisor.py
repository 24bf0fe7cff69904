"""Runs one pod's command, and ends with all that came of it. A program: `python -I -S supervisor.py COMMAND NAME…`.

The emulator holds the other end of standard input. A byte there asks everybody to end and gives them two seconds; the
end of it, which is what is left of an emulator that was killed, ends everybody at once and removes the directory. On
Linux this process is the reaper of its descendants, so one that called setsid is found too; elsewhere the command's
process group is what ends.

The names are those of the command's variables: Python itself may add one for its locale, which is taken out again.

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
    emulator = os.getppid()
    if is_linux:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signals, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    shell = os.fork()
    if not shell:
        _become(sys.argv[1], is_linux=is_linux)
    code: int | None = None
    while True:
        has_children, code = _reap(shell, code)
        if code is not None and (code or not has_children):
            _end(shell, 0.0)
            return code
        # Whom the emulator forked holds the other end too: that its process is gone shows otherwise as well.
        ready, _, _ = select.select([0, signals], [], [], _LOOK)
        if os.getppid() != emulator:
            ready.append(0)
        if signals in ready:
            os.read(signals, 4096)
        if 0 in ready:
            was_asked = os.getppid() == emulator and bool(os.read(0, 1))
            _end(shell, _GRACE if was_asked else 0.0)
            if not was_asked:
                _clear()
            return 0


def _clear() -> None:
    """Remove what a killed emulator cannot: the directory, the log, and the last one also the folder of all."""
    home = os.getcwd()
    shutil.rmtree(home, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.unlink(f"{home}.log")
    folder = os.path.dirname(home)
    if os.path.basename(folder).startswith("yotta-emulator-"):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _become(command: str, *, is_linux: bool) -> None:
    """Turn into the command's shell, with nothing of ours but the log."""
    os.setsid()
    if is_linux:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and the command would inherit that
        signal.signal(ignored, signal.SIG_DFL)
    for name in set(os.environ).difference(sys.argv[2:]):
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


def _end(shell: int, grace: float) -> None:
    """End everybody: politely while there is grace, then not."""
    deadline = time.monotonic() + grace
    if grace:
        _signal_all(shell, signal.SIGTERM)
    while _reap(shell, None)[0]:
        if time.monotonic() >= deadline:
            _signal_all(shell, signal.SIGKILL)
        time.sleep(_TURN)


def _signal_all(shell: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(shell, number)
    for pid in _descendants():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _descendants() -> list[int]:
    """Return every process below this one, as far as /proc tells."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                parent = stat.read().rpartition(b")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(name))
    found = list(children.get(os.getpid(), ()))
    for pid in found:
        found += children.get(pid, ())
    return found


if __name__ == "__main__":
    sys.exit(main())
