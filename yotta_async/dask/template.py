"""How the pods of workers are created: the caller's spec, and the settings of `bootstrap` in environment variables."""

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

from yotta_async import ConfigurationError, EnvironmentVariable, PodSpec, SpendLimit
from yotta_async.dask.bootstrap import PREFIX

# Dask's own image with the same versions of Python and Dask as this process, and a small GPU.
DEFAULT_WORKER = PodSpec(
    image=f"ghcr.io/dask/dask:{dask_version}-py{sys.version_info.major}.{sys.version_info.minor}",
    gpu_type="NVIDIA_L4_24G",
)
MAX_START_TIMEOUT_S = 1e9

_RUN_BOOTSTRAP = "import base64, os, zlib; exec(zlib.decompress(base64.b64decode(os.environ['YOTTA_DASK_BOOTSTRAP'])))"
_COMMAND = f'exec "$(command -v python || command -v python3)" -c "{_RUN_BOOTSTRAP}"'
_ROLES = ("client", "scheduler", "worker")
# A worker's tasks may be clients of the cluster too.
_TLS_FIELDS = ("tls_ca_file", "tls_worker_cert", "tls_worker_key", "tls_client_cert", "tls_client_key", "tls_ciphers")
# What the cluster sets, and a caller may not.
_RESERVED_FIELDS = {"pod_name", "initialization_command", "environment_vars", "expose"}
_RESERVED_OPTIONS = {"name", "security", "protocol", "host", "port", "contact_address"}


@attrs.frozen(kw_only=True, repr=False)
class WorkerTemplate:
    """What all workers of a cluster have in common. Raises ConfigurationError for what cannot work."""

    spec: PodSpec
    fallbacks: tuple[Mapping[str, Any], ...]
    spend_limit: SpendLimit | None
    options: Mapping[str, Any]
    security: Security
    worker_port: int | None
    start_timeout: float

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.spec, PodSpec):
            raise ConfigurationError(f"worker must be a PodSpec, not {type(self.spec).__name__}")
        if taken := [each.key for each in self.spec.environment_vars if each.key.startswith(PREFIX)]:
            raise ConfigurationError(f"the worker's environment variable {taken[0]} is reserved: give it another name")
        if not isinstance(self.spend_limit, SpendLimit | None):
            raise ConfigurationError(f"spend_limit must be a SpendLimit, not {type(self.spend_limit).__name__}")
        if not all(isinstance(change, Mapping) for change in self.fallbacks):
            raise ConfigurationError('fallbacks must be a list of changes, such as [{"gpu_type": "NVIDIA_L4_24G"}]')
        if reserved := _RESERVED_FIELDS & {field for change in self.fallbacks for field in change}:
            raise ConfigurationError(f"a fallback cannot change {', '.join(sorted(reserved))}: the cluster sets it")
        for change in self.fallbacks:
            attrs.evolve(self.spec, **change)  # raises InvalidRequestError
        if reserved := _RESERVED_OPTIONS & self.options.keys():
            raise ConfigurationError(f"worker_options cannot have {', '.join(sorted(reserved))}: the cluster sets it")
        try:
            json.dumps(self.options)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"worker_options must be JSON, to be sent to the pods: {error}") from None
        if self.worker_port is not None and (type(self.worker_port) is not int or not 0 < self.worker_port < 2**16):
            raise ConfigurationError("worker_port must be a port of the pod, such as 8786")
        if type(self.start_timeout) not in (int, float) or not 0 < self.start_timeout <= MAX_START_TIMEOUT_S:
            raise ConfigurationError("start_timeout must be a number of seconds above 0, at most a billion")
        _load_tls(self.security)

    @property
    def protocol(self) -> str:
        """The protocol between workers, scheduler and clients."""
        return "tls" if self.security.require_encryption else "tcp"

    def build_spec(self, name: str, scheduler: str, token: str) -> PodSpec:
        """Return the spec of one worker's pod, which has the worker's name."""
        program = Path(__file__).with_name("bootstrap.py").read_bytes()
        settings = {
            "BOOTSTRAP": base64.b64encode(zlib.compress(program, 9)).decode(),
            "SCHEDULER": scheduler,
            "NAME": name,
            "TOKEN": token,
            "PORT": str(self.worker_port or ""),
            "TLS": _load_tls(self.security),
            "OPTIONS": json.dumps({"death_timeout": self.start_timeout, **self.options}),
        }
        setup = self.spec.initialization_command
        exposed = {port.port for port in self.spec.expose}
        extra = [self.worker_port] if self.worker_port is not None and self.worker_port not in exposed else []
        return attrs.evolve(
            self.spec,
            pod_name=name,
            initialization_command=f"{{ {setup}\n}} && {_COMMAND}" if setup else _COMMAND,
            environment_vars=(
                *self.spec.environment_vars,
                *(EnvironmentVariable(f"{PREFIX}{key}", value) for key, value in settings.items() if value),
            ),
            expose=(*self.spec.expose, *((port, "TCP") for port in extra)),
        )


def _load_tls(security: Security) -> str:
    """Return the certificates and keys of a worker as JSON, with the contents of files; "" without encryption."""
    if not security.require_encryption:
        return ""
    required = {"tls_ca_file", *(f"tls_{role}_{what}" for role in _ROLES for what in ("cert", "key"))}
    if missing := sorted(name for name in required if getattr(security, name) is None):
        raise ConfigurationError(f"`security` requires encryption, but it has no {', '.join(missing)}")
    loaded = {name: value for name in _TLS_FIELDS if (value := getattr(security, name)) is not None}
    for name, value in loaded.items():
        if name != "tls_ciphers" and "\n" not in value:
            try:
                loaded[name] = Path(value).read_text()
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"{name} of `security` cannot be read: {type(error).__name__}") from None
    return json.dumps(loaded)
