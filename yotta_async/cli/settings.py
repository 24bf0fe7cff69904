"""The options of every command, and the client that they describe."""

from __future__ import annotations

import functools
import math
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import attrs
import click

if TYPE_CHECKING:
    from yotta_async import SessionPool, YottaClient

# Shorter than the library's: a person watches.
POLL_INTERVAL_S = 2.0

Output: TypeAlias = Literal["table", "wide", "json", "jsonl", "yaml"]
# The common options that the help of each command shows; `yotta-async --help` shows all.
SHOWN_EVERYWHERE = ("output", "timeout")


@attrs.define
class Settings:
    """The values of the common options; one after the command's name replaces one before it."""

    api_key: str | None = attrs.field(default=None, repr=False)
    base_url: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)
    ca_file: str | None = None
    output: Output = "table"
    timeout: float | None = None
    verbose: int = 0

    @property
    def is_for_people(self) -> bool:
        """Whether the output is a table, and no document for programs."""
        return self.output in ("table", "wide")

    @property
    def has_key(self) -> bool:
        """Whether there is a key, as an option or in the environment."""
        return bool(os.environ.get("YOTTA_API_KEY") if self.api_key is None else self.api_key)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    settings = context.ensure_object(Settings)
    if parameter.name == "timeout" and value is not None and not math.isfinite(value):
        raise click.BadParameter("it must be a finite number of seconds", context, parameter)
    if parameter.name == "verbose":
        settings.verbose += value
    elif value is not None:
        setattr(settings, str(parameter.name), value)


def add_common_options(command: click.Command, *, hidden: bool = False) -> None:
    """Add the options of every command, after the command's own; `hidden`: its help shows only some of them."""
    option = functools.partial(click.Option, callback=_keep, expose_value=False)
    options = [
        option(["--api-key"], help="The API key. Better: $YOTTA_API_KEY, which no list of processes shows."),
        option(["--base-url"], help="Where the API is. [default: $YOTTA_BASE_URL, or the vendor's host]"),
        option(
            ["-o", "--output"],
            type=click.Choice(get_args(Output)),
            help="For people (wide: all columns or fields), or for programs.",
        ),
        option(["--proxy"], metavar="URL", help="A proxy for https. [default: $HTTPS_PROXY, except for $NO_PROXY]"),
        option(
            ["--ca-file"],
            type=click.Path(exists=True, dir_okay=False),
            help="Root certificates to trust, in PEM form. [default: $SSL_CERT_FILE, or the system's]",
        ),
        option(
            ["--timeout"],
            type=click.FloatRange(min=0, min_open=True),
            help="Seconds: for the wait where a command waits, else for each attempt of a call.",
        ),
        option(["-v", "--verbose"], count=True, help="Log every request; twice: tracebacks of errors too."),
    ]
    for each in options:
        each.hidden = hidden and each.name not in SHOWN_EVERYWHERE
    command.params += options


def build_client(settings: Settings, *, waits: bool = False, **options: Any) -> YottaClient:
    """Return a client for the settings; where a command waits, --timeout is for the wait, not for each attempt."""
    from yotta_async import YottaClient  # keeps --help and --version quick

    if not waits and settings.timeout is not None:
        options["timeout"] = settings.timeout
    return YottaClient(settings.api_key, base_url=settings.base_url, poll_interval=POLL_INTERVAL_S, **options)


@asynccontextmanager
async def open_client(settings: Settings, *, waits: bool = False, **options: Any) -> AsyncIterator[YottaClient]:
    """Open a client and its connections for the length of a block."""
    async with (
        build_session_pool(settings) as pool,
        build_client(settings, waits=waits, session_pool=pool, **options) as yotta,
    ):
        yield yotta


def build_session_pool(settings: Settings, **options: Any) -> SessionPool:
    """Return a pool, to be entered, with the proxy and the root certificates of the settings."""
    from yotta_async import SessionPool  # keeps --help and --version quick

    context = None
    if settings.ca_file is not None:
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
        except OSError:  # also ssl.SSLError
            problem = f"{settings.ca_file} has no certificates in PEM form"
            raise click.BadParameter(problem, param_hint="--ca-file") from None
    return SessionPool(proxy=settings.proxy, ssl=context, **options)
