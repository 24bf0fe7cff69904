"""What a shell completes: statuses, policies, GPU types, regions, and the ids of pods with their names.

Pods come from a file in the user's cache directory, which every `pods list` writes. It has ids, names and statuses, and
no secret. When it is old, completion starts a `pods list`, and waits for it for less than a second.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from click.shell_completion import CompletionItem

from yotta_async.cli.settings import Settings

if TYPE_CHECKING:
    from yotta_async import Pod

POLICIES = ("best_effort", "all_or_nothing")
MAX_CACHE_AGE_S = 30.0
# A shell that completes does nothing else.
MAX_WAIT_S = 0.6
REFRESH_TIMEOUT_S = 10
MAX_CACHED_PODS = 1000


def complete_statuses(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a status."""
    from yotta_async import PodStatus  # keeps --help quick

    return _select(incomplete.upper(), [(name, "") for name in PodStatus.__members__])


def complete_policies(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a policy of `pods create`."""
    return _select(incomplete, [(policy, "") for policy in POLICIES])


def complete_gpu_types(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a GPU type, in the words of the API's version."""
    settings = context.find_object(Settings) or Settings()
    version = settings.api_version or os.environ.get("YOTTA_API_VERSION") or "v1"
    found = [(gpu.get(version) or gpu["v1"], gpu) for gpu in _read_catalogue()["gpu_types"]]
    return _select(incomplete, [(name, f"{gpu['display_name']}, {gpu['vram']} GB") for name, gpu in found])


def complete_regions(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a region."""
    return _select(incomplete, [(name, "") for name in _read_catalogue()["regions"]])


def complete_pods(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the id of a pod; shells that show help show its name and status."""
    settings = context.find_object(Settings) or Settings()
    if _get_age_s(_find_cache()) > MAX_CACHE_AGE_S or _read_cache(settings) is None:
        _refresh(settings)
    typed = context.params.get("pod_ids") or ()
    pods = [(pod["id"], f"{pod['name']} {pod['status']}") for pod in _read_cache(settings) or ()]
    return _select(incomplete, [pod for pod in pods if pod[0] not in typed])


def remember_pods(settings: Settings, pods: Sequence[Pod]) -> None:
    """Keep ids, names and statuses for completion; a cache that cannot be written is no error."""
    known = [
        {"id": pod.id, "name": pod.pod_name or "", "status": str(pod.status or "")}
        for pod in pods
        if not pod.is_being_deleted
    ]
    path = _find_cache()
    temporary = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.touch(0o600, exist_ok=False)
        temporary.write_text(
            json.dumps({"account": _identify_account(settings), "pods": known[:MAX_CACHED_PODS]}), encoding="utf-8"
        )
        temporary.replace(path)


def _select(incomplete: str, items: Sequence[tuple[str, str]]) -> list[CompletionItem]:
    return [CompletionItem(value, help=help_text) for value, help_text in items if value.startswith(incomplete)]


def _read_catalogue() -> dict[str, Any]:
    """Return the GPU types and regions that are known without a request."""
    catalogue: dict[str, Any] = json.loads(files("yotta_async").joinpath("gpus.json").read_text(encoding="utf-8"))
    return catalogue


def _find_cache() -> Path:
    from platformdirs import user_cache_path  # keeps --help quick

    return user_cache_path("yotta-async", appauthor=False) / "pods.json"


def _read_cache(settings: Settings) -> list[dict[str, str]] | None:
    """Return the pods of the account as they were last listed; None: they were not, or another account was."""
    try:
        cache = json.loads(_find_cache().read_text(encoding="utf-8"))
        pods: list[dict[str, str]] = cache["pods"]
        return pods if cache["account"] == _identify_account(settings) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _identify_account(settings: Settings) -> str:
    """Return 8 digits of a hash, which tell accounts apart and give no key away."""
    account = [
        settings.api_key or os.environ.get("YOTTA_API_KEY"),
        settings.base_url or os.environ.get("YOTTA_BASE_URL"),
        settings.profile or os.environ.get("YOTTA_PROFILE"),
    ]
    return hashlib.sha256(json.dumps(account).encode()).hexdigest()[:8]


def _get_age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf


def _refresh(settings: Settings) -> None:
    """List the pods in a process of its own, which goes on alone if it takes longer than a person waits."""
    import subprocess  # keeps --help quick

    environment = {name: value for name, value in os.environ.items() if not name.startswith("_YOTTA_ASYNC")}
    options = []
    for field in attrs.fields(Settings):
        value = getattr(settings, field.name)
        if field.name == "api_key" and value is not None:
            environment["YOTTA_API_KEY"] = value  # no list of processes shows it
        elif isinstance(value, str) and field.name != "output":
            options += [f"--{field.name.replace('_', '-')}", value]
    program = "from yotta_async.cli import main; main()"
    command = [sys.executable, "-c", program, "pods", "list", "-o", "jsonl", f"--timeout={REFRESH_TIMEOUT_S}", *options]
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.Popen(  # noqa: S603  # this program, with the options that were typed
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ).wait(MAX_WAIT_S)
