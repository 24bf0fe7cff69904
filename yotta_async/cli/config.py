"""What `yotta-async config` does: show settings with their sources, and write profiles and keys."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias

import click
import tomlkit
from tomlkit.items import InlineTable
from yarl import URL

from yotta_async import ConfigurationError, SessionPool
from yotta_async.cli.printing import echo_err, format_error, is_terminal, print_table, print_value
from yotta_async.cli.run import ExitCode, ask_to_confirm, end_at_once_on_signals
from yotta_async.cli.settings import Settings, describe_profile_source, describe_source
from yotta_async.profiles import (
    FALLBACK_PROFILE,
    KEYRING_SERVICE,
    SETTINGS,
    ConnectionSettings,
    Profile,
    Secret,
    Setting,
    check_profile_name,
    check_setting,
    mask_password,
    parse_profiles,
    read_profiles,
)

P = ParamSpec("P")
KeyStore: TypeAlias = Literal["keyring", "file"]
Row: TypeAlias = tuple[str | bool | None, ...]

SHOWN_IN_LIST = ("base_url", "api_version")

PLAIN_TEXT_COMMENT = "in plain text: keep this file private (mode 0600)"
# What the keyring package calls recommended. Backends that keep nothing, or keep keys in plain text, have less.
MIN_KEYRING_PRIORITY = 1
MAX_KEY_BYTES = 65_536


class WrongUsageError(click.ClickException):
    """Ends a command with one line, without click's lines about usage."""

    exit_code = ExitCode.WRONG_USAGE


def wrong_usage(command: Callable[P, Awaitable[int]]) -> Callable[P, Coroutine[Any, Any, int]]:
    """Decorate a command that needs no key, so that a ConfigurationError is never a missing key."""

    @wraps(command)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return await command(*args, **kwargs)
        except ConfigurationError as error:
            raise WrongUsageError(format_error(error)) from None

    return wrapped


# Show


@wrong_usage
async def show_config(settings: Settings) -> int:
    """Print each setting with its value and its source."""
    connection = settings.connection
    profile = None if connection.profile is None else connection.profile.name
    # The value is last, where a narrow terminal wraps it instead of cutting it.
    rows: list[Row] = [("profile", describe_profile_source(connection), profile)]
    rows += [_to_row(connection, setting) for setting in connection.in_order()]
    rows.append(("file", None if connection.file.path.exists() else "does not exist", str(connection.file.path)))
    _print_rows(settings, ("setting", "source", "value"), rows)
    if settings.is_for_people and connection.api_key.value is None:
        echo_err("There is no API key. To store one: yotta-async config set-key")
    return ExitCode.DONE


def _to_row(connection: ConnectionSettings, setting: Setting) -> Row:
    """Return a setting's name, its source, and its value as it may be shown."""
    if setting.name == "proxy" and setting.value is None:
        with suppress(ValueError):  # of a base URL that is none
            base_url = connection.base_url.value
            proxy = None if base_url is None else SessionPool().proxy_for(URL(base_url.reveal()))
            if proxy is not None:
                return setting.name, "$HTTPS_PROXY", mask_password(proxy)
    if setting.name == "ca_file" and setting.value is None and os.environ.get("SSL_CERT_FILE"):
        return setting.name, "$SSL_CERT_FILE", os.environ["SSL_CERT_FILE"]
    source = describe_source(connection, setting)
    is_above_profile = setting.source in ("option", "environment")
    if is_above_profile and connection.profile is not None and connection.profile.has(setting.name):
        source += f"; wins over profile {connection.profile.name}"
    return setting.name, source, setting.mask()


@wrong_usage
async def list_profiles(settings: Settings) -> int:
    """Print the profiles of the file."""
    file = read_profiles()
    rows: list[Row] = []
    for profile in file.profiles.values():
        key = "file" if "api_key" in profile.values else "keyring" if profile.is_key_in_keyring else None
        others = (profile.values[name].reveal() if name in profile.values else None for name in SHOWN_IN_LIST)
        rows.append((profile.name, profile.name == file.default_profile, key, *others))
    if rows or not settings.is_for_people:
        _print_rows(settings, ("profile", "default", "key in", *SHOWN_IN_LIST), rows)
    else:
        echo_err(f"There are no profiles in {file.path}. To add one: yotta-async config set-key --profile NAME")
    return ExitCode.DONE


