"""Profiles: named sets of connection settings in the user's config file, and which source of a setting wins.

    default_profile = "work"

    [profiles.work]
    api_key = "…"                  # or key_store = "keyring"
    base_url = "https://api.yottalabs.ai"
    api_version = "v1"
    proxy = "http://proxy.example:3128"
    ca_file = "company-ca.pem"     # beside this file

The file is `config.toml` in the platform's directory for settings of yotta-async: `$XDG_CONFIG_HOME/yotta-async` on
Linux. Only `YottaClient.from_profile` and the command line read it. The command line writes it.

A setting comes from the first of these sources that has it:

1. an argument or an option;
2. the profile, if it was named by an argument or by --profile. The YOTTA_ variables do not count then;
3. $YOTTA_API_KEY, $YOTTA_BASE_URL, $YOTTA_API_VERSION;
4. the profile that $YOTTA_PROFILE names, or else the default profile;
5. the default, which for the proxy and the certificates is that of every program: $HTTPS_PROXY, $SSL_CERT_FILE.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs
from yarl import URL

from yotta_async.api.versions import DEFAULT_VERSION, VERSIONS
from yotta_async.errors import ConfigurationError
from yotta_async.support.secrets import Secret as Secret  # of public signatures here
from yotta_async.support.secrets import strip_traceback_frames
from yotta_async.transport.settings import VENDOR_URL, is_loopback, read_base_url, read_key

if TYPE_CHECKING:
    from yotta_async.transport.session_pool import SessionPool

Source: TypeAlias = Literal["option", "profile", "environment", "default"]

SETTINGS = ("api_key", "base_url", "api_version", "proxy", "ca_file")
VARIABLES = {"api_key": "YOTTA_API_KEY", "base_url": "YOTTA_BASE_URL", "api_version": "YOTTA_API_VERSION"}
DEFAULTS = {"base_url": VENDOR_URL, "api_version": DEFAULT_VERSION.name}
FALLBACK_PROFILE = "default"
"""The default profile of a file that does not name one."""
KEYRING_SERVICE = "yotta-async"
"""The name under which a keyring has the keys; the user name of each is that of its profile."""
MASK = "***"

_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# A key of fewer characters is masked as a whole: its end would tell too much of it.
_MIN_CHARS_TO_SHOW_END = 16
_SHOWN_END_CHARS = 4


@attrs.frozen
class Profile:
    """One profile of the file."""

    name: str
    values: Mapping[str, Secret[str]]
    """The settings that it has, by name."""
    is_key_in_keyring: bool = False

    def has(self, setting: str) -> bool:
        """Whether it has a setting, in the file or in the keyring."""
        return setting in self.values or (setting == "api_key" and self.is_key_in_keyring)

    @property
    def has_plain_secret(self) -> bool:
        """Whether the file has a secret of it: its key, or a proxy with a password."""
        return "api_key" in self.values or ("proxy" in self.values and "@" in self.values["proxy"].reveal())


@attrs.frozen
class ProfileFile:
    """The file with the profiles, which may be missing."""

    path: Path
    profiles: Mapping[str, Profile]
    default_profile: str | None
    """The name of the profile that is used where none is named."""

    def get(self, name: str, source: str = "") -> Profile:
        """Return a profile, or raise ConfigurationError that says which there are."""
        if name not in self.profiles:
            known = f"it has {', '.join(self.profiles)}" if self.profiles else "it has none"
            text = f"there is no profile {name!r}{source} in {self.path}: {known}"
            raise ConfigurationError(f"{text}. `yotta-async config set-key --profile NAME` adds one")
        return self.profiles[name]


@attrs.frozen
class Setting:
    """The value of one setting, and its source."""

    name: str
    value: Secret[str] | None
    source: Source

    @property
    def argument(self) -> str | None:
        """The value for YottaClient or SessionPool; None where their own default, or the environment, is the same."""
        is_variable_set = bool(os.environ.get(VARIABLES.get(self.name, "")))
        if self.value is None or self.source == "environment" or (self.source == "default" and not is_variable_set):
            return None
        return self.value.reveal()

    def mask(self) -> str | None:
        """Return the value to be shown: of a key only its end, of a URL no password."""
        if self.value is None:
            return None
        if self.name == "api_key":
            is_long = len(self.value.reveal()) >= _MIN_CHARS_TO_SHOW_END
            return MASK + (self.value.reveal()[-_SHOWN_END_CHARS:] if is_long else "")
        return mask_password(self.value) if self.name in ("base_url", "proxy") else self.value.reveal()


@attrs.frozen
class ConnectionSettings:
    """What a client needs, each setting with its source."""

    file: ProfileFile
    profile: Profile | None
    profile_source: Source
    """What named the profile: "default" is the file's own default."""
    api_key: Setting
    base_url: Setting
    api_version: Setting
    proxy: Setting
    ca_file: Setting

    def in_order(self) -> list[Setting]:
        """Return the settings in the order of SETTINGS."""
        return [getattr(self, name) for name in SETTINGS]

    @property
    def has_key(self) -> bool:
        """Whether there is a key; an empty one is none."""
        return self.api_key.value is not None and self.api_key.value.reveal() != ""

    def require_key(self) -> None:
        """Raise ConfigurationError that says how to set a key, if there is none."""
        if self.api_key.value is not None:
            return
        path, also = self.file.path, "" if self.profile_source == "option" else ", or set $YOTTA_API_KEY"
        if self.profile is not None:
            text = f"the profile {self.profile.name} in {path} has no API key: store one with "
            text += f"`yotta-async config set-key --profile {self.profile.name}`{also}"
        elif self.file.profiles:
            text = (
                f"there is no API key, and {path} has no default profile but {', '.join(self.file.profiles)}: choose "
            )
            text += f"with `yotta-async config use NAME` or $YOTTA_PROFILE{also}"
        else:
            text = f"there is no API key, and no profile in {path}: store one with `yotta-async config set-key`{also}; "
            text += "to work without an account, run `yotta-async emulator`"
        raise ConfigurationError(text)

    def build_session_pool(self, **options: Any) -> SessionPool:
        """Return a pool with the proxy and the certificates; options are those of SessionPool."""
        from yotta_async.transport.session_pool import SessionPool  # keeps completion quick, which only lists profiles

        context = self._build_ssl_context()
        try:
            return SessionPool(proxy=self.proxy.argument, ssl=context, **options)
        except ConfigurationError as error:
            if self.proxy.source != "profile":
                raise
            raise ConfigurationError(str(error).replace("SessionPool.proxy", self._locate(self.proxy))) from None

    def _build_ssl_context(self) -> ssl.SSLContext | None:
        """Return a context that trusts the certificates of ca_file alone; None where that is not set."""
        if self.ca_file.value is None:
            return None
        path = Path(self.ca_file.value.reveal()).expanduser()
        if self.ca_file.source == "profile":
            path = self.file.path.parent / path
        try:
            return ssl.create_default_context(cafile=path)
        except OSError as error:  # also ssl.SSLError
            reason = "is missing" if isinstance(error, FileNotFoundError) else "has no certificates in PEM form"
        where = f" ({self._locate(self.ca_file)})" if self.ca_file.source == "profile" else ""
        raise ConfigurationError(f"{path} {reason}{where}")

    def _locate(self, setting: Setting) -> str:
        return "" if self.profile is None else _locate(self.file.path, self.profile.name, setting.name)


