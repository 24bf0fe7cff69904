"""What is said of every command: the key, the host, the form of the output, the time, and how much is told."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import attrs
import click

if TYPE_CHECKING:
    from yotta_async import YottaClient

# Somebody sits and watches: more often than a program needs it.
_POLL = 2.0

F = TypeVar("F", bound=Callable[..., Any])
Output: TypeAlias = Literal["table", "json", "jsonl"]


@attrs.define
class Settings:
    """What was said before the command and after it; after it counts."""

    api_key: str | None = attrs.field(default=None, repr=False)
    base_url: str | None = None
    output: Output = "table"
    timeout: float | None = None
    verbose: int = 0

    @property
    def has_key(self) -> bool:
        """Whether there is a key, here or in the environment."""
        return bool(os.environ.get("YOTTA_API_KEY") if self.api_key is None else self.api_key)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    settings = context.ensure_object(Settings)
    if parameter.name == "timeout" and value is not None and not math.isfinite(value):
        raise click.BadParameter("it must be a finite number of seconds", context, parameter)
    if parameter.name == "verbose":
        settings.verbose += value
    elif value is not None:
        setattr(settings, str(parameter.name), value)


_option = functools.partial(click.option, callback=_keep, expose_value=False)
_OPTIONS = [
    _option("--api-key", help="Better is the environment's YOTTA_API_KEY, which no list of processes shows."),
    _option("--base-url", help="Where the API is. [default: $YOTTA_BASE_URL, or the vendor's]"),
    _option("-o", "--output", type=click.Choice(["table", "json", "jsonl"]), help="For people, or for machines."),
    _option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        help="Seconds: of the wait where a command waits, else of one attempt of a call.",
    ),
    _option("-v", "--verbose", count=True, help="Tell of every request; twice: and where an error came from."),
]


def common(command: F) -> F:
    """Let a command take what is said of every command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def client(settings: Settings, *, waits: bool = False, **options: Any) -> YottaClient:
    """Return a client as it was asked for; where a command waits, --timeout is the wait's."""
    from yotta_async import YottaClient  # keeps --help and --version quick

    if not waits and settings.timeout is not None:
        options["timeout"] = settings.timeout
    options["poll_interval"] = _POLL
    return YottaClient(settings.api_key, base_url=settings.base_url, **options)
