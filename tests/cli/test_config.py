"""`yotta-async config`, --profile, and what `doctor` says of them."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backends.null
import pytest

from tests.cli.conftest import Run
from tests.memory_keyring import LockedKeyring, MemoryKeyring
from yotta_async.emulator import Emulator

KEY = "typed-key-that-must-not-show"


@pytest.fixture(autouse=True)
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("YOTTA_API_VERSION", raising=False)
    return tmp_path / "config" / "yotta-async" / "config.toml"


@pytest.fixture
def environment(emulator: Emulator) -> dict[str, str]:
    return os.environ | {"NO_COLOR": "1"}  # neither key nor host


@pytest.fixture(autouse=True)
def _no_keyring_of_this_machine() -> Iterator[None]:
    previous = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.null.Keyring())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(previous)


@pytest.fixture
def memory_keyring() -> MemoryKeyring:
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    return backend


@pytest.fixture
def type_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stdin be a pipe that has the key."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{KEY}\n".encode())))


def get_settings(run: Run, *arguments: str, **changes: str) -> dict[str, tuple[Any, Any]]:
    rows = json.loads(run("config", "-o", "json", *arguments, **changes).stdout)
    return {row["setting"]: (row["value"], row["source"]) for row in rows}


@pytest.mark.usefixtures("type_key")
def test_from_nothing_to_a_list_of_pods(run: Run, emulator: Emulator, config_file: Path) -> None:
    message = "there is no API key, and no profile in"
    assert message in run("pods", "list", code=4).stderr
    assert "yotta-async config set-key" in run("config").stderr
    sys.stdin = io.TextIOWrapper(io.BytesIO(emulator.api_key.encode()))
    done = run("config", "set-key", "--profile", "local", "--base-url", emulator.url)
    assert f"is in {config_file}, in plain text. Only you can read it (mode 0600)" in done.stderr
    assert done.stdout == ""
    run("pods", "list")  # the first profile is the default
    run("pods", "list", "--profile", "local", YOTTA_API_KEY="wrong", YOTTA_BASE_URL="http://127.0.0.1:1")
    run("--profile", "local", "pods", "list")
    run("pods", "list", YOTTA_API_KEY="wrong", code=4)


@pytest.mark.usefixtures("type_key")
def test_key_in_a_file_is_private_and_the_file_says_so(run: Run, config_file: Path) -> None:
    config_file.parent.mkdir(parents=True)
    config_file.write_text("# mine\n[profiles.work]\nbase_url = 'https://a.example'  # ours\n")
    config_file.chmod(0o644)
    done = run("config", "set-key", "--profile", "work", "--api-version", "v2")
    assert KEY not in done.stdout + done.stderr
    assert stat.S_IMODE(config_file.stat().st_mode) == 0o600
    assert [entry.name for entry in config_file.parent.iterdir()] == ["config.toml"]
    assert config_file.read_text() == (
        "# mine\ndefault_profile = \"work\"\n\n[profiles.work]\nbase_url = 'https://a.example'  # ours\n"
        f'api_version = "v2"\napi_key = "{KEY}" # in plain text: keep this file private (mode 0600)\n'
    )


@pytest.mark.usefixtures("type_key")
def test_key_in_a_keyring(run: Run, config_file: Path, memory_keyring: MemoryKeyring) -> None:
    assert "is in the keyring" in run("config", "set-key").stderr
    assert memory_keyring.passwords == {("yotta-async", "default"): KEY}
    assert KEY not in config_file.read_text()
    assert get_settings(run)["api_key"] == ("***show", "profile default, in the keyring")
    assert json.loads(run("config", "list", "-o", "json").stdout)[0]["key_in"] == "keyring"
    run("config", "remove", "default", "--yes")
    assert memory_keyring.passwords == {}


@pytest.mark.usefixtures("type_key")
def test_key_that_moves_to_the_file_leaves_the_keyring(
    run: Run, config_file: Path, memory_keyring: MemoryKeyring
) -> None:
    run("config", "set-key")
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"another"))
    run("config", "set-key", "--store", "file")
    assert memory_keyring.passwords == {}
    assert "key_store" not in config_file.read_text()


@pytest.mark.parametrize(("backend", "reason"), [(LockedKeyring, "(KeyringLocked)"), (None, "no keyring that can be")])
@pytest.mark.usefixtures("type_key")
def test_keyring_that_cannot_be_used_leaves_the_file(
    backend: type[MemoryKeyring] | None, reason: str, run: Run, config_file: Path
) -> None:
    if backend is not None:
        keyring.set_keyring(backend())
    done = run("config", "set-key", "--store", "keyring", code=2)
    assert reason in done.stderr
    assert not config_file.exists()
    sys.stdin = io.TextIOWrapper(io.BytesIO(KEY.encode()))
    done = run("config", "set-key")
    assert reason in done.stderr.partition("Not in a keyring: ")[2]
    assert KEY in config_file.read_text()
    assert KEY not in done.stderr


@pytest.mark.usefixtures("type_key")
def test_missing_keyring_package_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "pip install 'yotta-async[keyring]'" in run("config", "set-key").stderr


@pytest.mark.parametrize(
    ("arguments", "typed", "message"),
    [
        ([KEY], b"", "the shell's history"),
        (["--api-key", KEY], b"", "--api-key would show it"),
        ([], b" \n", "no key was given"),
        ([], f"{KEY} {KEY}".encode(), "the key holds a space"),
        ([], KEY.encode() + b"\xff", "the key holds a space, a line break or a character"),
        (["--base-url", "http://example.com"], KEY.encode(), "--base-url must be https"),
        (["--proxy", "ftp://h:1"], KEY.encode(), "--proxy must be the URL"),
        (["--profile", "my work"], KEY.encode(), "'my work' cannot be the name of a profile"),
    ],
)
def test_wrong_key_is_refused_and_not_shown(
    arguments: list[str], typed: bytes, message: str, run: Run, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    done = run("config", "set-key", *arguments, code=2)
    assert message in done.stderr
    assert KEY not in done.stderr
    assert not config_file.exists()


def test_prompt_does_not_echo(config_file: Path) -> None:
    """On a terminal of its own: what is typed is not printed."""
    pytest.importorskip("pty")
    import pty
    import termios

    environment = os.environ | {"NO_COLOR": "1", "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    program = [sys.executable, "-c", "from yotta_async.cli import main; main()", "config", "set-key"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(program[0], program, environment)
    shown = b""
    while b"not shown" not in shown:
        shown += os.read(terminal, 1024)
    while termios.tcgetattr(terminal)[3] & termios.ECHO:  # what is typed before is discarded
        time.sleep(0.01)
    os.write(terminal, f"{KEY}\n".encode())
    try:
        while chunk := os.read(terminal, 1024):
            shown += chunk
    except OSError:
        pass  # Linux's way to say that the other end is closed
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert KEY.encode() not in shown
    assert KEY in config_file.read_text()


def test_config_names_each_source(run: Run, config_file: Path, tmp_path: Path) -> None:
    config_file.parent.mkdir(parents=True)
    config_file.write_text(
        f'[profiles.work]\napi_key = "{KEY}"\nbase_url = "https://a.example"\nproxy = "http://u:{KEY}@h:1"\n'
    )
    config_file.chmod(0o600)
    assert get_settings(run, "--profile", "work", YOTTA_API_KEY="of-the-environment", SSL_CERT_FILE="/ca.pem") == {
        "profile": ("work", "--profile"),
        "api_key": ("***show", "profile work"),
        "base_url": ("https://a.example", "profile work"),
        "api_version": ("v1", "default"),
        "proxy": ("http://u:***@h:1", "profile work"),
        "ca_file": ("/ca.pem", "$SSL_CERT_FILE"),
        "file": (str(config_file), None),
    }
    changes = {"YOTTA_PROFILE": "work", "YOTTA_API_KEY": "short", "HTTPS_PROXY": "http://u:p@other:1"}
    settings = get_settings(run, "--base-url", "https://b.example", **changes)
    assert settings["profile"] == ("work", "$YOTTA_PROFILE")
    assert settings["api_key"] == ("***", "$YOTTA_API_KEY; wins over profile work")
    assert settings["base_url"] == ("https://b.example", "--base-url; wins over profile work")
    assert settings["proxy"] == ("http://u:***@h:1", "profile work")
    config_file.unlink()
    settings = get_settings(run, HTTPS_PROXY="http://u:p@other:1")
    assert settings["profile"] == (None, None)
    assert settings["api_key"] == (None, "default")
    assert settings["proxy"] == ("http://u:***@other:1", "$HTTPS_PROXY")
    assert settings["file"] == (str(config_file), "does not exist")


def test_list_use_and_remove(run: Run, config_file: Path) -> None:
    assert "There are no profiles" in run("config", "list").stderr
    config_file.parent.mkdir(parents=True)
    config_file.write_text(
        "[profiles.home]\nbase_url = 'https://a.example'\n\n[profiles.work] # mine\napi_version = 'v1'\n"
    )
    assert "'nope'" in run("config", "use", "nope", code=2).stderr
    run("config", "use", "work")
    assert "wins" in run("config", "use", "work", YOTTA_PROFILE="home").stderr
    assert run("config", "list").stdout.splitlines() == [
        "profile  default  key in  base_url           api_version",
        "home              -       https://a.example  -",
        "work     yes      -       -                  v1",
    ]
    assert "--yes" in run("config", "remove", "work", code=2).stderr
    assert "it was the default profile" in run("config", "remove", "work", "-y").stderr.lower()
    assert config_file.read_text() == "\n[profiles.home]\nbase_url = 'https://a.example'\n\n"
    assert "it has home" in run("config", "remove", "work", "-y", code=2).stderr


def test_link_to_a_file_elsewhere_stays_a_link(run: Run, config_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.toml"
    target.write_text("[profiles.work]\n")
    config_file.parent.mkdir(parents=True)
    config_file.symlink_to(target)
    run("config", "use", "work")
    assert config_file.is_symlink()
    assert "default_profile" in target.read_text()


@pytest.mark.usefixtures("type_key")
@pytest.mark.parametrize(
    "text", ["profiles = {work = {base_url = 'https://a.example'}}\n", "profiles.work.base_url = 'https://a.example'\n"]
)
def test_every_form_of_toml_can_be_changed(text: str, run: Run, config_file: Path) -> None:
    config_file.parent.mkdir(parents=True)
    config_file.write_text(text)
    run("config", "set-key", "--profile", "work")
    assert get_settings(run, "--profile", "work")["api_key"] == ("***show", "profile work")


def test_broken_file_is_wrong_usage_that_names_the_key(run: Run, config_file: Path) -> None:
    config_file.parent.mkdir(parents=True)
    config_file.write_text(f'[profiles.work]\napi_ky = "{KEY}"\n')
    for arguments in (("pods", "list"), ("config",), ("config", "list"), ("config", "use", "work"), ("doctor",)):
        done = run(*arguments, code=2)
        assert "profiles.work in" in done.stdout + done.stderr
        assert "unknown key 'api_ky'" in done.stdout + done.stderr
        assert KEY not in done.stdout + done.stderr
    assert "Usage" in run("--help").stdout


@pytest.mark.usefixtures("type_key")
def test_doctor_names_profile_key_and_version(run: Run, emulator: Emulator, config_file: Path) -> None:
    sys.stdin = io.TextIOWrapper(io.BytesIO(emulator.api_key.encode()))
    run("config", "set-key", "--profile", "local", "--base-url", emulator.url)
    said = {each["check"]: each for each in json.loads(run("doctor", "-o", "json").stdout)}
    assert said["profile"]["said"] == f"local (the file's default), of {config_file}."
    assert said["key"]["said"] == "There is one, from profile local."
    assert said["api"]["said"] == "Version v1, from default."
    done = run("doctor", "-o", "json", YOTTA_API_KEY=emulator.api_key)
    said = {each["check"]: each for each in json.loads(done.stdout)}
    assert said["key"]["state"] == "warning"
    assert "name the profile by --profile local" in said["key"]["said"]


def test_api_version_by_option_and_by_profile(run: Run, emulator: Emulator, config_file: Path) -> None:
    config_file.parent.mkdir(parents=True)
    config_file.write_text(
        f"[profiles.new]\napi_key = '{emulator.api_key}'\nbase_url = '{emulator.url}'\napi_version = 'v2'\n"
    )
    config_file.chmod(0o600)
    run("pods", "list", "--profile", "new")
    run("pods", "list", "--profile", "new", "--api-version", "v1")
    assert [request.path for request in emulator.requests] == ["/v2/pods", "/openapi/v1/pods/list"]
    assert get_settings(run, "--profile", "new")["api_version"] == ("v2", "profile new")


def test_completion_of_profiles(config_file: Path) -> None:
    config_file.parent.mkdir(parents=True)
    config_file.write_text("[profiles.home]\n[profiles.work]\n[profiles.worse]\n")

    def complete(words: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; sys.argv[0] = 'yotta-async'; from yotta_async.cli import main; main()"],
            capture_output=True, text=True, timeout=60, check=False,
            env=os.environ | {"_YOTTA_ASYNC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))},
        )  # fmt: skip
        assert done.stderr == ""
        return [line.partition(",")[2] for line in done.stdout.splitlines() if line]

    assert complete("yotta-async pods list --profile wor") == ["work", "worse"]
    assert complete("yotta-async config use h") == ["home"]
    config_file.write_text("not TOML")
    assert complete("yotta-async config use h") == []
