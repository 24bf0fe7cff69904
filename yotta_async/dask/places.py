"""Where the scheduler listens, and at which address pods reach it."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from distributed.scheduler import Scheduler
from distributed.security import Security

from yotta_async import ConfigurationError

_HERE = "127.0.0.1"
_PORT = 8786  # Dask's own, where others are to find the scheduler

logger = logging.getLogger("yotta_async.dask")


def security_of(given: object) -> Security:
    """Return what a caller means by `security`."""
    if given is None:
        return Security()
    if given == "temporary":
        made: Security = Security.temporary()
        return made
    if isinstance(given, Security):
        return given
    raise ConfigurationError(f'security must be None, "temporary" or a Security, not {type(given).__name__}')


def scheduler_spec(
    given: Mapping[str, Any] | None, *, host: str | None, port: int | None, security: Security
) -> dict[str, Any]:
    """Return what SpecCluster makes the scheduler of: ours, with what the caller gave on top."""
    if given is not None and not (isinstance(given, Mapping) and given.keys() <= {"cls", "options"}):
        raise ConfigurationError('scheduler must be {"cls": …, "options": {…}}, either of them optional')
    if host is not None and (not isinstance(host, str) or not host or "/" in host):
        raise ConfigurationError("scheduler_host must be a host name or an address, such as 203.0.113.7")
    is_outside = host is not None and not is_here(host)
    if port is not None and (type(port) is not int or not is_outside <= port < 2**16):
        raise ConfigurationError("scheduler_port must be a port; 0, any that is free, is for pods on this machine")
    given = given or {}
    options: dict[str, Any] = {
        "protocol": "tls" if security.require_encryption else "tcp",
        "security": security,
        "dashboard_address": f"{_HERE}:0",
        "host": host or _HERE,
        "port": port or 0,
    }
    if is_outside:
        options["host"] = "::" if ":" in str(host) else "0.0.0.0"  # noqa: S104  # pods come from outside
        options["port"] = port or _PORT
    options |= given.get("options", {})
    if is_outside:
        name = f"[{host}]" if ":" in str(host) else host
        options.setdefault("contact_address", f"{options['protocol'].removesuffix('://')}://{name}:{options['port']}")
        if not security.require_encryption:
            logger.warning(
                "the scheduler at %s takes work from everybody who reaches it: use security='temporary'", name
            )
    return {"cls": given.get("cls", Scheduler), "options": options}


def check_reachable(base_url: str, spec: Mapping[str, Any], worker_port: int | None) -> None:
    """Raise ConfigurationError when pods of that API cannot reach the scheduler: they are not on this machine."""
    api = urlsplit(base_url).hostname or ""
    options = spec["options"]
    if (
        spec["cls"] is Scheduler
        and not options.get("contact_address")
        and is_here(options["host"])
        and not is_here(api)
    ):
        raise ConfigurationError(
            f"pods of {api} cannot reach a scheduler that listens on this machine only: give scheduler_host, the name "
            "or address (and scheduler_port, if not 8786) at which this machine is reached from outside"
        )
    if worker_port is not None and options.get("protocol") == "tcp" and not is_here(api):
        logger.warning("workers take work from everybody who reaches their port: use security='temporary'")


def is_here(host: str) -> bool:
    """Whether a host is this machine to itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
