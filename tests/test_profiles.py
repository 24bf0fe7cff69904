"""YottaClient.from_profile: which source of a setting wins, and what a config file must be."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import keyring
import pytest

from tests.certificates import LOOPBACK, CertificateAuthority
from tests.connect_proxy import connect_proxy
from tests.memory_keyring import LockedKeyring, MemoryKeyring
from tests.pod_server import PodServer
from tests.raw_server import RawServer, envelope, raw_server
from yotta_async import ConfigurationError, SessionPool, YottaClient
from yotta_async.profiles import read_profiles

KEY = "profile-key-that-must-not-show"
WriteConfig: TypeAlias = Callable[..., Path]


@pytest.fixture
def write_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteConfig:
    """Return a function that writes the config file, private unless a mode is given."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("YOTTA_API_VERSION", raising=False)

    def write(text: str | bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "yotta-async" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def memory_keyring() -> Iterator[MemoryKeyring]:
    previous = keyring.get_keyring()
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(previous)


def profile_text(server: RawServer, name: str = "work", key: str = KEY) -> str:
    return f'[profiles.{name}]\napi_key = "{key}"\nbase_url = "{server.url}"\n'


async def get_key_in_use(server: RawServer, name: str | None = None, **options: Any) -> str:
    """Return the key that a client of the profile sends."""
    server.answers(envelope([]))
    async with YottaClient.from_profile(name, **options) as yotta:
        await yotta.pods.list()
    return server.received[-1].headers["x-api-key"]


def show_with_locals(error: BaseException) -> str:
    """Return a traceback with the variables of every frame but the test's own."""
    below = error.__traceback__.tb_next if error.__traceback__ else None
    return "".join(traceback.TracebackException(type(error), error, below, capture_locals=True).format())


# Which source wins


async def test_named_profile_wins_over_the_environment(
    server: RawServer, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(profile_text(server))
    monkeypatch.setenv("YOTTA_API_KEY", "environment-key")
    monkeypatch.setenv("YOTTA_BASE_URL", "https://127.0.0.1:1")
    assert await get_key_in_use(server, "work") == KEY


async def test_environment_wins_over_a_profile_that_no_argument_names(
    server: RawServer, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config('default_profile = "work"\n' + profile_text(server) + profile_text(server, "other", "other-key"))
    assert await get_key_in_use(server) == KEY
    monkeypatch.setenv("YOTTA_PROFILE", "other")
    assert await get_key_in_use(server) == "other-key"
    monkeypatch.setenv("YOTTA_API_KEY", "environment-key")
    assert await get_key_in_use(server) == "environment-key"
    monkeypatch.setenv("YOTTA_PROFILE", "")
    monkeypatch.setenv("YOTTA_API_KEY", "")
    assert await get_key_in_use(server) == KEY


async def test_argument_wins_over_everything(
    server: RawServer, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(profile_text(server).replace(server.url, "https://127.0.0.1:1"))
    monkeypatch.setenv("YOTTA_API_KEY", "environment-key")
    assert await get_key_in_use(server, "work", api_key="own-key", base_url=server.url) == "own-key"


async def test_named_profile_never_takes_key_or_host_from_the_environment(
    write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config('[profiles.local]\nbase_url = "http://127.0.0.1:8787"\n[profiles.work]\napi_key = "k"\n')
    monkeypatch.setenv("YOTTA_API_KEY", "environment-key")
    with pytest.raises(ConfigurationError, match=f"profile local in {path} has no API key.*set-key --profile local"):
        YottaClient.from_profile("local")
    monkeypatch.setenv("YOTTA_BASE_URL", "http://127.0.0.1:8787")
    assert YottaClient.from_profile("work").base_url == "https://api.yottalabs.ai"


def test_profiles_without_a_default_are_named(write_config: WriteConfig) -> None:
    write_config('[profiles.home]\napi_key = "k"\n[profiles.work]\napi_key = "k"\n')
    with pytest.raises(ConfigurationError, match=r"no default profile but home, work: choose with .*config use NAME"):
        YottaClient.from_profile()


async def test_api_version_has_the_same_order(
    server: RawServer, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(f'default_profile = "work"\n{profile_text(server)}api_version = "v2"\n{profile_text(server, "old")}')

    async def get_path_in_use(name: str | None = None, **options: Any) -> str:
        await get_key_in_use(server, name, **options)
        return server.received[-1].path

    assert (await get_path_in_use()).startswith("/v2/")
    assert (await get_path_in_use("work", api_version="v1")).startswith("/openapi/v1/")
    monkeypatch.setenv("YOTTA_API_VERSION", "v1")
    assert (await get_path_in_use()).startswith("/openapi/v1/")
    assert (await get_path_in_use("work")).startswith("/v2/")
    monkeypatch.setenv("YOTTA_API_VERSION", "v2")
    assert (await get_path_in_use("old")).startswith("/openapi/v1/")


async def test_profile_named_default_is_the_default(server: RawServer, write_config: WriteConfig) -> None:
    write_config(profile_text(server, "default") + profile_text(server, "other", "other-key"))
    assert await get_key_in_use(server) == KEY


async def test_no_file_is_no_error_where_the_environment_has_all(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOTTA_API_KEY", "environment-key")
    monkeypatch.setenv("YOTTA_BASE_URL", server.url)
    assert await get_key_in_use(server) == "environment-key"
    monkeypatch.delenv("YOTTA_API_KEY")
    with pytest.raises(ConfigurationError, match="no API key, and no profile in .*config.toml.*set-key"):
        YottaClient.from_profile()


async def test_library_reads_profiles_only_when_asked(server: RawServer, write_config: WriteConfig) -> None:
    write_config("this is not TOML")
    server.answers(envelope([]))
    async with YottaClient("own-key", base_url=server.url) as yotta:
        assert await yotta.pods.list() == []


async def test_proxy_and_certificates_of_a_profile(tmp_path: Path, write_config: WriteConfig) -> None:
    authority = CertificateAuthority(tmp_path)
    host = "api.yotta.test"  # a name that only the proxy knows
    context = authority.server_context(authority.issue("server", hosts=(*LOOPBACK, host)))
    async with raw_server(PodServer().serve, ssl=context) as server:
        hosts = {host: int(server.url.rpartition(":")[2])}
        async with connect_proxy(credentials=("user", "password"), hosts=hosts) as proxy:
            text = f'base_url = "https://{host}"\nproxy = "http://user:password@{proxy.address}"\n'
            path = write_config(f'[profiles.work]\napi_key = "k"\n{text}ca_file = "company ca.pem"\n')
            authority.file.rename(path.parent / "company ca.pem")  # a relative path is beside the config file
            async with YottaClient.from_profile("work") as yotta:
                assert await yotta.pods.list() == []
            assert [request.target for request in proxy.requests] == [f"{host}:443"]
            with pytest.raises(ConfigurationError, match="YottaClient is closed"):
                await yotta.pods.list()


async def test_proxy_of_the_default_profile_does_not_keep_from_an_emulator(
    server: RawServer, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config('[profiles.default]\napi_key = "k"\nproxy = "http://127.0.0.1:1"\n')
    monkeypatch.setenv("YOTTA_API_KEY", "emulator-key")
    monkeypatch.setenv("YOTTA_BASE_URL", server.url)
    assert await get_key_in_use(server) == "emulator-key"


async def test_pool_that_was_given_stays_open(server: RawServer, write_config: WriteConfig) -> None:
    write_config(profile_text(server))
    async with SessionPool() as pool:
        assert await get_key_in_use(server, session_pool=pool, name="work") == KEY
        assert await get_key_in_use(server, session_pool=pool, name="work") == KEY


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_certificates_that_cannot_be_used_are_named(content: str | None, write_config: WriteConfig) -> None:
    path = write_config('[profiles.work]\napi_key = "k"\nca_file = "ca.pem"\n')
    if content is not None:
        (path.parent / "ca.pem").write_text(content)
    with pytest.raises(ConfigurationError, match=f"ca.pem (is missing|has no cert).*profiles.work.ca_file in {path}"):
        YottaClient.from_profile("work")


# What a file must be


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"[profiles.work]\napi_key = {KEY}", r"is not TOML: .*line 2"),
        (f'[profiles.work]\napi_key = "{KEY}', r"is not TOML: .*(line 2|end of document)"),
        (f'[profiles.work]\napi_key = "{KEY}"\napi_key = "{KEY}"', r"is not TOML: .*(line 3|end of document)"),
        (f'api_key = "{KEY}"', r"has the unknown key 'api_key': known are 'default_profile', 'profiles'"),
        (f'[profiles.work]\napi-key = "{KEY}"', r"profiles.work in .* has the unknown key 'api-key': known are 'api_key'"),
        (f'[profiles]\nwork = "{KEY}"', r"profiles.work in .* must be a table, such as \[profiles.work\], not str"),
        (f'profiles = "{KEY}"', r"profiles in .* must be a table"),
        ("[profiles.work]\napi_key = 12345", r"profiles.work.api_key in .* must be text in quotes, not int"),
        ('[profiles.work]\napi_key = ""', r"profiles.work.api_key in .* is empty"),
        (f'[profiles.work]\napi_key = "{KEY} "', r"profiles.work.api_key in .* holds a space"),
        (f'[profiles.work]\napi_key = "{KEY}"\nkey_store = "keyring"', r"has both 'api_key' and 'key_store'"),
        ('[profiles.work]\nkey_store = "vault"', r"profiles.work.key_store in .* must be \"keyring\""),
        ('[profiles.work]\nbase_url = "http://example.com"', r"profiles.work.base_url in .* must be https"),
        (f'[profiles.work]\nbase_url = "https://{KEY}@example.com"', r"profiles.work.base_url in .* must not hold a user"),
        ("[profiles.work]\nproxy = true", r"profiles.work.proxy in .* must be text in quotes, not bool"),
        (f'[profiles.work]\napi_key = "k"\nproxy = "ftp://u:{KEY}@h:1"', r"profiles.work.proxy in .* must be the URL of"),
        ('[profiles.work]\napi_version = "v3"', r"profiles.work.api_version in .* must be v1 or v2"),
        ('default_profile = "home"\n[profiles.work]', r"default_profile in .* names 'home', which is not among"),
        ("default_profile = 1", r"default_profile in .* must be text in quotes, not int"),
        ('[profiles."my work"]', r"'my work' cannot be the name of a profile"),
        ('[profiles.home]\nbase_url = "https://example.com"', r"there is no profile 'work' in .*: it has home"),
        ("", r"there is no profile 'work' in .*: it has none"),
        (b"[profiles.work]\nca_file = '\xff'", r"is not text in UTF-8"),
    ],
)  # fmt: skip
def test_wrong_file_is_an_error_that_names_the_place_and_no_value(
    text: str | bytes, problem: str, write_config: WriteConfig
) -> None:
    path = write_config(text)
    with pytest.raises(ConfigurationError) as caught:
        YottaClient.from_profile("work")
    assert re.search(problem, str(caught.value)), caught.value
    assert str(path) in str(caught.value)
    assert KEY not in str(caught.value)
    assert KEY not in show_with_locals(caught.value)


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path, write_config: WriteConfig) -> None:
    (tmp_path / "yotta-async" / "config.toml").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"cannot read .*config.toml: Is a directory"):
        YottaClient.from_profile()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize(
    ("text", "mode", "remedy"),
    [
        (f'[profiles.work]\napi_key = "{KEY}"', 0o640, "chmod 600"),
        (f'[profiles.work]\napi_key = "{KEY}"', 0o604, "chmod 600"),
        (f'[profiles.work]\nproxy = "http://u:{KEY}@h:1"', 0o644, "chmod 600"),
        ('[profiles.work]\nbase_url = "https://example.com"', 0o664, "chmod go-w"),
        ('[profiles.work]\nbase_url = "https://example.com"', 0o644, None),
    ],
)
def test_file_that_other_users_can_read_or_change_is_refused(
    text: str, mode: int, remedy: str | None, write_config: WriteConfig
) -> None:
    path = write_config(text, mode)
    if remedy is None:
        assert list(read_profiles().profiles) == ["work"]
        return
    with pytest.raises(ConfigurationError, match=f"{remedy} '{path}'") as caught:
        YottaClient.from_profile("work", api_key="own")
    assert KEY not in str(caught.value)


def test_no_traceback_shows_the_key(write_config: WriteConfig) -> None:
    write_config(f'[profiles.work]\napi_key = "{KEY}"\n')
    for options in ({"timeout": 0}, {"retry": 5}, {"base_url": "http://example.com"}):
        with pytest.raises(ConfigurationError) as caught:
            YottaClient.from_profile("work", **options)
        shown = show_with_locals(caught.value)
        assert "in from_profile" in shown
        assert KEY not in shown


@pytest.mark.parametrize("name", [5, "", "../work", KEY + " "])
def test_name_of_no_profile_is_refused(name: Any, write_config: WriteConfig) -> None:
    write_config("")
    with pytest.raises(ConfigurationError, match="profile"):
        YottaClient.from_profile(name)


def test_missing_platformdirs_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(ConfigurationError, match=r"platformdirs: pip install 'yotta-async\[profiles\]'"):
        YottaClient.from_profile("work")


# Keys in a keyring

IN_KEYRING = '[profiles.work]\nkey_store = "keyring"\n'


async def test_key_from_the_keyring(
    server: RawServer, write_config: WriteConfig, memory_keyring: MemoryKeyring
) -> None:
    write_config(f'{IN_KEYRING}base_url = "{server.url}"\n')
    with pytest.raises(ConfigurationError, match="no key for the profile work: .*set-key --profile work"):
        YottaClient.from_profile("work")
    memory_keyring.set_password("yotta-async", "work", KEY)
    assert await get_key_in_use(server, "work") == KEY
    memory_keyring.set_password("yotta-async", "work", "two lines\n")
    with pytest.raises(ConfigurationError, match="holds a space"):
        YottaClient.from_profile("work")


async def test_keyring_is_left_alone_where_another_key_wins(server: RawServer, write_config: WriteConfig) -> None:
    previous = keyring.get_keyring()
    keyring.set_keyring(LockedKeyring())
    try:
        write_config(f'{IN_KEYRING}base_url = "{server.url}"\n')
        assert await get_key_in_use(server, "work", api_key="own-key") == "own-key"
        with pytest.raises(ConfigurationError, match=r"the keyring does not give the key.*\(KeyringLocked\): unlock"):
            YottaClient.from_profile("work")
    finally:
        keyring.set_keyring(previous)


def test_missing_keyring_package_is_named_with_the_extra(
    write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(IN_KEYRING)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigurationError, match=r"in a keyring: pip install 'yotta-async\[keyring\]'"):
        YottaClient.from_profile("work")
