"""What `yotta-async pods open` does: show an HTTP port of a pod in a browser."""

from __future__ import annotations

import webbrowser

import click

from yotta_async import Pod
from yotta_async.cli.printing import echo_err, print_value, strip_control
from yotta_async.cli.run import ExitCode
from yotta_async.cli.settings import Settings
from yotta_async.cli.ssh import format_ports, get_running_pod

MAX_PRIVILEGED_PORT = 1023


async def open_port(settings: Settings, *, pod_id: str, port: int, only_print: bool, wait: bool) -> int:
    """Open the port's URL, or print it; return the exit code."""
    pod = await get_running_pod(settings, pod_id, wait=wait, port=port)
    url = get_url(pod, pod_id, port)
    if not settings.is_for_people:
        print_value(settings.output, {"pod_id": pod_id, "port": port, "url": url})
        return ExitCode.DONE
    click.echo(url)
    if not only_print and not webbrowser.open(url):
        echo_err("No browser was found here: open the URL above in one.")
    return ExitCode.DONE


def get_url(pod: Pod, pod_id: str, port: int) -> str:
    """Return the URL of an HTTP port. Raises click.ClickException, which says which ports there are."""
    exposed = pod.port(port)
    local = port if port > MAX_PRIVILEGED_PORT else 0
    forward = ""
    if pod.ssh_port is not None:
        forward = f" `yotta-async pods port-forward {pod_id} {local}:{port}` reaches it by ssh."
    if exposed is None:
        raise click.ClickException(
            f"pod {pod_id} does not expose port {port}; {format_ports(pod)}. Ports are set when a pod is created "
            f"(--expose {port}:HTTP).{forward}"
        )
    url = exposed.ingress
    if url is None and exposed is pod.ssh_port:
        raise click.ClickException(f"port {port} of pod {pod_id} is for ssh: `yotta-async pods ssh {pod_id}`.")
    if url is None:
        protocol = strip_control(exposed.protocol or "of no known protocol")
        raise click.ClickException(f"port {port} of pod {pod_id} is {protocol} and has no URL.{forward}")
    return url
