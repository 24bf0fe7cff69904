"""The command line as a whole: help, completion, output streams, encodings, missing packages."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import yotta_async.cli
from tests.cli.conftest import COMMAND, POD, Run, run_process
from tests.processes import start_process
from yotta_async import __version__
from yotta_async.cli.commands import cli
from yotta_async.cli.run import ExitCode


def walk_commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from walk_commands(command, *names, name)


def test_help_shows_every_command_with_an_example() -> None:
    text = run_process("--help").stdout
    found = list(walk_commands(cli))
    assert {"pods", "reap", "emulator", "demo", "doctor", "mcp", "config", "gpus"} <= {names[0] for names, _ in found}
    for names, command in found:
        assert names[0] in text
        assert f": yotta-async {' '.join(names)}" in (command.help or ""), f"an example of {names}"


def test_help_shows_exit_codes_and_the_version() -> None:
    assert __version__ in run_process("--version").stdout
    text = run_process("--help").stdout
    assert text.index("Commands:") < text.index("--api-key")
    guide = (Path(yotta_async.cli.__file__).parent / "README.md").read_text(encoding="utf-8")
    for code in ExitCode:
        assert re.search(rf"^ +{code.value} +{re.escape(code.meaning)}$", text, re.MULTILINE)
        assert f"| {code.value} | {code.meaning} |" in guide


def test_help_of_a_command_points_to_the_options_of_every_command() -> None:
    text = run_process("pods", "pause", "--help").stdout
    assert text.index("--match") < text.index("--output") < text.index("`yotta-async --help`")
    assert "--api-key" not in text
    assert "Exit codes" not in text


@pytest.mark.parametrize(
    ("typed", "usage"),
    [
        (["ls"], "Usage: yotta-async ls "),
        (["ps"], "Usage: yotta-async ps "),
        (["rm"], "Usage: yotta-async rm "),
        (["list"], "Usage: yotta-async list "),
        (["create"], "Usage: yotta-async create "),
        (["pods", "ls"], "Usage: yotta-async pods ls "),
        (["pods", "rm"], "Usage: yotta-async pods rm "),
    ],
)
def test_short_names_work_where_people_type_them(typed: list[str], usage: str, run: Run) -> None:
    assert run(*typed, "--help").stdout.startswith(usage)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_help_of_every_command_prints_on_any_encoding(encoding: str) -> None:
    script = """
import os, sys
from yotta_async.cli import main
from yotta_async.cli.commands import cli
os._exit = sys.exit
from tests.cli.test_commands import walk_commands
for names, _ in [((), None), *walk_commands(cli)]:
    sys.argv = ["yotta-async", *names, "--help"]
    try: main()
    except SystemExit as ended: assert not ended.code
"""
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"Usage:") == 1 + len(list(walk_commands(cli)))
    done.stdout.decode(encoding)


def test_help_imports_nothing_slow() -> None:
    names = (
        "aiohttp",
        "cattrs",
        "dotenv",
        "mcp",
        "platformdirs",
        "pydantic",
        "rich",
        "ruamel.yaml",
        "tomlkit",
        "tomllib",
    )
    script = f"import sys; from yotta_async.cli.commands import cli; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    environment = os.environ | {
        "_YOTTA_ASYNC_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "yotta-async pods w",
        "COMP_CWORD": "2" if shell != "fish" else "w",
    }
    program = "import sys; sys.argv[0] = 'yotta-async'; from yotta_async.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert {"wait", "watch"} <= set(re.findall(r"\b(?:wait|watch)\b", done.stdout))


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("click", ["--help"], "cli"),
        ("rich", ["demo"], "cli"),
        ("ruamel.yaml", ["pods", "create", "--api-key", "k", *POD], "cli"),
        ("dotenv", ["pods", "create", "--api-key", "k", *POD], "cli"),
        ("mcp", ["mcp", "--api-key", "k"], "mcp"),
        ("tomlkit", ["config", "list"], "cli"),
    ],
)
def test_missing_package_is_named_with_the_extra_that_has_it(
    package: str, arguments: list[str], extra: str, tmp_path: Path
) -> None:
    terminal = "import sys; sys.stderr.isatty = lambda: True; " if package == "rich" else "import sys; "
    program = f"{terminal}sys.modules[{package!r}] = None; from yotta_async.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"pip install 'yotta-async[{extra}]'" in done.stderr
    assert package.partition(".")[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_pipe_is_no_traceback() -> None:
    command = [*COMMAND, "doctor", "--api-key", "key", "--base-url", "http://127.0.0.1:1"]
    with start_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as doctor:
        assert doctor.stdout is not None
        doctor.stdout.close()
        doctor.stdout = None
        _, errors = doctor.communicate(timeout=60)
        assert doctor.returncode == 1
        assert errors == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_streams(environment: dict[str, str], run: Run, closed: str) -> None:
    pod_id = json.loads(run("pods", "create", *POD, "-o", "json").stdout)["id"]
    for command, code in ((f"pods delete {pod_id}", 2), ("pods list", 0), ("pods list -o jsonl", 0)):
        script = f"exec {shlex.join(COMMAND)} {command} {closed}"
        done = subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False, env=environment
        )
        assert done.returncode == code, done.stderr
        assert "our mistake" not in done.stderr


def test_verbosity(environment: dict[str, str]) -> None:
    assert "GET /openapi/v1/pods/list: HTTP 200" in run_process("-v", "pods", "list", **environment).stderr
    unreachable = {"YOTTA_BASE_URL": "http://127.0.0.1:1", "YOTTA_API_KEY": "key-of-mine"}
    done = run_process("pods", "get", "99", "-vv", **unreachable)
    assert "Traceback" in done.stderr
    assert "key-of-mine" not in done.stderr