@strip_traceback_frames
def resolve_settings(profile: str | None, options: Mapping[str, Any]) -> ConnectionSettings:
    """Return each setting from the first source that has it.

    Args:
        profile: The profile that the user named, or None for that of $YOTTA_PROFILE or the file's default.
        options: The settings that the user gave, by name; None is not given.

    Raises:
        ConfigurationError: The file cannot be used, there is no such profile, or the keyring does not give its key.

    """
    file = read_profiles()
    chosen, profile_source = _choose_profile(file, profile)
    variables = {} if profile_source == "option" else VARIABLES
    found: dict[str, Setting] = {}
    for name in SETTINGS:
        value: Secret[Any] | None
        source: Source
        if options.get(name) is not None:
            value, source = Secret(options[name]), "option"
        elif name in variables and os.environ.get(variables[name]):
            value, source = Secret(os.environ[variables[name]]), "environment"
        elif chosen is not None and name in chosen.values and not (name == "proxy" and _is_loopback(found["base_url"])):
            value, source = chosen.values[name], "profile"
        elif chosen is not None and name == "api_key" and chosen.is_key_in_keyring:
            value, source = _read_keyring(chosen.name), "profile"
        else:
            value, source = Secret(DEFAULTS[name]) if name in DEFAULTS else None, "default"
        found[name] = Setting(name, value, source)
    return ConnectionSettings(file=file, profile=chosen, profile_source=profile_source, **found)


