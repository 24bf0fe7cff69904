"""`pods create --log` and `pods logs`: the output of a pod's initialization command, kept in a file of the pod.

The API has no call for logs. So shell text before the command copies its output into a file, which is read by ssh.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import attrs
import click

from yotta_async import Pod, PodSpec
from yotta_async.cli.printing import echo_err
from yotta_async.cli.settings import Settings
from yotta_async.cli.ssh import SSH_FAILED, build_connection, find_program, get_running_pod, run_program

_PREFIX = "/tmp/yotta-async-"  # noqa: S108  # in the pod, and the rest of the name is random
_LOG = re.compile(rf"{_PREFIX}[0-9a-f]{{16}}\.log")
# The exit status of the command that reads a log, if there is none.
_NO_LOG = 66


def add_log(specs: Sequence[PodSpec]) -> list[PodSpec]:
    """Return specs whose initialization commands write their output to a file of the pod too."""
    if not all(spec.initialization_command and spec.initialization_command.strip() for spec in specs):
        raise click.UsageError("--log keeps the output of the initialization command: give one with --init-command")
    protocols = [{port.port: (port.protocol or "").upper() for port in spec.expose} for spec in specs]
    if not all(22 in by_port or "SSH" in by_port.values() for by_port in protocols):
        echo_err("`pods logs` reads the log by ssh, for which a pod needs an ssh server and --expose 22:SSH.")
    return [attrs.evolve(spec, initialization_command=_add_copying(spec.initialization_command)) for spec in specs]


def _add_copying(command: str | None) -> str:
    """Return a command after shell text that lets what it writes go to a new log too.

    The shell writes to a pipe, from which tee copies to the log and to where the output went before. So the command
    follows as it is, on its own lines, and keeps its exit code. The second pair of parentheses makes tee no child of
    the shell, for which a `wait` in the command would wait. The trap gives tee time to copy the last lines before the
    container ends. Without tee or mkfifo there is no log. There are no quotes and no $, so that the text can be quoted.
    """
    path = f"{_PREFIX}{os.urandom(8).hex()}"  # one for each pod: those of the emulator share a machine
    log, pipe = f"{path}.log", f"{path}.pipe"
    return (
        f"command -v tee >/dev/null && rm -f {pipe} && mkfifo {pipe} && {{ (tee -a {log} <{pipe} &) ; "
        f"exec >{pipe} 2>&1 ; rm -f {pipe} ; trap sleep\\ 1 EXIT ; }}\n{command}"
    )


async def print_log(
    settings: Settings,
    *,
    pod_id: str,
    follow: bool,
    lines: int | None,
    key: str | None,
    user: str | None,
    wait: bool,
) -> int:
    """Print what a pod's initialization command has written, by ssh; return the exit status."""
    find_program("ssh")  # before a wait
    pod = await get_running_pod(settings, pod_id, wait=wait)
    path = find_log(pod, pod_id)
    connection = build_connection(pod, pod_id, key=key, user=user)
    tail = f"tail -n {'+1' if lines is None else lines}{' -f' * follow}"
    status = await run_program(connection.build_ssh(command=[f"test -r {path} || exit {_NO_LOG}; exec {tail} {path}"]))
    if status == SSH_FAILED:
        echo_err(connection.explain_failure())
    if status == _NO_LOG:
        raise click.ClickException(
            f"there is no log in pod {pod_id} that this user can read ({path}): its initialization "
            "command has not begun, or its image has no `tee` or `mkfifo`, or another user runs it (--user)."
        )
    return status


def find_log(pod: Pod, pod_id: str) -> str:
    """Return the path of a pod's log, from its command. Raises click.ClickException if it was created without --log."""
    found = _LOG.search(pod.initialization_command or "")
    if found is None:
        problem = (
            f"pod {pod_id} keeps no log: the API has none, and the pod was created without --log. Create it with "
            "`yotta-async pods create --log --init-command COMMAND --expose 22:SSH`."
        )
        if pod.ssh_port is not None:
            problem += (
                " What a program in this pod writes to a file can be read with "
                f"`yotta-async pods ssh {pod_id} cat FILE`."
            )
        raise click.ClickException(problem)
    return found[0]
