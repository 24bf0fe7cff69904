"""Into a pod that runs a real ssh server: a shell, commands, copies, forwarded ports and logs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from urllib.request import urlopen

import attrs
import pytest

from tests.cli.conftest import COMMAND, FAST, POD
from yotta_async import Pod
from yotta_async.cli.ssh_logs import find_log
from yotta_async.emulator import Emulator

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.slow,  # a real server of SSH
    pytest.mark.skipif(SSHD is None, reason="needs an ssh server: apt install openssh-server"),
    pytest.mark.skipif(not shutil.which("scp"), reason="needs OpenSSH's client: apt install openssh-client"),
]


@attrs.define
class PodWithSsh:
    """A pod that runs sshd, and how its user calls the command line."""

    id: str
    key: Path
    directory: Path
    environment: dict[str, str]

    def run(
        self, *arguments: str, code: int = 0, key: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "pods", arguments[0], *(["-i", str(self.key)] if key else []), *arguments[1:]]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=50, env=self.environment, check=False, input=stdin
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [*COMMAND, "pods", arguments[0], "-i", str(self.key), *arguments[1:]]
        return subprocess.Popen(
            command, env=self.environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip


def build_init_command(directory: Path) -> str:
    """Return the text that runs sshd with the keys of a directory, as any user, in the foreground."""
    options = {
        "ListenAddress": "127.0.0.1",
        "HostKey": f'"{directory}/host_key"',
        "AuthorizedKeysFile": f'"{directory}/key.pub"',
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PidFile": "none",
        "StrictModes": "no",
        "Subsystem": "sftp internal-sftp",
    }
    arguments = " ".join(shlex.join(["-o", f"{name}={value}"]) for name, value in options.items())
    # root's sshd needs /run/sshd, which a service's script makes elsewhere.
    return (
        "[ $(id -u) != 0 ] || mkdir -p /run/sshd\n"
        "echo \"it's $YOTTA_PORT_22\"; echo 'and an error' >&2\n"
        f"exec {SSHD} -D -e -f /dev/null -p $YOTTA_PORT_22 {arguments}"
    )


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodWithSsh]:
    directory = tmp_path_factory.mktemp("ssh")
    for name in ("host_key", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True, timeout=20
        )
    with Emulator(runtime="process", timings=FAST) as emulator:
        environment = os.environ | {
            "YOTTA_BASE_URL": emulator.url,
            "YOTTA_API_KEY": emulator.api_key,
            "YOTTA_JOURNAL": str(directory / "journal"),
            "XDG_STATE_HOME": str(directory / "state"),
            "PYTHONUNBUFFERED": "1",
        }
        environment.pop("SSH_AUTH_SOCK", None)
        command = (
            "--expose",
            "22:SSH",
            "--expose",
            "8080:HTTP",
            "--log",
            "--init-command",
            build_init_command(directory),
        )
        created = subprocess.run(
            [*COMMAND, "pods", "create", *POD, *command, "--show-secrets", "-o", "json"],
            capture_output=True, text=True, timeout=50, env=environment, check=True,
        )  # fmt: skip
        shown = json.loads(created.stdout)
        made = PodWithSsh(shown["id"], directory / "key", directory, environment)
        try:
            done = subprocess.run(
                [*COMMAND, "pods", "ssh", made.id, "-i", str(made.key), "--wait", "--timeout", "40", "--", "true"],
                capture_output=True, text=True, timeout=50, env=environment, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if "Permission denied" in done.stderr:
                pytest.skip(f"this machine's sshd lets this user in by no key: {emulator.logs(made.id)[-300:]}")
            assert done.returncode == 0, done.stderr + emulator.logs(made.id)
            yield made
        finally:
            Path(find_log(Pod(id=made.id, initialization_command=shown["initialization_command"]), made.id)).unlink()


def test_command_runs_in_the_pod_with_its_input_output_and_exit_status(pod: PodWithSsh) -> None:
    done = pod.run("ssh", pod.id, "--", "cat; echo err >&2; exit 7", stdin="in\n", code=7)
    assert done.stdout == "in\n"
    assert "err\n" in done.stderr
    assert pod.run("ssh", pod.id, "--", "printf", "%s-", "-x", "b").stdout == "-x-b-"


def test_shell_runs_in_the_pod(pod: PodWithSsh) -> None:
    assert "port 127.0.0.1" in pod.run("ssh", pod.id, stdin="echo port $SSH_CONNECTION\n").stdout


def test_key_that_the_pod_does_not_accept_is_told(pod: PodWithSsh) -> None:
    other = pod.directory / "host_key"  # any other private key
    done = pod.run("ssh", pod.id, "-i", str(other), "--", "true", key=False, code=255)
    assert f"Pod {pod.id}: the connection to " in done.stderr
    assert "-i KEY" in done.stderr
    done = pod.run("port-forward", pod.id, "0:1", "-i", str(other), key=False, code=1)
    assert f"pod {pod.id} (" in done.stderr
    assert "Permission denied" in done.stderr
    assert "-i KEY" in done.stderr


def test_files_are_copied_in_both_directions(pod: PodWithSsh, tmp_path: Path) -> None:
    source, target = tmp_path / "a b:c", tmp_path / "in the pod"
    source.mkdir()
    (source / "-file").write_text("content")
    pod.run("cp", "-r", str(source), f"{pod.id}:{target}")
    assert (target / "-file").read_text() == "content"
    pod.run("cp", f"{pod.id}:{target}/-file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content"
    assert "No such file" in pod.run("cp", f"{pod.id}:{tmp_path}/none", str(tmp_path), code=1).stderr


def test_log_has_what_the_initialization_command_wrote(pod: PodWithSsh) -> None:
    first, second, *_ = pod.run("logs", pod.id).stdout.splitlines()
    assert first.startswith("it's ")
    assert second == "and an error"
    assert len(pod.run("logs", pod.id, "-n", "1").stdout.splitlines()) == 1
    process = pod.start("logs", pod.id, "-f")
    assert process.stdout is not None
    assert process.stdout.readline() == f"{first}\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Stopping" not in err


@pytest.fixture
def web_server() -> Iterator[int]:
    """Serve HTTP on a port of this machine, which is where the emulator's pods are."""
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_forwarded_port_reaches_the_pod_until_ctrl_c(pod: PodWithSsh, web_server: int) -> None:
    process = pod.start("port-forward", pod.id, f"0:{web_server}", "0:22")
    assert process.stdout is not None
    line = process.stdout.readline()
    local = int(line.partition(":")[2].split()[0])
    assert line == f"Forwarding 127.0.0.1:{local} -> {web_server} of pod {pod.id}\n"
    with urlopen(f"http://127.0.0.1:{local}/", timeout=10) as response:
        assert response.status == 200
    os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    wait_until_closed(local)