def _is_loopback(base_url: Setting) -> bool:
    """Whether the API is this machine, which no proxy reaches: an emulator, whatever the default profile is."""
    try:
        return base_url.value is not None and is_loopback(URL(base_url.value.reveal()).host or "")
    except Exception:  # noqa: BLE001  # yarl raises IndexError too; the client refuses such a URL
        return False


def _choose_profile(file: ProfileFile, name: str | None) -> tuple[Profile | None, Source]:
    if name is not None:
        if not isinstance(name, str):
            raise ConfigurationError(f"the name of a profile must be text, not {type(name).__name__}")
        return file.get(name), "option"
    variable = os.environ.get("YOTTA_PROFILE")
    if variable:
        return file.get(variable, " (from $YOTTA_PROFILE)"), "environment"
    return None if file.default_profile is None else file.profiles[file.default_profile], "default"


# The file


def get_config_path() -> Path:
    """Return where the file is, or would be."""
    try:
        import platformdirs  # an extra: few programs read profiles
    except ModuleNotFoundError:
        message = "profiles need the package platformdirs: pip install 'yotta-async[profiles]'"
        raise ConfigurationError(message) from None
    return platformdirs.user_config_path("yotta-async", appauthor=False) / "config.toml"


@strip_traceback_frames
def read_profiles() -> ProfileFile:
    """Return the profiles of the file; none if there is no file.

    Raises:
        ConfigurationError: The file cannot be read, is not TOML, has an unknown key or a wrong value, or holds a secret
            that other users of the machine can read. The text quotes no value.

    """
    path = get_config_path()
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ProfileFile(path, {}, None)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not text in UTF-8: save it in that encoding") from None
    file_profiles = parse_profiles(path, text)
    _refuse_other_readers(path, status, file_profiles)
    return file_profiles


