"""The address at which the scheduler listens, and the one at which pods reach it."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from distributed.scheduler import Scheduler
from distributed.security import Security

from yotta_async import ConfigurationError

_LOOPBACK_ADDRESS = "127.0.0.1"
_DEFAULT_SCHEDULER_PORT = 8786  # Dask's own

logger = logging.getLogger("yotta_async.dask")


def resolve_security(given: object) -> Security:
    """Return the Security for a caller's argument `security`. Raises ConfigurationError."""
    if given is None:
        return Security()
    if given == "temporary":
        temporary: Security = Security.temporary()
        return temporary
    if isinstance(given, Security):
        return given
    raise ConfigurationError(f'security must be None, "temporary" or a Security, not {type(given).__name__}')


def build_scheduler_spec(
    given: Mapping[str, Any] | None, *, host: str | None, port: int | None, security: Security
) -> dict[str, Any]:
    """Return the scheduler's class and options for SpecCluster: the defaults, overridden by what the caller gave.

    Raises ConfigurationError.
    """
    if given is not None and not (isinstance(given, Mapping) and given.keys() <= {"cls", "options"}):
        raise ConfigurationError('scheduler must be {"cls": …, "options": {…}}, either of them optional')
    if host is not None and (not isinstance(host, str) or not host or "/" in host):
        raise ConfigurationError("scheduler_host must be a host name or an address, such as 203.0.113.7")
    is_remote = host is not None and not is_loopback(host)
    if port is not None and (type(port) is not int or not is_remote <= port < 2**16):
        raise ConfigurationError("scheduler_port must be a port; 0, any free port, works for pods on this machine only")
    given = given or {}
    options: dict[str, Any] = {
        "protocol": "tls" if security.require_encryption else "tcp",
        "security": security,
        "dashboard_address": f"{_LOOPBACK_ADDRESS}:0",
        "host": host or _LOOPBACK_ADDRESS,
        "port": port or 0,
    }
    if is_remote:
        options["host"] = "::" if ":" in str(host) else "0.0.0.0"  # noqa: S104  # pods connect from outside
        options["port"] = port or _DEFAULT_SCHEDULER_PORT
    options |= given.get("options", {})
    if is_remote:
        name = f"[{host}]" if ":" in str(host) else host
        options.setdefault("contact_address", f"{options['protocol'].removesuffix('://')}://{name}:{options['port']}")
        if not security.require_encryption:
            logger.warning("the scheduler at %s runs code for anyone who can reach it: use security='temporary'", name)
    return {"cls": given.get("cls", Scheduler), "options": options}


def check_reachable(base_url: str, spec: Mapping[str, Any], worker_port: int | None) -> None:
    """Raise ConfigurationError if pods of that API cannot reach the scheduler because they are on other machines."""
    api = urlsplit(base_url).hostname or ""
    if is_loopback(api):
        return
    options = spec["options"]
    if spec["cls"] is Scheduler and not options.get("contact_address") and is_loopback(options["host"]):
        raise ConfigurationError(
            f"pods of {api} cannot reach a scheduler that listens on this machine only: give scheduler_host, the name "
            "or address at which this machine is reached from outside (and scheduler_port, if it is not 8786)"
        )
    if worker_port is not None and options.get("protocol") == "tcp":
        logger.warning("workers run code for anyone who can reach their port: use security='temporary'")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
