"""Into a pod: what is given to ssh and scp, and what is refused, with programs that only print their arguments."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import click
import pytest
from anyio.from_thread import start_blocking_portal

from tests.cli.conftest import COMMAND, POD, Run, run_process
from tests.raw_server import envelope, raw_server
from yotta_async import Pod
from yotta_async.cli.commands import cli
from yotta_async.cli.settings import Settings
from yotta_async.cli.ssh import build_connection
from yotta_async.cli.ssh_forward import forward_ports
from yotta_async.cli.ssh_logs import find_log
from yotta_async.emulator import Emulator

PRINT_ARGUMENTS = '#!/bin/sh\nprintf "<%s>\\n" "$@"\nexit ${STATUS:-0}\n'
SSH = "ssh root@34.19.26.12 -p 32002 -i <private key file>"
PORTS = [
    {"port": 22, "proxyPort": 32002, "protocol": "SSH", "host": "34.19.26.12", "healthy": True, "ingressUrl": SSH},
    {
        "port": 8080,
        "proxyPort": 32003,
        "protocol": "HTTP",
        "host": "34.19.26.12",
        "ingressUrl": "https://7.pods.example",
    },
    {"port": 9000, "proxyPort": 32004, "protocol": "TCP", "host": "34.19.26.12", "ingressUrl": "34.19.26.12:32004"},
]
RUNNING = {"id": "7", "status": "RUNNING", "sshCmd": SSH, "expose": PORTS}
RunOn: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a directory with an ssh and an scp that print their arguments and exit with $STATUS."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("ssh", "scp"):
        (directory / name).write_text(PRINT_ARGUMENTS)
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture
def ssh_environment(programs: Path, tmp_path: Path) -> dict[str, str]:
    path = f"{programs}:{os.environ['PATH']}"
    return {"PATH": path, "XDG_STATE_HOME": str(tmp_path / "state"), "YOTTA_API_KEY": "k", "NO_COLOR": "1"}


@pytest.fixture
def run_on(
    ssh_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> RunOn:
    """Return a function that runs a command in this process against an API with one pod, and checks its exit code."""

    def run(pod: dict[str, Any], *arguments: str, code: int = 0, **changes: str) -> subprocess.CompletedProcess[str]:
        with serve(pod) as url, monkeypatch.context() as patch:
            for name, value in (ssh_environment | {"YOTTA_BASE_URL": url} | changes).items():
                patch.setenv(name, value)
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.main(["pods", *arguments], prog_name="yotta-async")
        out, err = capfd.readouterr()
        assert (ended.value.code or 0) == code, out + err
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run


@contextmanager
def serve(pod: dict[str, Any]) -> Iterator[str]:
    """Answer every request with the pod, from a thread, and yield the address."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(raw_server(envelope(pod))) as server:
        yield server.url


def arguments_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line[1:-1] for line in done.stdout.splitlines()]


# ssh


@pytest.mark.parametrize("before", [(), ("--timeout", "9", "-l", "me"), ("-l", "me", "--")])
def test_options_after_the_command_are_those_of_the_command(run_on: RunOn, before: tuple[str, ...]) -> None:
    for typed in (("7", *before), (*before, "7"), (*before[:2], "7", *before[2:])):
        arguments = arguments_of(run_on(RUNNING, "ssh", *typed, "ls", "-la", "--wait", "--", "-i"))
        assert arguments[-6:] == ["34.19.26.12", "ls", "-la", "--wait", "--", "-i"], typed


