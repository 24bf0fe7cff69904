"""`yotta-async emulator` and `yotta-async mcp`: what they print, and where they refuse."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import click
import pytest

from tests.cli.conftest import COMMAND, run_process
from yotta_async.cli.servers import format_exports, parse_address, parse_capacity, read_prices


def test_emulator_that_cannot_listen_says_why_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_process("emulator", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "Try another --port" in done.stderr
    assert "Traceback" not in done.stderr
    done = run_process("emulator", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "loopback" in done.stderr


def test_emulator_prints_what_a_shell_can_read() -> None:
    environment = os.environ | {"SHELL": "/bin/bash"}
    command = [*COMMAND, "emulator", "--port", "0", "--api-key", "a key's"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(2)]
        child.terminate()
        rest, messages = child.communicate(timeout=30)
    assert rest.startswith("# Answered 0 requests")
    assert messages == ""
    script = f'{"".join(lines)}printf \'%s %s\' "$YOTTA_BASE_URL" "$YOTTA_API_KEY"'
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ a key's", shown)


def test_exports_are_in_the_words_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert format_exports({"A": "x y", "B": "z"}) == "set -gx A 'x y'; set -gx B z"


def test_capacity() -> None:
    assert parse_capacity(["A=4", "B@us-east-1=1", "B@us-east-2=2"]) == {"A": 4, "B": {"us-east-1": 1, "us-east-2": 2}}
    for entries in (["A"], ["A=x"], ["=4"], ["A=1", "A=2"], ["A=1", "A@r=2"]):
        with pytest.raises(click.BadParameter):
            parse_capacity(entries)


def test_mcp_serves_this_machine_only() -> None:
    assert parse_address("127.0.0.1:80") == ("127.0.0.1", 80)
    assert parse_address("[::1]:80") == ("[::1]", 80)
    for text in ("0.0.0.0:80", "example.com:80", "localhost", "localhost:99999"):
        with pytest.raises(click.BadParameter, match="of this machine"):
            parse_address(text)


def test_prices_are_a_json_object_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"G": 0.6}')
    assert read_prices(str(path)) == {"G": 0.6}
    for text in ("[]", '{"G": "0.6"}', '{"G": -1}', "nonsense"):
        path.write_text(text)
        with pytest.raises(click.BadParameter):
            read_prices(str(path))
