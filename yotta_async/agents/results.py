"""What the tools return: plain JSON, with ids as text and without any value of an environment variable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from typing_extensions import TypedDict  # pydantic makes no schema of the standard library's before Python 3.12

from yotta_async import GpuOffer, Pod, PodStatus, total_hourly_price


class PortView(TypedDict):
    """A port of a pod: connect to `host`:`proxy_port` to reach `port` in it."""

    port: int | None
    protocol: str | None
    host: str | None
    proxy_port: int | None
    healthy: bool | None


class PodView(TypedDict):
    """A pod. `hourly_price` is in US dollars while it is RUNNING; `environment_vars` are names, without values."""

    pod_id: str
    pod_name: str | None
    status: str | None
    gpu_type: str | None
    gpu_count: int | None
    region: str | None
    image: str | None
    hourly_price: float | None
    created_at: str | None
    ports: list[PortView]
    ssh_cmd: str | None
    environment_vars: list[str]


class PodResult(TypedDict):
    """A pod, and what can be done next."""

    pod: PodView
    hint: str


class PodListResult(TypedDict):
    """Pods, the number of all pods, and what those that are RUNNING cost together in US dollars an hour.

    `hourly_price` is null if the price of one is unknown, or if the list has items in which no pod id can be read. A
    pod whose status cannot be read counts as RUNNING.
    """

    pods: list[PodView]
    count: int
    hourly_price: float | None
    hint: str


class GpuView(TypedDict):
    """A GPU type, and the regions that have it. `hourly_price` is that of one GPU in US dollars.

    `hourly_price` is null if no pod of the account has the type. `other_regions` have none free, or do not say.
    """

    gpu_type: str
    display_name: str
    vram_in_gb: int | None
    hourly_price: float | None
    available_in: list[str]
    other_regions: list[str]


class GpuListResult(TypedDict):
    """GPU types, and what to do next."""

    gpus: list[GpuView]
    hint: str


class CreatedResult(TypedDict):
    """The id of a new pod, and what to do next."""

    pod_id: str
    hint: str


class FailureView(TypedDict):
    """A create that failed, by its position among those asked for; with a `client_token` its outcome is unknown."""

    index: int
    error: str
    client_token: str | None


class CreatedManyResult(TypedDict):
    """The ids of the new pods, the creates that failed, and those whose outcome is unknown."""

    pod_ids: list[str]
    failed: list[FailureView]
    unknown: list[FailureView]
    hint: str


class WaitResult(TypedDict):
    """Whether the pod reached the status, the pod as last seen (null: it was never seen), and what to do next."""

    reached: bool
    pod: PodView | None
    waited_s: float
    hint: str


class DoneResult(TypedDict):
    """What was done to which pod."""

    pod_id: str
    done: str
    hint: str


class ResolvedResult(TypedDict):
    """The pod that a create with an unknown outcome made, or null while there is none."""

    pod_id: str | None
    hint: str


class SpendResult(TypedDict):
    """What the account's pods cost in US dollars an hour once they run, and what this session created.

    `hourly_price` is null if the price of one is unknown, or if the list has items in which no pod id can be read.
    `unknown_here` are the tokens of creates that may have made a pod: pod_resolve takes them.
    """

    pods: int
    running: int
    hourly_price: float | None
    created_here: list[str]
    unknown_here: list[str]
    limits: dict[str, float | bool | None]


def is_deleted(pod: Pod) -> bool:
    """Whether the pod is TERMINATING or TERMINATED. A pod whose status cannot be read is not."""
    return pod.status is not None and pod.status.is_being_deleted


def may_be_running(pod: Pod) -> bool:
    """Whether the pod may be billed now: it is RUNNING, or its status is unknown."""
    return pod.status == PodStatus.RUNNING or pod.status not in PodStatus.__members__


def total_price(pods: Iterable[Pod]) -> float | None:
    """Return what pods cost together in US dollars an hour, rounded, or None if the price of one is unknown."""
    return _round_price(total_hourly_price(pods))


def build_pod_view(pod: Pod) -> PodView:
    """Return what an agent may see of a pod."""
    return PodView(
        pod_id=pod.id,
        pod_name=pod.pod_name,
        status=None if pod.status is None else str(pod.status),
        gpu_type=pod.gpu_type,
        gpu_count=pod.gpu_count,
        region=pod.region,
        image=pod.image,
        hourly_price=_round_price(pod.hourly_price),
        created_at=pod.created_at.isoformat() if pod.created_at is not None else None,
        ports=[
            PortView(
                port=each.port, protocol=each.protocol, host=each.host, proxy_port=each.proxy_port, healthy=each.healthy
            )
            for each in pod.expose
        ],
        ssh_cmd=pod.ssh_cmd or None,
        environment_vars=[variable.key for variable in pod.environment_vars],
    )


def build_gpu_view(offer: GpuOffer) -> GpuView:
    """Return what an agent sees of a GPU type."""
    available = offer.available_regions
    return GpuView(
        gpu_type=offer.gpu_type,
        display_name=offer.display_name,
        vram_in_gb=offer.vram_in_gb,
        hourly_price=_round_price(offer.hourly_price),
        available_in=list(available),
        other_regions=[region.name for region in offer.regions if region.name not in available],
    )


def summarize(result: Mapping[str, Any]) -> str:
    """Return a result as a few lines of text."""
    fields = dict(result)
    pods = fields.pop("pods", None)
    if not isinstance(pods, list):
        fields |= {} if pods is None else {"pods": pods}
        pods = [fields.pop("pod")] if isinstance(fields.get("pod"), dict) else []
    hint = fields.pop("hint", "")
    lines = [_summarize_pod(pod) for pod in pods] + [_summarize_gpu(gpu) for gpu in fields.pop("gpus", ())]
    lines += [f"{name}: {value}" for name, value in fields.items() if value not in (None, [], {})]
    return "\n".join([*lines, hint]).strip()


def _summarize_pod(pod: Mapping[str, Any]) -> str:
    parts = [f"{pod['pod_id']} {pod['status'] or 'of unknown status'}", pod["pod_name"]]
    gpus = f"{pod['gpu_count']} x {pod['gpu_type']}" if pod["gpu_type"] and pod["gpu_count"] else pod["gpu_type"]
    parts += [gpus, pod["region"]]
    if pod["hourly_price"] is not None:
        condition = "" if pod["status"] == "RUNNING" else " while it runs"
        parts.append(f"{pod['hourly_price']:g} USD an hour{condition}")
    parts += [f"port {port['port']} at {port['host']}:{port['proxy_port']}" for port in pod["ports"] if port["host"]]
    return ", ".join(part for part in [*parts, pod["ssh_cmd"]] if part)


def _summarize_gpu(gpu: Mapping[str, Any]) -> str:
    parts = [gpu["gpu_type"]]
    parts += [f"{gpu['vram_in_gb']} GB"] if gpu["vram_in_gb"] is not None else []
    parts += [f"{gpu['hourly_price']:g} USD an hour"] if gpu["hourly_price"] is not None else []
    return f"{', '.join(parts)}: available in {', '.join(gpu['available_in']) or 'no region'}"


def _round_price(price: float | None) -> float | None:
    return None if price is None else round(price, 6)