def _print_rows(settings: Settings, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    if settings.is_for_people:
        words = {None: "-", True: "yes", False: ""}
        print_table(columns, [[words[cell] if not isinstance(cell, str) else cell for cell in row] for row in rows])
        return
    objects = [dict(zip((name.replace(" ", "_") for name in columns), row, strict=True)) for row in rows]
    print_value(settings.output, objects)


# Change


@wrong_usage
async def use_profile(name: str) -> int:
    """Make a profile the default one."""
    file = read_profiles()
    file.get(name)
    document = _read_document(file.path)
    document["default_profile"] = name
    _write_document(file.path, document)
    echo_err(f"{name} is the default profile.")
    if os.environ.get("YOTTA_PROFILE", name) != name:
        echo_err("But $YOTTA_PROFILE names another one here, and wins.")
    return ExitCode.DONE


@wrong_usage
async def remove_profile(name: str, *, yes: bool) -> int:
    """Remove a profile, and its key from the keyring."""
    file = read_profiles()
    profile = file.get(name)
    if not yes and not ask_to_confirm(f"Remove the profile {name} and its key?", "Nothing was removed."):
        return ExitCode.WRONG_USAGE
    document = _read_document(file.path)
    del _get_profiles(document)[name]
    if document.get("default_profile") == name:
        del document["default_profile"]
    _write_document(file.path, document)
    _forget_in_keyring(profile)
    echo_err(f"The profile {name} is removed.")
    if file.default_profile == name:
        echo_err("It was the default profile. To set another: yotta-async config use NAME")
    return ExitCode.DONE


@wrong_usage
async def set_key(settings: Settings, *, store: KeyStore | None) -> int:
    """Read a key from a person or from stdin, and store it in a profile, with the settings that were given."""
    if settings.api_key is not None:
        raise click.UsageError("the key is asked for, or read from stdin: --api-key would show it to other users")
    file = read_profiles()
    name = settings.profile or os.environ.get("YOTTA_PROFILE") or file.default_profile or FALLBACK_PROFILE
    check_profile_name(name, "--profile")
    given = _get_settings_to_store(settings)
    key = _read_key(name)
    check_setting("api_key", key, "the key")
    obstacle = "" if store == "file" else _store_in_keyring(name, key)
    if store == "keyring" and obstacle:
        raise ConfigurationError(f"the key was not stored: {obstacle}. --store file stores it in {file.path}")
    is_in_keyring = store != "file" and not obstacle
    document = _read_document(file.path)
    table = _get_profiles(document).setdefault(name, tomlkit.table())
    for stale in ("api_key", "key_store"):
        table.pop(stale, None)
    table.update(given)
    if is_in_keyring:
        table["key_store"] = "keyring"
    else:
        table["api_key"] = key.reveal()
        if not isinstance(table, InlineTable):  # which has no room for a comment
            table["api_key"].comment(PLAIN_TEXT_COMMENT)
    if file.default_profile is None:
        document["default_profile"] = name
    _write_document(file.path, document)
    if is_in_keyring:
        echo_err(f"The key of the profile {name} is in the keyring.")
    else:
        if name in file.profiles:
            _forget_in_keyring(file.profiles[name])
        echo_err(f"The key of the profile {name} is in {file.path}, in plain text. Only you can read it (mode 0600).")
        if obstacle:
            echo_err(f"Not in a keyring: {obstacle}.")
    echo_err(f"To check it: yotta-async doctor --profile {name}")
    return ExitCode.DONE


def _get_settings_to_store(settings: Settings) -> dict[str, str]:
    """Return the settings that were given as options, checked."""
    given = {name: getattr(settings, name) for name in SETTINGS if name != "api_key"}
    if given["ca_file"] is not None:
        given["ca_file"] = str(Path(given["ca_file"]).absolute())
    if given["base_url"] is not None:
        check_setting("base_url", Secret(given["base_url"]), "--base-url")
    SessionPool(proxy=given["proxy"])  # refuses what cannot be a proxy
    return {name: value for name, value in given.items() if value is not None}


def _read_key(profile: str) -> Secret[str]:
    """Return the key that a person types without an echo, or that stdin has."""
    if is_terminal(sys.stdin):
        with end_at_once_on_signals():
            prompt = f"API key for the profile {profile} (not shown)"
            key = Secret(click.prompt(prompt, hide_input=True, err=True, default="", show_default=False).strip())
    else:
        # Bytes that are not UTF-8 become a character that no key has.
        raw = b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_KEY_BYTES)
        key, raw = Secret(raw.decode("utf-8", "replace").strip()), b""
    if not key.reveal():
        raise click.UsageError("no key was given: type it at the prompt, or pipe it: `… | yotta-async config set-key`")
    return key


# The keyring


def _store_in_keyring(profile: str, key: Secret[str]) -> str:
    """Store a key, and return "", or else what is in the way."""
    try:
        import keyring  # an extra
    except ModuleNotFoundError:
        return "the package keyring is not installed (pip install 'yotta-async[keyring]')"
    try:
        if keyring.get_keyring().priority < MIN_KEYRING_PRIORITY:
            return "this machine has no keyring that can be used"
        keyring.set_password(KEYRING_SERVICE, profile, key.reveal())
    except Exception as error:  # noqa: BLE001  # each backend raises errors of its own
        return f"the keyring of this machine fails ({type(error).__name__})"
    return ""


def _forget_in_keyring(profile: Profile) -> None:
    """Remove the key of a profile from the keyring, if it is there."""
    if not profile.is_key_in_keyring:
        return
    try:
        import keyring  # an extra

        keyring.delete_password(KEYRING_SERVICE, profile.name)
    except Exception as error:  # noqa: BLE001  # each backend raises errors of its own
        echo_err(f"The old key is still in the keyring ({type(error).__name__}): remove it there.")


# The file


def _read_document(path: Path) -> tomlkit.TOMLDocument:
    return tomlkit.parse(path.read_text(encoding="utf-8-sig")) if path.exists() else tomlkit.document()


def _get_profiles(document: tomlkit.TOMLDocument) -> Any:
    """Return the table of the profiles' tables, which is added if it is missing."""
    return document.setdefault("profiles", tomlkit.table(is_super_table=True))


def _write_document(path: Path, document: tomlkit.TOMLDocument) -> None:
    """Replace the file by one that only its owner can read, in one step."""
    text = tomlkit.dumps(document)
    parse_profiles(path, text)  # what could not be read again is not written
    target = path.resolve()  # a link, as to a directory of dotfiles, stays
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
