"""The options of every command, and the client that they describe."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import attrs
import click

if TYPE_CHECKING:
    from yotta_async import SessionPool, YottaClient
    from yotta_async.profiles import ConnectionSettings, Setting

# Shorter than the library's: a person watches.
POLL_INTERVAL_S = 2.0

Output: TypeAlias = Literal["table", "wide", "json", "jsonl", "yaml"]
# The common options that the help of each command shows; `yotta-async --help` shows all.
SHOWN_EVERYWHERE = ("output", "timeout")


@attrs.define
class Settings:
    """The values of the common options; one after the command's name replaces one before it."""

    profile: str | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    base_url: str | None = None
    api_version: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)
    ca_file: str | None = None
    output: Output = "table"
    timeout: float | None = None
    verbose: int = 0

    @functools.cached_property
    def connection(self) -> ConnectionSettings:
        """The settings of a client from options, environment and profile, each with its source."""
        from yotta_async.profiles import SETTINGS, resolve_settings  # keeps --help and --version quick

        return resolve_settings(self.profile, {name: getattr(self, name) for name in SETTINGS})

    @property
    def is_for_people(self) -> bool:
        """Whether the output is a table, and no document for programs."""
        return self.output in ("table", "wide")

    @property
    def has_key(self) -> bool:
        """Whether there is a key, from any source; also true where the profile or its file cannot be used."""
        from yotta_async import ConfigurationError  # keeps --help and --version quick

        try:
            return self.connection.has_key
        except ConfigurationError:
            return True


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
        option(
            ["--profile"],
            metavar="NAME",
            shell_complete=complete_profiles,
            help="Settings from the config file. They win over $YOTTA_API_KEY, $YOTTA_BASE_URL and "
            "$YOTTA_API_VERSION; other options win over them. [default: $YOTTA_PROFILE, or the one of `config use`]",
        ),
        option(["--api-key"], help="The API key. Process lists show it; `config set-key` or $YOTTA_API_KEY is safer."),
        option(["--base-url"], help="Where the API is. [default: $YOTTA_BASE_URL, or the vendor's host]"),
        option(
            ["--api-version"],
            type=click.Choice(["v1", "v2"]),
            help="Which version of the API. [default: $YOTTA_API_VERSION, or v1]",
        ),
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


def complete_profiles(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of profiles for the shell's completion; none where the file cannot be used."""
    from yotta_async import ConfigurationError  # keeps --help and --version quick
    from yotta_async.profiles import read_profiles

    try:
        return [name for name in read_profiles().profiles if name.startswith(incomplete)]
    except ConfigurationError:
        return []


def describe_source(connection: ConnectionSettings, setting: Setting) -> str:
    """Return where a setting comes from, such as --api-key or profile work."""
    from yotta_async.profiles import VARIABLES  # keeps --help and --version quick

    if setting.source == "profile" and connection.profile is not None:
        in_keyring = setting.name == "api_key" and connection.profile.is_key_in_keyring
        return f"profile {connection.profile.name}{', in the keyring' if in_keyring else ''}"
    names = {"option": f"--{setting.name.replace('_', '-')}", "environment": f"${VARIABLES.get(setting.name, '')}"}
    return names.get(setting.source, "default")


def describe_profile_source(connection: ConnectionSettings) -> str | None:
    """Return what named the profile in use; None where none is."""
    if connection.profile is None:
        return None
    return {"option": "--profile", "environment": "$YOTTA_PROFILE"}.get(connection.profile_source, "the file's default")


def build_client(settings: Settings, *, waits: bool = False, **options: Any) -> YottaClient:
    """Return a client for the settings; where a command waits, --timeout is for the wait, not for each attempt."""
    from yotta_async import YottaClient  # keeps --help and --version quick

    connection = settings.connection
    if not waits and settings.timeout is not None:
        options["timeout"] = settings.timeout
    options["api_version"] = connection.api_version.argument
    connection.require_key()
    return YottaClient(
        connection.api_key.argument, base_url=connection.base_url.argument, poll_interval=POLL_INTERVAL_S, **options
    )


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
    return settings.connection.build_session_pool(**options)