def test_ssh_gets_address_and_command_as_arguments(run_on: RunOn, tmp_path: Path) -> None:
    done = run_on(RUNNING, "ssh", "7", "--", "nvidia-smi", "-L", "$(id); *")
    *options, separator, host, first, second, third = arguments_of(done)
    assert (separator, host, first, second, third) == ("--", "34.19.26.12", "nvidia-smi", "-L", "$(id); *")
    assert options[::2] == ["-o"] * (len(options) // 2)
    assert options[1::2] == [
        "Port=32002",
        "User=root",
        "HostKeyAlias=yotta-pod-7",
        "StrictHostKeyChecking=accept-new",
        f'UserKnownHostsFile="{tmp_path}/state/yotta-async/known_hosts"',
        "ConnectTimeout=10",
        "ServerAliveInterval=15",
    ]
    assert (tmp_path / "state/yotta-async").stat().st_mode & 0o777 == 0o700


def test_key_user_and_terminal(run_on: RunOn, tmp_path: Path) -> None:
    key = tmp_path / "my 100% key"
    key.touch()
    arguments = arguments_of(run_on(RUNNING, "ssh", "7", "-i", str(key), "-l", "me", "-t", "--", "htop"))
    quoted = f'IdentityFile="{tmp_path}/my 100%% key"'
    assert {"User=me", quoted, "IdentitiesOnly=yes", "-t"} <= set(arguments)
    done = run_on(RUNNING, "ssh", "7", "-l", "-oProxyCommand=id", code=2)
    assert "a user is letters" in done.stderr
    assert not done.stdout
    done = run_on(RUNNING, "ssh", "7", "-i", str(tmp_path / "none"), code=2)
    assert "does not exist" in done.stderr


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs OpenSSH's client, which reads the options")
def test_ssh_reads_the_options_as_they_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / 'a "quoted" %h $HOME \\ directory'
    monkeypatch.setenv("XDG_STATE_HOME", str(directory))
    connection = build_connection(Pod(id="7", ssh_cmd=SSH), "7", key=str(directory / "key"), user=None)
    done = subprocess.run(connection.build_ssh("-G"), capture_output=True, text=True, timeout=20, check=True)
    read = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert (read["hostname"], read["port"], read["user"]) == ("34.19.26.12", "32002", "root")
    assert read["hostkeyalias"] == "yotta-pod-7"
    assert read["userknownhostsfile"] == f"{directory}/yotta-async/known_hosts"
    assert read["identityfile"].replace("%%", "%") == f"{directory}/key"  # which -G shows before ssh reads the %


def test_address_of_this_machine_is_not_remembered(run_on: RunOn) -> None:
    arguments = arguments_of(run_on(RUNNING | {"sshCmd": "ssh me@127.0.0.1 -p 5"}, "ssh", "7"))
    assert "NoHostAuthenticationForLocalhost=yes" in arguments
    assert not any(argument.startswith(("HostKeyAlias", "UserKnownHosts")) for argument in arguments)


@pytest.mark.parametrize("status", ["0", "7", "143", "255"])
def test_exit_status_of_ssh_is_that_of_the_command(run_on: RunOn, status: str) -> None:
    done = run_on(RUNNING, "ssh", "7", "--", "true", code=int(status), STATUS=status)
    hint = "Pod 7: the connection to root@34.19.26.12:32002 by ssh failed, or was lost."
    assert (hint in done.stderr) == (status == "255")


def test_failure_says_that_the_port_is_not_healthy(run_on: RunOn) -> None:
    pod = RUNNING | {"expose": [PORTS[0] | {"healthy": False}]}
    assert "not healthy" in run_on(pod, "ssh", "7", code=255, STATUS="255").stderr


@pytest.mark.parametrize(
    "command",
    ["ssh -oProxyCommand=id root@1.2.3.4", "ssh -- -oProxyCommand=id", "ssh root@1.2.3.4\nid", "ssh -l -oX 1.2.3.4"],
)
@pytest.mark.parametrize("arguments", [("ssh", "7"), ("cp", "a", "7:"), ("port-forward", "7", "0:1")])
def test_hostile_ssh_command_never_reaches_ssh(run_on: RunOn, command: str, arguments: tuple[str, ...]) -> None:
    done = run_on(RUNNING | {"sshCmd": command}, *arguments, code=1)
    assert "for pod 7 is refused" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    "arguments", [("ssh", "7"), ("cp", "a", "7:"), ("port-forward", "7", "0:1"), ("open", "7", "8080")]
)
@pytest.mark.parametrize(
    ("status", "way"),
    [
        ("PAUSED", "`yotta-async pods resume 7 --wait` starts it again"),
        ("PAUSING", "Once it is PAUSED, `yotta-async pods resume 7 --wait` starts it again"),
        ("INITIALIZE", "Add --wait"),
        ("REBUILDING\x1b[2J", "Add --wait"),
        ("FAILED", "It cannot be reached any more; `yotta-async pods create` makes another"),
        ("TERMINATED", "It cannot be reached any more; `yotta-async pods create` makes another"),
    ],
)
def test_pod_that_does_not_run_is_named_with_the_way_on(
    run_on: RunOn, arguments: tuple[str, ...], status: str, way: str
) -> None:
    done = run_on(RUNNING | {"status": status}, *arguments, code=1)
    assert f"pod 7 is {status.replace(chr(27), '?')}, not RUNNING. {way}" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    "arguments", [("ssh", "7"), ("ssh", "7", "--wait"), ("cp", "a", "7:"), ("port-forward", "7", "0:1")]
)
def test_pod_without_port_22_is_told_with_the_ports_that_it_has(run_on: RunOn, arguments: tuple[str, ...]) -> None:
    done = run_on(RUNNING | {"sshCmd": "", "expose": PORTS[1:]}, *arguments, code=1)
    assert "pod 7 exposes no port 22" in done.stderr
    assert "8080 (HTTP), 9000 (TCP)" in done.stderr
    assert "--expose 22:SSH" in done.stderr


