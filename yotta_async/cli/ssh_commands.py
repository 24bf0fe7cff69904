"""What `yotta-async pods ssh` and `pods cp` do. Each function returns the exit status of the program that it runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from yotta_async.cli.printing import echo_err
from yotta_async.cli.settings import Settings
from yotta_async.cli.ssh import SSH_FAILED, connect, find_program, run_program

# A local path with a colon in it has a slash before the colon: ./a:b
_REMOTE_PATH = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63}):(.*)", re.DOTALL)


async def open_shell(
    settings: Settings,
    *,
    pod_id: str,
    command: Sequence[str],
    key: str | None,
    user: str | None,
    tty: bool,
    wait: bool,
) -> int:
    """Run a command in a pod, or a shell without one."""
    connection = await connect(settings, pod_id, key=key, user=user, wait=wait)
    status = await run_program(connection.build_ssh(*["-t"] * tty, command=command))
    if status == SSH_FAILED:
        echo_err(connection.explain_failure())
    return status


async def copy_files(
    settings: Settings,
    *,
    paths: Sequence[str],
    recursive: bool,
    key: str | None,
    user: str | None,
    wait: bool,
) -> int:
    """Copy files to a pod or from it; the last path is where to."""
    pod_id = find_pod_of_paths(paths)
    scp = find_program("scp")
    connection = await connect(settings, pod_id, key=key, user=user, wait=wait)
    host = connection.address.host
    host = f"[{host}]" if ":" in host else host
    arguments = [f"{host}:{match[2]}" if (match := _REMOTE_PATH.fullmatch(path)) else to_local(path) for path in paths]
    status = await run_program([scp, *connection.options, *["-r"] * recursive, "--", *arguments])
    if status == SSH_FAILED:
        echo_err(connection.explain_failure())
    return status


def find_pod_of_paths(paths: Sequence[str]) -> str:
    """Return the id of the one pod that sources and target of a copy name."""
    *sources, target = [match[1] if (match := _REMOTE_PATH.fullmatch(path)) else None for path in paths]
    form = "as in `yotta-async pods cp file.txt ID:/tmp/` or `yotta-async pods cp ID:/tmp/file.txt .`"
    if not sources:
        raise click.UsageError(f"give what to copy and where to, {form}")
    if target is None and None in sources and len(set(sources)) > 1:
        raise click.UsageError(f"all files must come from the pod, {form}")
    if len(set(sources)) > 1:
        raise click.UsageError("the files must come from one place: this machine, or one pod")
    source = sources[0]
    if source is None and target is None:
        raise click.UsageError(f"no path is in a pod: name the pod before one, {form}")
    if source is not None and target is not None:
        raise click.UsageError(f"both sides are in pods: one must be on this machine, {form}")
    return str(source or target)


def to_local(path: str) -> str:
    """Return a path on this machine in a form that scp takes for no option, host or URL."""
    return path if path.startswith("/") else f"./{path}"
