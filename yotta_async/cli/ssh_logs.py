"""`pods create --log` and `pods logs`: the output of a pod's initialization command, kept in a file of the pod.

The API has no call for logs. So shell text before the command copies its output into a file, which is read by ssh.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs
import click

from yotta_async import Pod, PodSpec
from yotta_async.cli.printing import echo_err
from yotta_async.cli.settings import Settings
from yotta_async.cli.ssh import SSH_FAILED, build_connection, find_program, get_running_pod, run_program

LOG_PREFIX = "/tmp/yotta-async-"  # noqa: S108  # a pod's own; the token after it is random
# The pod's client token tells the files of pods apart that share a machine, as in the emulator.
_LOG = f"{LOG_PREFIX}$YOTTA_CLIENT_TOKEN.log"
_PIPE = f"{LOG_PREFIX}$YOTTA_CLIENT_TOKEN.pipe"
# The command's shell writes to a pipe, from which tee copies to the log and to where the output went before. So the
# command follows as it is, on its own lines, and keeps its exit code. The second pair of parentheses makes tee no child
# of the shell, for which a `wait` in the command would wait. The trap gives tee time to copy the last lines before the
# container ends. Without tee or mkfifo there is no log. There are no quotes, so that the text can stand in some.
_COPY_OUTPUT = (
    f"command -v tee >/dev/null && rm -f {_PIPE} && mkfifo {_PIPE} && {{ (tee -a {_LOG} <{_PIPE} &) ; "
    f"exec >{_PIPE} 2>&1 ; rm -f {_PIPE} ; trap sleep\\ 1 EXIT ; }}"
)
_NO_LOG = 66


def add_log(specs: Sequence[PodSpec]) -> list[PodSpec]:
    """Return specs whose initialization commands write their output to a file of the pod too."""
    if not all(spec.initialization_command and spec.initialization_command.strip() for spec in specs):
        raise click.UsageError("--log keeps the output of the initialization command: give one with --init-command")
    if not all(
        any(port.port == 22 or (port.protocol or "").upper() == "SSH" for port in spec.expose) for spec in specs
    ):
        echo_err("`pods logs` reads the log by ssh, for which a pod needs an ssh server and --expose 22:SSH.")
    return [
        attrs.evolve(spec, initialization_command=f"{_COPY_OUTPUT}\n{spec.initialization_command}") for spec in specs
    ]


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
    paths = get_log_paths(pod, pod_id)
    connection = build_connection(pod, pod_id, key=key, user=user)
    tail = f"tail -n {'+1' if lines is None else lines}{' -f' * follow}"
    command = f"for log in {paths}; do test -r $log && exec {tail} $log; done; exit {_NO_LOG}"
    status = await run_program(connection.build_ssh(command=[command]))
    if status == SSH_FAILED:
        echo_err(connection.explain_failure())
    if status == _NO_LOG:
        raise click.ClickException(
            f"there is no log in pod {pod_id} that this user can read ({LOG_PREFIX}*.log): its initialization "
            "command has not begun, or its image has no `tee` or `mkfifo`, or another user runs it (--user)."
        )
    return status


def get_log_paths(pod: Pod, pod_id: str) -> str:
    """Return where a pod's log may be, as shell text. Raises click.ClickException if it was created without --log."""
    if LOG_PREFIX not in (pod.initialization_command or ""):
        raise click.ClickException(
            f"pod {pod_id} keeps no log: the API has none, and the pod was created without --log. Create it with "
            "`yotta-async pods create --log --init-command COMMAND --expose 22:SSH`. What a program in this pod writes "
            f"to a file can be read with `yotta-async pods ssh {pod_id} -- cat FILE`."
        )
    token = pod.client_token or ""
    # Where the API shows no token there is one log, unless pods share a machine.
    own = [f"{LOG_PREFIX}{token}.log"] if re.fullmatch("[A-Za-z0-9_-]{1,128}", token) else []
    return " ".join([*own, f"{LOG_PREFIX}*.log"])
