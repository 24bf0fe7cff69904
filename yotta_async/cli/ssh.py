"""The way into a pod: a pod that can be reached, its ssh address, and the arguments of the system's `ssh` and `scp`.

What the API says becomes arguments only as a host, a port and a user that the library has checked. No shell reads them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import click

from yotta_async import ExposedPort, Pod, PodStatus, SshAddress
from yotta_async.cli.printing import echo_err, is_terminal, strip_control
from yotta_async.cli.reap import get_state_directory
from yotta_async.cli.run import SIGNAL_EXIT_BASE
from yotta_async.cli.settings import Settings, open_client

WAIT_TIMEOUT_S = 600.0
# For the TCP connection, ssh's greeting and the exchange of keys together.
CONNECT_TIMEOUT_S = 10
# A connection whose other end has gone is noticed after three of these.
KEEPALIVE_INTERVAL_S = 15
SSH_FAILED = 255
"""The exit status of ssh itself for a connection that failed."""
INSTALL_HINT = (
    "Install OpenSSH's client: `apt install openssh-client` (Debian, Ubuntu), `dnf install openssh-clients` (Fedora), "
    "`apk add openssh-client` (Alpine); macOS has it"
)


@attrs.frozen
class Connection:
    """How ssh reaches one pod. `options` are for `ssh` and `scp` alike."""

    pod_id: str
    address: SshAddress
    options: tuple[str, ...]
    is_unhealthy: bool = False

    def build_ssh(self, *options: str, command: Sequence[str] = ()) -> list[str]:
        """Return the arguments that run ssh. After `--` and the host, ssh takes no more options."""
        return [find_program("ssh"), *self.options, *options, "--", self.address.host, *command]

    def explain_failure(self) -> str:
        """Return what may be wrong when ssh did not connect, and what to do."""
        return (
            f"Pod {self.pod_id}: the connection to {self.address} by ssh failed, or was lost. If your key was refused, "
            "name one that the pod accepts: -i KEY. If nothing answered, wait until it does: --wait."
            f"{self.describe_server()}"
        )

    def describe_server(self) -> str:
        """Return what is known of the ssh server in the pod, as sentences after others."""
        text = " The API says that its ssh port is not healthy: perhaps no ssh server runs in it." * self.is_unhealthy
        if _is_loopback(self.address.host):
            text += (
                " A pod of the emulator has an ssh server only with `yotta-async emulator --runtime process`, if its "
                "initialization command runs one."
            )
        return text


async def connect(
    settings: Settings, pod_id: str, *, key: str | None = None, user: str | None = None, wait: bool = False
) -> Connection:
    """Return the connection to a pod that runs.

    Raises click.ClickException: the pod does not run, has no ssh port, or there is no ssh program.
    """
    find_program("ssh")  # before a wait
    return build_connection(await get_running_pod(settings, pod_id, wait=wait), pod_id, key=key, user=user)


def build_connection(pod: Pod, pod_id: str, *, key: str | None, user: str | None) -> Connection:
    """Return the connection to a pod. Raises click.ClickException if it has no ssh address."""
    address = pod.ssh
    if address is None:
        raise click.ClickException(
            f"pod {pod_id} exposes no port 22, which ssh needs ({format_ports(pod)}). Ports are set when a pod is "
            "created: `yotta-async pods create --expose 22:SSH`."
        )
    if user is not None:
        address = attrs.evolve(address, user=user)
    exposed = pod.ssh_port
    options = {
        "Port": str(address.port),
        **({"User": address.user} if address.user else {}),
        **({"IdentityFile": _quote(key), "IdentitiesOnly": "yes"} if key else {}),
        **_build_host_key_options(pod_id, address.host),
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": str(KEEPALIVE_INTERVAL_S),
    }
    arguments = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    is_unhealthy = exposed is not None and exposed.healthy is False
    return Connection(pod_id, address, tuple(arguments), is_unhealthy)


def _build_host_key_options(pod_id: str, host: str) -> dict[str, str]:
    """Return how ssh checks that it talks to the pod.

    A pod's key is accepted at its first connection, and must be the same at the next ones. It is kept under the pod's
    id, in a file of our own: hosts and ports are given to other pods later. Without an identity that outlives it, as in
    the emulator, an address of this machine is not checked.
    """
    if _is_loopback(host):
        return {"NoHostAuthenticationForLocalhost": "yes"}
    directory = get_state_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "HostKeyAlias": f"yotta-pod-{pod_id}",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": _quote(str(directory / "known_hosts")),
    }


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _quote(path: str) -> str:
    """Return a path as a value for -o, where ssh reads quotes and %."""
    escaped = str(Path(path).absolute()).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


# The pod


async def get_running_pod(settings: Settings, pod_id: str, *, wait: bool, port: int | None = None) -> Pod:
    """Return a pod that is RUNNING; with `wait`, once its port (None: the one for ssh) accepts connections.

    Raises click.ClickException: it does not run. The message says which command changes that.
    """
    async with open_client(settings, waits=wait) as yotta:
        pod = await yotta.pods.get(pod_id)
        if not wait or pod.status in _WAYS_BACK:
            refuse_unless_running(pod, pod_id)
            return pod
        deadline = time.monotonic() + (settings.timeout or WAIT_TIMEOUT_S)

        def find_port() -> ExposedPort | None:
            return pod.ssh_port if port is None else pod.port(port)

        def show(changed: Pod) -> None:
            if is_terminal(sys.stderr):
                echo_err(f"Pod {pod_id} is {strip_control(str(changed.status))}.")

        if find_port() is None:
            if pod.expose and not (port is None and pod.ssh_cmd):
                return pod  # ports are not added later: the caller says so at once
            pod = await yotta.pods.wait_until(pod_id, timeout=deadline - time.monotonic(), on_change=show)
        exposed = find_port()
        if exposed is not None and exposed.port is not None:
            left = max(1, math.ceil(deadline - time.monotonic()))
            pod = await yotta.pods.wait_until_ready(pod_id, ports=[exposed.port], timeout=left, on_change=show)
    return pod


# What to do about a pod for which no wait helps.
_GONE = "It cannot be reached any more; `yotta-async pods create` makes another."
_WAYS_BACK = {
    PodStatus.PAUSED: "`yotta-async pods resume {id} --wait` starts it again.",
    PodStatus.PAUSING: "Once it is PAUSED, `yotta-async pods resume {id} --wait` starts it again.",
    PodStatus.FAILED: _GONE,
    PodStatus.TERMINATING: _GONE,
    PodStatus.TERMINATED: _GONE,
}


def refuse_unless_running(pod: Pod, pod_id: str) -> None:
    """Raise click.ClickException for a pod that is known not to run."""
    if pod.status in (None, PodStatus.RUNNING):
        return
    way = _WAYS_BACK.get(pod.status, "Add --wait to wait until it can be reached.").format(id=pod_id)
    raise click.ClickException(f"pod {pod_id} is {strip_control(str(pod.status))}, not RUNNING. {way}")


def format_ports(pod: Pod) -> str:
    """Return which ports a pod exposes, in words."""
    ports = [
        f"{exposed.port} ({exposed.protocol})" if exposed.protocol else f"{exposed.port}" for exposed in pod.expose
    ]
    return strip_control(f"it exposes {', '.join(ports)}" if ports else "it exposes none")


# The programs


def find_program(name: str) -> str:
    """Return the path of a program of OpenSSH. Raises click.ClickException, which says how to install it."""
    path = shutil.which(name)
    if path is None:
        raise click.ClickException(f"there is no program {name} on this machine's PATH. {INSTALL_HINT}.")
    return path


async def run_program(arguments: Sequence[str]) -> int:
    """Run a program on this terminal, and return its exit status as a shell would."""
    process = await asyncio.create_subprocess_exec(*arguments)
    try:
        status = await process.wait()
    except asyncio.CancelledError:  # by a signal; a Ctrl-C has reached the program too
        await end_process(process)
        raise
    return SIGNAL_EXIT_BASE - status if status < 0 else status


async def end_process(process: asyncio.subprocess.Process) -> None:
    """End a program, which lets ssh restore the terminal."""
    # `process.terminate()` takes the exit code of a process that has just ended, and asyncio warns that it is lost.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    await process.wait()
