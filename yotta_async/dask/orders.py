"""What a worker's pod is asked for with: the caller's spec, and in variables all that its bootstrap is to know."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from dask import __version__ as dask_version  # type: ignore[attr-defined]  # it is made at the import
from distributed.security import Security

from yotta_async import ConfigurationError, EnvironmentVariable, PodSpec, SpendLimit, YottaClient
from yotta_async.dask.bootstrap import PREFIX

# Of Dask's own image the one with the very versions of Python and Dask that this process has, and a small GPU.
_IMAGE = f"ghcr.io/dask/dask:{dask_version}-py{sys.version_info.major}.{sys.version_info.minor}"
_GPU_TYPE = "NVIDIA_L4_24G"
_RUN = "import base64, os, zlib; exec(zlib.decompress(base64.b64decode(os.environ['YOTTA_DASK_BOOTSTRAP'])))"
_COMMAND = f'exec "$(command -v python || command -v python3)" -c "{_RUN}"'

_ROLES = ("client", "scheduler", "worker")
_OURS = {"pod_name", "initialization_command", "environment_vars", "expose"}
_OURS_OF_THE_WORKER = {"name", "security", "protocol", "host", "port", "contact_address"}


def default_worker() -> PodSpec:
    """Return a small pod with Dask's image."""
    return PodSpec(image=_IMAGE, gpu_type=_GPU_TYPE)


@attrs.define(kw_only=True, repr=False)
class Orders:
    """What all workers of a cluster have in common. `yotta` comes when the cluster starts.

    Raises ConfigurationError for workers that could not be made.
    """

    yotta: YottaClient = attrs.field(init=False)
    spec: PodSpec
    fallbacks: tuple[Mapping[str, Any], ...]
    spend_limit: SpendLimit | None
    options: Mapping[str, Any]
    security: Security
    worker_port: int | None
    start_timeout: float
    doubts: list[str] = attrs.field(factory=list)  # what may be left of workers that are gone

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.spec, PodSpec):
            raise ConfigurationError(f"worker must be a PodSpec, not {type(self.spec).__name__}")
        taken = [variable.key for variable in self.spec.environment_vars if variable.key.startswith(PREFIX)]
        if taken:
            raise ConfigurationError(
                f"the worker's environment variable {taken[0]} is the cluster's: name it otherwise"
            )
        if not isinstance(self.spend_limit, SpendLimit | None):
            raise ConfigurationError(f"spend_limit must be a SpendLimit, not {type(self.spend_limit).__name__}")
        if not all(isinstance(change, Mapping) for change in self.fallbacks):
            raise ConfigurationError('fallbacks must be a list of changes, such as [{"gpu_type": "NVIDIA_L4_24G"}]')
        if changed := _OURS & {field for each in self.fallbacks for field in each}:
            raise ConfigurationError(f"a fallback cannot change {', '.join(sorted(changed))}: the cluster sets it")
        for change in self.fallbacks:
            attrs.evolve(self.spec, **change)  # raises what is wrong with it
        if clash := _OURS_OF_THE_WORKER & self.options.keys():
            raise ConfigurationError(f"worker_options cannot hold {', '.join(sorted(clash))}: the cluster sets it")
        try:
            json.dumps(self.options)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"worker_options go to the pods as JSON, and cannot: {error}") from None
        if self.worker_port is not None and (type(self.worker_port) is not int or not 0 < self.worker_port < 2**16):
            raise ConfigurationError("worker_port must be a port of the pod, such as 8786")
        if type(self.start_timeout) not in (int, float) or not 0 < self.start_timeout <= 1e9:
            raise ConfigurationError("start_timeout must be a number of seconds above 0, at most a billion")
        _material(self.security)

    @property
    def protocol(self) -> str:
        """How workers and scheduler talk to each other."""
        return "tls" if self.security.require_encryption else "tcp"

    def spec_for(self, name: str, scheduler: str, token: str) -> PodSpec:
        """Return the spec of one worker's pod, named as the worker."""
        told = {
            "BOOTSTRAP": _program(),
            "SCHEDULER": scheduler,
            "NAME": name,
            "TOKEN": token,
            "PORT": str(self.worker_port or ""),
            "TLS": _material(self.security),
            "OPTIONS": json.dumps({"death_timeout": self.start_timeout, **self.options}),
        }
        setup = self.spec.initialization_command
        exposed = {port.port for port in self.spec.expose}
        return attrs.evolve(
            self.spec,
            pod_name=name,
            initialization_command=f"{{ {setup}\n}} && {_COMMAND}" if setup else _COMMAND,
            environment_vars=(
                *self.spec.environment_vars,
                *(EnvironmentVariable(f"{PREFIX}{key}", value) for key, value in told.items() if value),
            ),
            expose=(
                *self.spec.expose,
                *([(self.worker_port, "TCP")] if self.worker_port and self.worker_port not in exposed else ()),
            ),
        )


def _program() -> str:
    text = Path(__file__).with_name("bootstrap.py").read_bytes()
    return base64.b64encode(zlib.compress(text, 9)).decode()


def _material(security: Security) -> str:
    """Return what a worker is to have of certificates and keys, as JSON; of files their contents."""
    if not security.require_encryption:
        return ""
    needed = {"tls_ca_file", *(f"tls_{role}_{what}" for role in _ROLES for what in ("cert", "key"))}
    if missing := sorted(name for name in needed if getattr(security, name) is None):
        raise ConfigurationError(f"`security` requires encryption, and lacks {', '.join(missing)}")
    # Tasks may be clients, too.
    names = ("tls_ca_file", "tls_worker_cert", "tls_worker_key", "tls_client_cert", "tls_client_key", "tls_ciphers")
    found = {name: value for name in names if (value := getattr(security, name)) is not None}
    for name, value in found.items():
        if name != "tls_ciphers" and "\n" not in value:
            try:
                found[name] = Path(value).read_text()
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"{name} of `security` cannot be read: {type(error).__name__}") from None
    return json.dumps(found)