def test_wait_for_a_port_that_cannot_come_ends_at_once(run_on: RunOn) -> None:
    pod = RUNNING | {"status": "INITIALIZE", "sshCmd": "", "expose": PORTS[1:]}
    assert "exposes no port 22" in run_on(pod, "ssh", "7", "--wait", code=1).stderr
    assert "does not expose port 80" in run_on(pod, "open", "7", "80", "--wait", code=1).stderr


def test_wait_names_the_port_and_the_time(run_on: RunOn) -> None:
    pod = RUNNING | {"expose": [PORTS[0] | {"healthy": False}]}
    done = run_on(pod, "ssh", "7", "--wait", "--timeout", "1", code=124)
    assert "pod 7: it was not ready within 1 s: it is RUNNING, and port 22 is not healthy" in done.stderr


@pytest.mark.parametrize("name", ["ssh", "scp"])
def test_missing_program_is_named_with_how_to_install_it(run_on: RunOn, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ("ssh", "7") if name == "ssh" else ("cp", "a", "7:")
    done = run_on(RUNNING, *arguments, code=1, PATH=str(tmp_path / "empty"))
    assert f"no program {name} on this machine's PATH" in done.stderr
    assert "apt install openssh-client" in done.stderr


async def test_signal_ends_ssh_too(programs: Path, tmp_path: Path) -> None:
    (programs / "ssh").write_text("#!/bin/sh\necho $$\nexec sleep 60\n")
    async with raw_server(envelope(RUNNING)) as server:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "pods", "ssh", "7", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": f"{programs}:{os.environ['PATH']}", "YOTTA_BASE_URL": server.url, "YOTTA_API_KEY": "k",
                 "XDG_STATE_HOME": str(tmp_path)},
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        pid = int(await process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 128 + signal.SIGTERM
        assert await process.stderr.read() == b""
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# cp


@pytest.mark.parametrize(
    ("paths", "arguments"),
    [
        (("a", "7:/tmp/"), ["./a", "34.19.26.12:/tmp/"]),
        (("7:/tmp/a b", "."), ["34.19.26.12:/tmp/a b", "./."]),
        (("-r", "a", "/b", "7:"), ["./a", "/b", "34.19.26.12:"]),
        (("./x:y", "7:d"), ["././x:y", "34.19.26.12:d"]),
        (("--", "-oProxyCommand=id", "7:-x"), ["./-oProxyCommand=id", "34.19.26.12:-x"]),
        (("7:a", "7:b", "d"), ["34.19.26.12:a", "34.19.26.12:b", "./d"]),
    ],
)
def test_scp_gets_paths_that_are_no_options(run_on: RunOn, paths: tuple[str, ...], arguments: list[str]) -> None:
    given = arguments_of(run_on(RUNNING, "cp", *paths))
    assert given[given.index("--") + 1 :] == arguments
    assert ("-r" in given) == ("-r" in paths)
    assert {"Port=32002", "User=root"} <= set(given)


def test_scp_gets_an_ipv6_address_in_brackets(run_on: RunOn) -> None:
    given = arguments_of(run_on(RUNNING | {"sshCmd": "ssh root@2001:db8::1"}, "cp", "a", "7:b"))
    assert given[-1] == "[2001:db8::1]:b"


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (("a", "b"), "no path is in a pod"),
        (("7:a", "7:b"), "both sides are in pods"),
        (("7:a", "8:b"), "both sides are in pods"),
        (("7:a",), "what to copy and where to"),
        (("7:a", "b", "c"), "all files must come from the pod"),
        (("7:a", "8:b", "c"), "one place"),
        (("7:a", "b", "7:c"), "one place"),
    ],
)
def test_copy_has_one_side_in_one_pod(run: Run, emulator: Emulator, paths: tuple[str, ...], problem: str) -> None:
    assert problem in run("pods", "cp", *paths, code=2).stderr
    assert not emulator.requests


