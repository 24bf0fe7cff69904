"""What an agent is shown: plain JSON, with ids as text, and without any value of an environment variable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from typing_extensions import TypedDict  # cattrs brings it; schemas of the standard library's need Python 3.12

from yotta_async.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    CreateOutcomeUnknownError,
    InvalidRequestError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    PodFailedError,
    PodGoneError,
    RateLimitError,
    ServerError,
    SpendLimitError,
    TransportError,
    YottaError,
)
from yotta_async.models.pod import Pod


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


class PodAnswer(TypedDict):
    """A pod, and what can be done next."""

    pod: PodView
    hint: str


class PodListAnswer(TypedDict):
    """Pods, how many there are in all, and what the running ones shown cost in US dollars an hour."""

    pods: list[PodView]
    count: int
    hourly_price: float | None
    hint: str


class CreatedAnswer(TypedDict):
    """A new pod's id, and what to do next."""

    pod_id: str
    hint: str


class FailureView(TypedDict):
    """A create that failed, by its place among those asked for; with a `client_token` its outcome is unknown."""

    index: int
    error: str
    client_token: str | None


class CreatedManyAnswer(TypedDict):
    """The ids of the new pods, and what became of the others."""

    pod_ids: list[str]
    failed: list[FailureView]
    unknown: list[FailureView]
    hint: str


class WaitAnswer(TypedDict):
    """Whether the status was reached, the pod as it was last seen (None: it was not), and how to go on."""

    reached: bool
    pod: PodView | None
    waited_s: float
    hint: str


class DoneAnswer(TypedDict):
    """What was done to which pod."""

    pod_id: str
    done: str
    hint: str


class ResolvedAnswer(TypedDict):
    """The pod that a create with an unknown outcome made, or None while there is none."""

    pod_id: str | None
    hint: str


class SpendAnswer(TypedDict):
    """What the account's pods cost in US dollars an hour, those included that are starting; and this session's part.

    `unknown_here` are client tokens of creates that may have made a pod: pod_resolve takes them.
    """

    pods: int
    running: int
    hourly_price: float | None
    created_here: list[str]
    unknown_here: list[str]
    limits: dict[str, Any]


def pod_view(pod: Pod) -> PodView:
    """Show a pod."""
    return PodView(
        pod_id=pod.id,
        pod_name=pod.pod_name,
        status=_text(pod.status),
        gpu_type=pod.gpu_type,
        gpu_count=pod.gpu_count,
        region=pod.region,
        image=pod.image,
        hourly_price=_rounded(pod.hourly_price),
        created_at=pod.created_at.isoformat() if isinstance(pod.created_at, datetime) else None,
        ports=[
            PortView(
                port=port.port,
                protocol=port.protocol,
                host=port.host,
                proxy_port=port.proxy_port,
                healthy=port.healthy,
            )
            for port in pod.expose
        ],
        ssh_cmd=pod.ssh_cmd or None,
        environment_vars=[variable.key for variable in pod.environment_vars],
    )


def in_short(answer: Mapping[str, Any]) -> str:
    """Say an answer in a few lines of text."""
    shown = dict(answer)
    pods = shown.pop("pods", None)
    if not isinstance(pods, list):
        shown |= {} if pods is None else {"pods": pods}
        pods = [shown.pop("pod")] if isinstance(shown.get("pod"), dict) else []
    hint = shown.pop("hint", "")
    lines = [_line(pod) for pod in pods]
    lines += [f"{name}: {value}" for name, value in shown.items() if value not in (None, [], {})]
    return "\n".join([*lines, hint]).strip()


def _line(pod: Mapping[str, Any]) -> str:
    parts = [f"{pod['pod_id']} {pod['status'] or 'of unknown status'}", pod["pod_name"]]
    parts += [f"{pod['gpu_count'] or 1} x {pod['gpu_type']}" if pod["gpu_type"] else None, pod["region"]]
    if pod["hourly_price"] is not None:
        runs = "" if pod["status"] == "RUNNING" else " when it runs"
        parts.append(f"{pod['hourly_price']:g} USD an hour{runs}")
    parts += [f"port {port['port']} at {port['host']}:{port['proxy_port']}" for port in pod["ports"] if port["host"]]
    return ", ".join(part for part in [*parts, pod["ssh_cmd"]] if part)


def total_price(pods: Iterable[Pod]) -> float | None:
    """Return what pods cost together in US dollars an hour, or None when the price of any is unknown."""
    prices = [pod.hourly_price for pod in pods]
    return None if None in prices else _rounded(sum(price for price in prices if price is not None))


def _rounded(price: float | None) -> float | None:
    return None if price is None else round(price, 6)


def _text(status: object) -> str | None:
    return None if status is None else str(status)


# What to try, the narrowest kind first.
_ADVICE: list[tuple[type[YottaError], str]] = [
    (NotFoundError, "Call pod_list to see which pods there are."),
    (InvalidStateError, "Call pod_get to see its status: a RUNNING pod pauses, a PAUSED one resumes, and both delete."),
    (AuthenticationError, "The API key is not accepted: tell the user; no argument can mend it."),
    (PermissionDeniedError, "This key may not do that: tell the user; no argument can mend it."),
    (RateLimitError, "Wait a minute before the next call."),
    (InvalidRequestError, "Mend that argument and call again: nothing was sent."),
    (BadRequestError, "Mend that argument and call again."),
    (ServerError, "It may pass: look with pod_list whether a change took effect before you repeat it."),
    (
        SpendLimitError,
        "Nothing was created. Delete a pod or ask for less; or ask the user for a higher limit, or a table of prices.",
    ),
    (PodFailedError, "Delete it with pod_delete, and create another one, with another gpu_type or region perhaps."),
    (PodGoneError, "There is no such pod, or not any more: call pod_list to see which there are."),
    (ConfigurationError, "Tell the user: this is about the setup, and no argument can mend it."),
    (TransportError, "It may pass: look with pod_list whether a change took effect before you repeat it."),
]


class ToolFailedError(YottaError):
    """A tool did not do what it was asked for; the text says what happened and what to try, and holds no secret."""


def failure(error: YottaError) -> ToolFailedError:
    """Return the error for an agent."""
    if isinstance(error, ToolFailedError):
        return error
    if isinstance(error, CreateOutcomeUnknownError):
        return ToolFailedError(
            f"It is not known whether the pod was created, and there may be one that costs money. Do not create it "
            f"again yet: call pod_resolve with client_token={error.client_token!r} until it finds the pod or a few "
            "minutes have passed."
        )
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    text = str(error).strip()
    stop = "" if text.endswith((".", "!", "?")) or not advice else "."
    return ToolFailedError(f"{text}{stop} {advice}".strip())