@strip_traceback_frames
def parse_profiles(path: Path, text: str) -> ProfileFile:
    """Return the profiles of a file's text, or raise ConfigurationError that quotes no value."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    _refuse_unknown_keys(document, ("default_profile", "profiles"), str(path))
    tables = document.get("profiles", {})
    _refuse_wrong_type(tables, dict, f"profiles in {path}")
    profiles = {name: _parse_profile(path, name, table) for name, table in tables.items()}
    default = document.get("default_profile")
    if default is None:
        default = FALLBACK_PROFILE if FALLBACK_PROFILE in profiles else None
    else:
        _refuse_wrong_type(default, str, f"default_profile in {path}")
        if default not in profiles:
            text = f"default_profile in {path} names {default!r}, which is not among its profiles"
            raise ConfigurationError(f"{text}: correct the line, or delete it")
    return ProfileFile(path, profiles, default)


def check_profile_name(name: str, place: str) -> None:
    """Raise ConfigurationError when no profile can have this name."""
    if not _PROFILE_NAME.fullmatch(name):
        form = "1 to 64 letters, digits, - and _, the first a letter or a digit"
        raise ConfigurationError(f"{name!r} cannot be the name of a profile ({place}): a name has {form}")


def check_setting(name: str, value: Secret[str], place: str) -> None:
    """Raise ConfigurationError, which names the place of the value, when a client could not use it."""
    checks: dict[str, Callable[[Secret[str]], object]] = {"api_key": read_key, "base_url": read_base_url}
    if name in checks:
        try:
            checks[name](value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{place} {str(error).removeprefix(name).strip()}") from None
    elif name == "api_version" and value.reveal() not in VERSIONS:
        raise ConfigurationError(f"{place} must be {' or '.join(VERSIONS)}")


def _parse_profile(path: Path, name: str, table: Any) -> Profile:
    check_profile_name(name, str(path))
    place = f"profiles.{name} in {path}"
    _refuse_wrong_type(table, dict, place)
    _refuse_unknown_keys(table, (*SETTINGS, "key_store"), place)
    for key, value in table.items():
        _refuse_wrong_type(value, str, _locate(path, name, key))
        if not value:
            raise ConfigurationError(f"{_locate(path, name, key)} is empty: give a value, or delete the line")
    if table.get("key_store", "keyring") != "keyring":
        raise ConfigurationError(f'{_locate(path, name, "key_store")} must be "keyring"; else delete the line')
    if "key_store" in table and "api_key" in table:
        raise ConfigurationError(f"{place} has both 'api_key' and 'key_store': delete one of them")
    values = {key: Secret(value) for key, value in table.items() if key in SETTINGS}
    for key, value in values.items():
        check_setting(key, value, _locate(path, name, key))
    return Profile(name, values, is_key_in_keyring="key_store" in table)


def _locate(path: Path, profile: str, key: str) -> str:
    return f"profiles.{profile}.{key} in {path}"


def _refuse_unknown_keys(table: Mapping[str, object], known: tuple[str, ...], place: str) -> None:
    unknown = sorted(table.keys() - set(known))
    if unknown:
        raise ConfigurationError(f"{place} has the unknown key {unknown[0]!r}: known are {', '.join(map(repr, known))}")


def _refuse_wrong_type(value: object, kind: type[str | dict[str, Any]], place: str) -> None:
    if not isinstance(value, kind):
        wanted = "text in quotes" if kind is str else "a table, such as [profiles.work]"
        raise ConfigurationError(f"{place} must be {wanted}, not {type(value).__name__}")


def _refuse_other_readers(path: Path, status: os.stat_result, profiles: ProfileFile) -> None:
    """Raise ConfigurationError when other users can read a secret of the file, or send a key elsewhere.

    ssh has the same rules for its keys and its configuration.
    """
    if os.name != "posix":
        return
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(f"{path} belongs to another user (uid {status.st_uid}): make it yours with chown")
    has_secret = any(profile.has_plain_secret for profile in profiles.profiles.values())
    if has_secret and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"other users can read the secrets in {path}: `chmod 600 '{path}'`")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(f"other users can write to {path}, and choose who gets a key: `chmod go-w '{path}'`")


# Secrets


def _read_keyring(profile: str) -> Secret[str]:
    again = f"`yotta-async config set-key --profile {profile}` stores it again"
    try:
        import keyring  # an extra
    except ModuleNotFoundError:
        message = f"the key of the profile {profile} is in a keyring: pip install 'yotta-async[keyring]'"
        raise ConfigurationError(message) from None
    try:
        key = Secret(keyring.get_password(KEYRING_SERVICE, profile))
    except Exception as error:  # noqa: BLE001  # each backend raises errors of its own
        message = f"the keyring does not give the key of the profile {profile} ({type(error).__name__}): unlock it"
        raise ConfigurationError(f"{message}, or {again}") from None
    if not key.reveal():
        raise ConfigurationError(f"the keyring has no key for the profile {profile}: {again}")
    return read_key(key)


def mask_password(url: Secret[Any]) -> str:
    """Return a URL without its password."""
    try:
        parsed = URL(url.reveal())
        return str(parsed if parsed.password is None else parsed.with_password(MASK))
    except Exception:  # noqa: BLE001  # yarl raises IndexError too
        return MASK
