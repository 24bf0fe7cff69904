"""Ready means reachable: RUNNING, then each port healthy, then a TCP connection to it, under one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from urllib.parse import urlsplit

from yotta_async.models.pod import ExposedPort, Pod
from yotta_async.models.status import PodStatus
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.wait_errors import PodFailedError
from yotta_async.polling.waiter import StatusWaiter, WaitOptions

_RUNNING = frozenset({PodStatus.RUNNING})
# How long one connection may take, and the delay before the next one is tried.
_CONNECT_TIMEOUT_S = 5.0
_RETRY_DELAY_S = 1.0


async def wait_until_ready(
    poller: StatusPoller, pod_id: str, ports: Collection[int] | None, options: WaitOptions
) -> Pod:
    """Wait until the pod can be reached; see `Pods.wait_until_ready`."""
    # Every poll counts: `healthy` changes while the status does not.
    late = f"it was not ready within {options.timeout:g} s: "
    with StatusWaiter(poller, pod_id, _RUNNING, options, every_poll=True) as waiter:
        pod = await waiter.next()
        while True:
            if pod.status != PodStatus.RUNNING:
                waiter.missing = f"{late}it is {pod.status}, not RUNNING"
                pod = await waiter.next()
                continue
            if ports is None and "expose" in pod.unreadable:
                waiter.missing = f"{late}it is RUNNING, and the list of its ports cannot be read; name those that count"
                pod = await waiter.next()
                continue
            wanted = _select_ports(pod, ports, waiter)
            unhealthy = [str(port.port) for port in wanted if port.healthy is False]
            if unhealthy:
                waiter.missing = f"{late}it is RUNNING, and port {', '.join(unhealthy)} is not healthy"
                pod = await waiter.next()
                continue
            refused = await _find_unreachable(poller, wanted, left=waiter.subscription.deadline - poller.clock.time())
            if not refused:
                return pod
            waiter.missing = f"{late}it is RUNNING and healthy, and TCP does not reach port {', '.join(refused)}"
            pod = await waiter.next_within(_RETRY_DELAY_S) or pod


def _select_ports(pod: Pod, ports: Collection[int] | None, waiter: StatusWaiter) -> list[ExposedPort]:
    """Return the ports that count. Raises PodFailedError for one that is not exposed, as that cannot change."""
    if ports is None:
        return list(pod.expose)
    found = [pod.port(number) or ExposedPort(port=number) for number in ports]
    missing = [number for number in ports if pod.port(number) is None]
    if missing and pod.expose and "expose" not in pod.unreadable:
        exposed = ", ".join(str(port.port) for port in pod.expose)
        raise waiter.build_error(PodFailedError, f"it exposes port {exposed} and not {', '.join(map(str, missing))}")
    return found


async def _find_unreachable(poller: StatusPoller, ports: Collection[ExposedPort], *, left: float) -> list[str]:
    """Try to connect to each port; return those that did not accept, as texts for an error."""
    limit = min(_CONNECT_TIMEOUT_S, left)
    with poller.clock.call():
        problems = await asyncio.gather(*(_find_connection_problem(port, limit) for port in ports))
    return [problem for problem in problems if problem]


async def _find_connection_problem(port: ExposedPort, limit: float) -> str | None:
    if (port.protocol or "").upper() == "UDP":
        return None  # there is nothing to connect to; `healthy` is all there is to know
    try:
        host, number = _address_of(port)
        if not host or not number:
            return f"{port.port} (its address is not known yet)"
        async with asyncio.timeout(limit):
            _, writer = await asyncio.open_connection(host, number)
    except (OSError, ValueError, OverflowError) as error:  # a refusal, or a text that is no host, or a number no port
        return f"{port.port} at {port.host or port.ingress_url}:{port.proxy_port or ''} ({type(error).__name__})"
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass  # it was accepted, and nothing more is needed
    return None


def _address_of(port: ExposedPort) -> tuple[str | None, int | None]:
    """Return host and port by which the port is reached: its own, or else those of its ingress URL."""
    if port.host and port.proxy_port:
        return port.host, port.proxy_port
    url = urlsplit(port.ingress_url or "")
    return url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)