# port-forward


@pytest.mark.parametrize(
    "ports", ["x", "1:", ":1", "1:2:3", "70000:1", "1:0", "1:70000", "-1:2", "1:2x", "\N{ARABIC-INDIC DIGIT TWO}:1"]
)
def test_ports_to_forward_are_numbers(run: Run, emulator: Emulator, ports: str) -> None:
    assert "LOCAL:REMOTE" in run("pods", "port-forward", "7", "--", ports, code=2).stderr
    assert not emulator.requests


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_used_local_port_is_named(run_on: RunOn, used_port: int) -> None:
    done = run_on(RUNNING, "port-forward", "7", f"{used_port}:8888", code=1)
    assert f"port {used_port} of this machine cannot be used" in done.stderr
    assert "port-forward 7 0:8888" in done.stderr


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'root@h: Permission denied (publickey).' >&2; exit 255", "Permission denied (publickey).'. Name a key"),
        ("echo 'ssh: connect to host h port 1: Connection refused' >&2; exit 255", "refused'. Perhaps its ssh server"),
        ("printf 'odd \\033[2J' >&2; exit 255", "'odd ?[2J'"),
        (
            "echo 'Host key verification failed.' >&2; exit 255",
            "`yotta-async pods ssh 7` shows how to forget that one",
        ),
        ("exit 255", "ssh ended with status 255"),
        (
            "echo listening; echo 'Connection to h closed.' >&2; exit 255",
            "the connection ended, as ssh says 'Connection",
        ),
    ],
)
def test_forward_that_fails_says_for_which_pod_and_why(
    run_on: RunOn, programs: Path, script: str, problem: str
) -> None:
    (programs / "ssh").write_text(f"#!/bin/sh\n{script}\n")
    done = run_on(RUNNING, "port-forward", "7", "0:8888", code=1)
    assert "pod 7 (root@34.19.26.12:32002): " in done.stderr
    assert problem in done.stderr