def wait_until_closed(port: int) -> None:
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)


def test_forward_says_when_nothing_in_the_pod_accepts(pod: PodWithSsh) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        remote = unused.getsockname()[1]
        process = pod.start("port-forward", pod.id, f"0:{remote}", "-o", "json")
        assert process.stdout is not None
        assert process.stderr is not None
        shown = json.loads("".join(iter(process.stdout.readline, "]\n")) + "]")
        assert shown == [{"host": "127.0.0.1", "local": shown[0]["local"], "remote": remote, "pod_id": pod.id}]
        with socket.create_connection(("127.0.0.1", shown[0]["local"]), timeout=10) as connection:
            connection.recv(1)
        line = process.stderr.readline()
        assert line == f"Pod {pod.id}: nothing in it accepts connections to port {remote} (Connection refused)\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 128 + signal.SIGTERM
        wait_until_closed(shown[0]["local"])


def test_paused_pod_is_named_and_reached_again_after_a_resume(pod: PodWithSsh) -> None:
    def call(*arguments: str) -> None:
        subprocess.run([*COMMAND, "pods", *arguments], capture_output=True, env=pod.environment, timeout=50, check=True)

    call("pause", pod.id, "--wait")
    assert f"`yotta-async pods resume {pod.id} --wait`" in pod.run("ssh", pod.id, "--wait", code=1).stderr
    call("resume", pod.id)
    assert pod.run("ssh", pod.id, "--wait", "--", "echo back").stdout == "back\n"
    assert len([line for line in pod.run("logs", pod.id).stdout.splitlines() if line == "and an error"]) == 2
