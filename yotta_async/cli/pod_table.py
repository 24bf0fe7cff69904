"""How a pod is shown to people: a row of a table, the fields that matter, and what pods cost together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import attrs

from yotta_async import ExposedPort, Pod, PodStatus
from yotta_async.cli.printing import (
    format_duration,
    format_gpus,
    format_usd,
    pluralize,
    strip_control,
)

LIST_COLUMNS = ("id", "name", "status", "age", "gpu", "region", "$/h", "address")
# What goes below what where a terminal is narrow, in this order.
BELOW = (("address", "name"), ("region", "gpu"), ("age", "status"), ("for", "status"))
WIDE_COLUMNS = (*LIST_COLUMNS[:-1], "for", "gpu type", "image", "ports", "created")
STARTING = (PodStatus.INITIALIZE, PodStatus.PENDING, PodStatus.PREPARING)
# Source: the guide's section on billing, which begins with RUNNING.
TOKEN_VARIABLE = "YOTTA_CLIENT_TOKEN"  # ours, which concerns no person  # noqa: S105
UNBILLED = (PodStatus.TERMINATING, PodStatus.TERMINATED, PodStatus.FAILED)
DOWN = (PodStatus.PAUSED, *UNBILLED)


def get_price(pod: Pod) -> float | None:
    """Return the USD an hour of a pod with its status; None: unknown. A pod that starts has the price of running."""
    if pod.status in UNBILLED:
        return 0.0
    if pod.status == PodStatus.PAUSED:
        return attrs.evolve(pod, gpu_count=0).hourly_price  # the volumes alone
    return pod.hourly_price


def build_row(pod: Pod, columns: Sequence[str], *, status_age_s: float | None = None) -> tuple[str, ...]:
    """Return a pod's cells; `status_age_s` is since when it has its status, where the pod itself does not say."""
    age = None if pod.created_at is None else get_age(pod.created_at)
    changed = status_age_s if pod.updated_at is None else get_age(pod.updated_at)
    address = format_address(pod.port(22) or next(iter(pod.expose), None))
    if address and len(pod.expose) > 1:
        address += f" +{len(pod.expose) - 1}"
    if pod.status in (*STARTING, *DOWN):
        address = ""
    cells = {
        "id": pod.id,
        "name": pod.pod_name or "",
        "status": str(pod.status or "?"),
        "age": "" if age is None else format_duration(age),
        "for": "" if changed is None else format_duration(changed),
        "gpu": format_gpus(pod),
        "gpu type": pod.gpu_type or "",
        "region": pod.region or "",
        "$/h": format_usd(get_price(pod)),
        "address": address,
        "image": pod.image or "",
        "ports": " ".join(f"{port.port}={format_address(port)}" for port in pod.expose),
        "created": "" if pod.created_at is None else format_time(pod.created_at),
    }
    return tuple(strip_control(cells[column]) for column in columns)


def build_detail_rows(pod: Pod, *, show_secrets: bool) -> list[tuple[str, str]]:
    """Return the fields of a pod that matter, each with its name; those without a value are left out."""
    shown = pod if show_secrets else pod.redacted()
    vram = f", {pod.single_card_vram_in_gb} GB each" if pod.single_card_vram_in_gb else ""
    since = "" if pod.updated_at is None else f" for {format_duration(get_age(pod.updated_at))}"
    created = pod.created_at
    is_up = pod.status not in DOWN
    rows = [
        ("id", pod.id),
        ("name", pod.pod_name),
        ("status", f"{pod.status or '?'}{since}"),
        ("image", pod.image),
        ("gpu", f"{format_gpus(pod)} ({pod.gpu_type}{vram})"),
        ("region", " ".join(part for part in (pod.region, pod.location and f"({pod.location})") if part)),
        ("price", _format_price(pod)),
        *(("port", _format_port(port)) for port in (pod.expose if is_up else ())),
        ("ssh", pod.ssh_cmd if is_up else None),
        *(("volume", text) for text in _format_volumes(pod)),
        (
            "variables",
            ", ".join(f"{item.key}={item.value}" for item in shown.environment_vars if item.key != TOKEN_VARIABLE),
        ),
        ("command", shown.initialization_command),
        ("created", created and f"{format_time(created)}, {format_duration(get_age(created))} ago"),
    ]
    return [(name, strip_control(text)) for name, text in rows if text]


def summarize(pods: Sequence[Pod], *, hidden: int = 0) -> str:
    """Return a line of counts, what the pods cost together, and how many are not shown."""
    statuses = Counter(strip_control(str(pod.status or "of unknown status")) for pod in pods)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    parts = [f"{pluralize(len(pods))}{counts and f': {counts}'}"]
    if pods:
        parts.append(format_total(pods))
    if hidden:
        parts.append(format_hidden(hidden))
    return ". ".join(parts) + "."


def format_hidden(count: int) -> str:
    """Return how many pods a list leaves out, and the option that shows them."""
    return f"{count} TERMINATED not shown: add --all"


def format_total(pods: Sequence[Pod]) -> str:
    """Return what pods cost an hour together, those whose price is unknown apart."""
    prices = {pod.id: get_price(pod) for pod in pods}
    starting = [pod for pod in pods if pod.status in STARTING]
    now = sum(prices[pod.id] or 0 for pod in pods if pod.status not in STARTING)
    unknown = sum(price is None for price in prices.values())
    text = f"${format_usd(now)} an hour now"
    if any(prices[pod.id] is not None for pod in starting):
        more = sum(prices[pod.id] or 0 for pod in starting)
        text += f", ${format_usd(more)} more when all run"
    return f"{text}, and {unknown} at an unknown price" if unknown else text


def get_age(then: datetime) -> float:
    """Return the seconds since a time."""
    return (datetime.now(UTC) - then).total_seconds()


def format_time(then: datetime) -> str:
    """Return a time for people, in UTC."""
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def format_address(port: ExposedPort | None) -> str:
    """Return where a port is reached from outside, or empty text."""
    if port is None:
        return ""
    return f"{port.host}:{port.proxy_port}" if port.host and port.proxy_port else port.ingress_url or ""


def _format_port(port: ExposedPort) -> str:
    health = {None: "", True: ", healthy", False: ", not healthy"}[port.healthy]
    return f"{port.port}/{port.protocol or 'TCP'} at {format_address(port) or '?'}{health}"


def _format_price(pod: Pod) -> str:
    price = get_price(pod)
    if price is None:
        return "unknown"
    running = "" if pod.hourly_price is None else f"; ${format_usd(pod.hourly_price)} while it runs"
    if pod.status in STARTING:
        return f"${format_usd(price)} an hour when it runs"
    return f"${format_usd(price)} an hour{'' if pod.status == PodStatus.RUNNING else running}"


def _format_volumes(pod: Pod) -> list[str]:
    volumes = [
        " ".join(
            str(part)
            for part in (
                each.name or each.id,
                each.volume_size and f"{each.volume_size} GB",
                each.mount_path and f"at {each.mount_path}",
            )
            if part
        )
        for each in pod.persistent_volumes
    ]
    if pod.persistent_volume_in_gb and not volumes:
        volumes.append(f"{pod.persistent_volume_in_gb} GB at {pod.persistent_mount_path or '?'}")
    if pod.container_volume_in_gb:
        volumes.append(f"{pod.container_volume_in_gb} GB of the container")
    return volumes