async def test_forward_that_does_not_begin_ends_after_a_while(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (programs / "ssh").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("yotta_async.cli.ssh_forward.START_TIMEOUT_S", 0.1)
    async with raw_server(envelope(RUNNING)) as server:
        settings = Settings(api_key="k", base_url=server.url)
        with pytest.raises(
            click.ClickException, match=r"pod 7 .*: nothing is forwarded, as ssh did not connect within 0.1 s"
        ):
            await forward_ports(settings, pod_id="7", ports=["0:1"], key=None, user=None, wait=False)


# open


def test_open_prints_the_url(run_on: RunOn) -> None:
    assert run_on(RUNNING, "open", "7", "8080", "--print").stdout == "https://7.pods.example\n"
    done = run_on(RUNNING, "open", "7", "8080", "-o", "json")
    assert json.loads(done.stdout) == {"pod_id": "7", "port": 8080, "url": "https://7.pods.example"}


def test_open_starts_the_browser(ssh_environment: dict[str, str], tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    with serve(RUNNING) as url:  # in processes of their own, as Python looks for browsers once
        environment = ssh_environment | {"YOTTA_BASE_URL": url}
        assert run_process("pods", "open", "7", "8080", **environment, BROWSER=str(browser)).returncode == 0
        assert (tmp_path / "opened").read_text() == "https://7.pods.example\n"
        done = run_process("pods", "open", "7", "8080", **environment, BROWSER="false")
    assert done.returncode == 0
    assert "No browser was found here" in done.stderr


@pytest.mark.parametrize(
    ("port", "problem"),
    [
        ("80", "pod 7 does not expose port 80; it exposes 22 (SSH), 8080 (HTTP), 9000 (TCP)"),
        ("80", "`yotta-async pods port-forward 7 0:80`"),
        ("9000", "port 9000 of pod 7 is TCP and has no URL. `yotta-async pods port-forward 7 9000:9000`"),
        ("22", "port 22 of pod 7 is for ssh: `yotta-async pods ssh 7`"),
    ],
)
def test_open_of_another_port_says_which_there_are(run_on: RunOn, port: str, problem: str) -> None:
    assert problem in run_on(RUNNING, "open", "7", port, code=1).stderr


def test_way_by_ssh_is_only_named_where_the_pod_has_one(run_on: RunOn) -> None:
    pod: dict[str, Any] = RUNNING | {"sshCmd": None, "expose": []}
    for command in (("open", "7", "8080"), ("logs", "7")):
        message = run_on(pod, *command, code=1).stderr
        assert "--expose" in message
        assert "port-forward" not in message
        assert "pods ssh" not in message


def test_open_shows_no_page_of_another_scheme(run_on: RunOn) -> None:
    pod = RUNNING | {"expose": [{"port": 8080, "protocol": "HTTP", "ingressUrl": "javascript:alert(1)"}]}
    assert "has no URL" in run_on(pod, "open", "7", "8080", code=1).stderr


# logs


def test_pod_that_was_created_without_log_is_refused(run_on: RunOn) -> None:
    for command in ("", "sshd &"):
        done = run_on(RUNNING | {"initializationCommand": command}, "logs", "7", code=1)
        assert "pod 7 keeps no log" in done.stderr
        assert "yotta-async pods create --log" in done.stderr


LOG = "/tmp/yotta-async-0123456789abcdef.log"


def test_log_is_read_by_a_command_without_text_of_the_server(run_on: RunOn) -> None:
    pod = RUNNING | {"initializationCommand": f"tee -a {LOG};id"}
    command = arguments_of(run_on(pod, "logs", "7", "-f", "-n", "5"))[-1]
    assert command == f"test -r {LOG} || exit 66; exec tail -n 5 -f {LOG}"
    assert arguments_of(run_on(pod, "logs", "7"))[-1].endswith(f"exec tail -n +1 {LOG}")
    done = run_on(pod, "logs", "7", code=1, STATUS="66")
    assert f"there is no log in pod 7 that this user can read ({LOG})" in done.stderr
    pod = RUNNING | {"initializationCommand": "tee -a /tmp/yotta-async-$(id).log"}
    assert "pod 7 keeps no log" in run_on(pod, "logs", "7", code=1).stderr


def test_each_of_many_pods_has_a_log_of_its_own(run: Run, emulator: Emulator) -> None:
    run("pods", "create", *POD, "--log", "--init-command", "true", "--expose", "22:SSH", "--count", "3")
    pods = json.loads(run("pods", "list", "--show-secrets", "-o", "json").stdout)
    assert len({pod["initialization_command"] for pod in pods}) == 3


def test_log_needs_a_command(run: Run, emulator: Emulator) -> None:
    assert "give one with --init-command" in run("pods", "create", *POD, "--log", code=2).stderr
    assert not emulator.requests


def test_log_without_an_ssh_port_says_what_is_missing(run: Run, emulator: Emulator) -> None:
    done = run("pods", "create", *POD, "--log", "--init-command", "true")
    assert "--expose 22:SSH" in done.stderr
    done = run("pods", "create", *POD, "--log", "--init-command", "true", "--expose", "22:SSH")
    assert "--expose 22:SSH" not in done.stderr


SHELLS = [[name] for name in ("dash", "bash") if shutil.which(name)] + [["busybox", "sh"]] * bool(
    shutil.which("busybox")
)


@pytest.mark.parametrize("shell", SHELLS or [["sh"]], ids=" ".join)
@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("echo out; echo err >&2; exit 3", 3, "out\nerr\n"),
        ("echo \"it's\" '\"quoted\"' \\$HOME; # comment", 0, "it's \"quoted\" $HOME\n"),
        ("cat <<END\na 'b' \"c\"\nEND", 0, "a 'b' \"c\"\n"),
        ("sleep 0.05 & wait; echo waited", 0, "waited\n"),
        ("sh -c 'exit 4' || exit $?", 4, ""),
        ("exec sh -c 'echo replaced; sleep 0.5; exit 5'", 5, "replaced\n"),
        ("(", 2, None),
    ],
)  # fmt: skip
def test_log_has_the_output_of_any_command(
    run: Run, emulator: Emulator, shell: list[str], command: str, code: int, output: str | None
) -> None:
    run("pods", "create", *POD, "--log", "--init-command", command, "--expose", "22:SSH")
    shown = json.loads(run("pods", "list", "--show-secrets", "-o", "json").stdout)[0]
    wrapped = shown["initialization_command"]
    assert wrapped.endswith(f"\n{command}")
    log = Path(find_log(Pod(id="7", initialization_command=wrapped), "7"))
    try:
        done = subprocess.run(
            [*shell, "-c", wrapped], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert done.returncode == code
        assert log.read_text() == done.stdout
        assert done.stdout == output if output is not None else "yntax error" in done.stdout
        assert not log.with_suffix(".pipe").exists()
    finally:
        log.unlink(missing_ok=True)
