"""What `yotta-async pods port-forward` does: ports of a pod on this machine, by ssh, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence

import click

from yotta_async.cli.printing import echo_err, is_terminal, print_value, strip_control
from yotta_async.cli.settings import Settings
from yotta_async.cli.ssh import Connection, connect, end_process

LOCAL_HOST = "127.0.0.1"
START_TIMEOUT_S = 15.0
_LISTENING = b"listening"
_MAX_PORT = 65535
_MAX_LINE_BYTES = 2**22  # ssh shows a server's greeting of up to 1 MiB
# What ssh writes, and what that means for a pod.
_ADVICE = (
    ("permission denied|too many authentication", "Name a key that the pod accepts: -i KEY, or a user: --user."),
    ("connection refused|timed out|connection (closed|reset)", "Perhaps its ssh server does not run yet: add --wait."),
    (
        "identification has changed|verification failed",
        "Its key is not the one that it had before: `yotta-async pods ssh {id}` shows how to forget that one.",
    ),
    ("could not resolve", "Check this machine's network."),
)


async def forward_ports(
    settings: Settings, *, pod_id: str, ports: Sequence[str], key: str | None, user: str | None, wait: bool
) -> int:
    """Forward ports until a signal; an end by itself is an error."""
    wanted = [parse_ports(text) for text in ports]
    connection = await connect(settings, pod_id, key=key, user=user, wait=wait)
    pairs = [(find_local_port(local, remote, pod_id), remote) for local, remote in wanted]
    forwards = [part for local, remote in pairs for part in ("-L", f"{LOCAL_HOST}:{local}:localhost:{remote}")]
    process = await asyncio.create_subprocess_exec(
        *connection.build_ssh(
            "-N",
            *("-o", "ExitOnForwardFailure=yes"),
            *("-o", "ControlPath=none"),  # a shared connection would not end with this one
            # Run once the ports listen: ssh has no other way to say so.
            *("-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=echo {_LISTENING.decode()}"),
            *forwards,
        ),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        limit=_MAX_LINE_BYTES,
        env=os.environ | {"SHELL": "/bin/sh"},  # runs LocalCommand
    )
    messages = _Messages(process, pod_id, [remote for _, remote in pairs])
    try:
        if not await _wait_until_listening(process, pod_id):
            raise click.ClickException(await messages.explain_end(connection))
        messages.is_shown = True
        _print_forwards(settings, pod_id, pairs)
        await process.wait()
        raise click.ClickException(await messages.explain_end(connection))
    finally:
        await end_process(process)
        await messages.task


def parse_ports(text: str) -> tuple[int, int]:
    """Return local and remote port of LOCAL:REMOTE, or of a number for both. Local port 0 means a free one."""
    match = re.fullmatch(r"(?:([0-9]{1,5}):)?([0-9]{1,5})", text)
    if match:
        remote = int(match[2])
        local = int(match[1]) if match[1] else remote
        if local <= _MAX_PORT and 1 <= remote <= _MAX_PORT:
            return local, remote
    raise click.UsageError(f"{text!r} is not LOCAL:REMOTE, two ports such as 8888:8888; 0:8888 takes a free local port")


def find_local_port(local: int, remote: int, pod_id: str) -> int:
    """Return a port of this machine that is free. Raises click.ClickException if `local` is not."""
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ssh does
        try:
            probe.bind((LOCAL_HOST, local))
        except OSError as error:
            raise click.ClickException(
                f"port {local} of this machine cannot be used ({error.strerror}). Choose another, as in "
                f"`yotta-async pods port-forward {pod_id} 0:{remote}`, where 0 takes a free one."
            ) from None
        return int(probe.getsockname()[1])


async def _wait_until_listening(process: asyncio.subprocess.Process, pod_id: str) -> bool:
    """Return whether ssh listens; False if it ended, or did not listen in time."""
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    reading = asyncio.ensure_future(process.stdout.readline())
    done, _ = await asyncio.wait({reading}, timeout=START_TIMEOUT_S)
    if not done and is_terminal(sys.stdin):
        # ssh limits the time to connect, and none for a person to type.
        echo_err(f"Pod {pod_id}: ssh does not forward yet; it may wait for a passphrase. Ctrl-C ends this.")
        await asyncio.wait({reading})
    if not reading.done():
        reading.cancel()
        return False
    return reading.result().strip() == _LISTENING


class _Messages:
    """What ssh writes to standard error: kept until it forwards, and then shown line by line, with the pod's id."""

    def __init__(self, process: asyncio.subprocess.Process, pod_id: str, remote_ports: Sequence[int]) -> None:
        self.is_shown = False
        self._process = process
        self._pod_id = pod_id
        self._ports = " or ".join(map(str, remote_ports))
        self._lines: list[str] = []
        self.task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  # it is a pipe
        while line := await self._process.stderr.readline():
            text = strip_control(line.decode(errors="replace").strip()[:500])
            self._lines = [*self._lines[-9:], text] if text else self._lines
            if self.is_shown and text:
                refused = re.search(r"open failed: connect failed: (.*)", text)
                meaning = f"nothing in it accepts connections to port {self._ports} ({refused[1]})" if refused else text
                echo_err(f"Pod {self._pod_id}: {meaning}")

    async def explain_end(self, connection: Connection) -> str:
        """Return why ssh ended, or did not start to forward, once it has ended."""
        # Once it has forwarded, its end may be known before that of what it wrote.
        is_silent = not self.is_shown and self._process.stdout is not None and not self._process.stdout.at_eof()
        await end_process(self._process)
        await self.task
        text = "\n".join(self._lines)
        advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, text, re.IGNORECASE)), "")
        said = next((line for line in reversed(self._lines) if not line.startswith("Warning: Permanently added")), "")
        what = "the connection ended" if self.is_shown else "nothing is forwarded"
        if is_silent:
            reason = f"ssh did not connect within {START_TIMEOUT_S:g} s."
        elif said:
            reason = f"ssh says {said!r}."
        else:
            reason = f"ssh ended with status {self._process.returncode}."
        advice = f" {advice.format(id=self._pod_id)}" if advice else ""
        server = "" if self.is_shown else connection.describe_server()
        return f"pod {self._pod_id} ({connection.address}): {what}, as {reason}{advice}{server}"


def _print_forwards(settings: Settings, pod_id: str, pairs: Sequence[tuple[int, int]]) -> None:
    if settings.is_for_people:
        for local, remote in pairs:
            click.echo(f"Forwarding {LOCAL_HOST}:{local} -> {remote} of pod {pod_id}")
    else:
        shown = [{"host": LOCAL_HOST, "local": local, "remote": remote, "pod_id": pod_id} for local, remote in pairs]
        print_value(settings.output, shown)
    sys.stdout.flush()
