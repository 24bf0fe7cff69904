"""Runs one pod's command and ends all processes that come from it: `python -I -S supervisor.py PID COMMAND NAME…`.

The emulator, whose process id is PID, holds the other end of standard input. A byte there asks all processes to end,
within two seconds. An EOF means that the emulator was killed: all processes are killed, and the directory is removed.
On Linux the supervisor is the subreaper of its descendants, so that it also finds one that has called setsid; elsewhere
the process group of the command ends.

NAME… are the command's environment variables: Python may add one for its locale, which is removed again.

The exit code is the command's, or 128 plus the number of the signal that ended it. A command that leaves processes in
the background, as `sshd &` does, has ended when they have.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time

_TERM_GRACE_S = 2.0
_REAP_INTERVAL_S = 0.01
_PARENT_CHECK_INTERVAL_S = 0.5
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_IS_LINUX = sys.platform == "linux"
_IGNORED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> int:
    """Run the command in the working directory until it ends or the emulator asks it to."""
    emulator = int(sys.argv[1])
    for number in _IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # only standard input ends the supervisor
    _set_process_option(_PR_SET_CHILD_SUBREAPER, 1)
    wakeup_reader, wakeup_writer = os.pipe()
    os.set_blocking(wakeup_reader, False)
    os.set_blocking(wakeup_writer, False)
    signal.set_wakeup_fd(wakeup_writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    shell = os.fork()
    if not shell:
        _exec_shell(sys.argv[2])
    exit_code: int | None = None
    while True:
        has_children, exit_code = _reap_children(shell, exit_code)
        if exit_code is not None and (exit_code or not has_children):
            _end_all(shell, emulator, 0.0)
            return exit_code
        select.select([0, wakeup_reader], [], [], _PARENT_CHECK_INTERVAL_S)
        with contextlib.suppress(BlockingIOError):
            os.read(wakeup_reader, 4096)
        request = _read_request(emulator)
        if request is not None:
            _end_all(shell, emulator, _TERM_GRACE_S if request else 0.0)
            return 0


def _set_process_option(option: int, value: int) -> None:
    if _IS_LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _read_request(emulator: int) -> bytes | None:
    """Return what the emulator has sent: None for nothing, b"" if the emulator has ended."""
    if os.getppid() != emulator:
        return b""  # a process that the emulator forked may still hold the other end
    return os.read(0, 1) if select.select([0], [], [], 0)[0] else None


def _remove_directory() -> None:
    """Remove the directory that a killed emulator left, its log, and after the last pod the common folder."""
    home = os.getcwd()
    shutil.rmtree(home, ignore_errors=True)
    if os.path.basename(home).isdigit():
        with contextlib.suppress(OSError):
            os.unlink(f"{home}.log")
            os.rmdir(os.path.dirname(home))


def _exec_shell(command: str) -> None:
    """Replace this process by the command's shell, which inherits only the log."""
    os.setsid()
    _set_process_option(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, *_IGNORED_SIGNALS):
        signal.signal(number, signal.SIG_DFL)  # the command would inherit ignored signals
    for name in set(os.environ).difference(sys.argv[3:]):
        del os.environ[name]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv("/bin/sh", ["sh", "-c", "--", command])


def _reap_children(shell: int, exit_code: int | None) -> tuple[bool, int | None]:
    """Reap all children that have ended; return whether any is left, and the exit code of the shell if it has one."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False, exit_code
        if not pid:
            return True, exit_code
        if pid == shell:
            exit_code = os.waitstatus_to_exitcode(status)
            exit_code = 128 - exit_code if exit_code < 0 else exit_code


def _end_all(shell: int, emulator: int, grace_s: float) -> None:
    """Send SIGTERM, and SIGKILL after the grace period or once the emulator has ended; then clean up after it."""
    deadline = time.monotonic() + grace_s
    is_orphaned = _read_request(emulator) == b""
    if grace_s:
        _signal_all(shell, signal.SIGTERM)
    while _reap_children(shell, None)[0]:
        is_orphaned = is_orphaned or _read_request(emulator) == b""
        if is_orphaned or time.monotonic() >= deadline:
            _signal_all(shell, signal.SIGKILL)
        time.sleep(_REAP_INTERVAL_S)
    if is_orphaned:
        _remove_directory()


def _signal_all(shell: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(shell, number)
    for pid in find_descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def find_descendants(root: int) -> list[int]:
    """Return the ids of all descendants of a process, as far as /proc has them."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if _IS_LINUX else ():
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
