"""Pods that run as processes: their ports and logs, and that no process or file remains."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import SPEC
from tests.processes import start_process
from yotta_async import PodFailedError, PodHandle, YottaClient
from yotta_async.emulator import Emulator, Timings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")
# Its own address, so that no emulator of another test process opens a port that a pod has closed.
HOST = f"127.{os.getpid() % 200 + 10}.0.1"
TIMINGS = Timings(initialize=0.0, pausing=0.0, terminating=0.0)
ECHO = """exec python -c '
import os, socket
with socket.create_server(("127.0.0.1", int(os.environ["YOTTA_PORT_7000"]))) as server:
    while True:
        connection = server.accept()[0]
        while said := connection.recv(65536):
            connection.sendall(said.upper())
        connection.close()'"""
# Three kinds of process that are hard to end: in a new session, without a parent, and ignoring SIGTERM.
RUNAWAYS = "setsid sh -c 'echo $$ >> pids; trap \"\" TERM; while :; do sleep 0.05; done' & (setsid sleep 600 & echo $! >> pids); echo $$ >> pids; wait; sleep 600"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(runtime="process", host=HOST, timings=TIMINGS, control=True) as emulator:
        yield emulator


@pytest.fixture
async def yotta(emulator: Emulator) -> AsyncIterator[YottaClient]:
    async with emulator.client(poll_interval=0.05) as yotta:
        yield yotta


async def read_logs(emulator: Emulator, handle: PodHandle, lines: int) -> list[str]:
    """Return the log of a pod once it has at least this many lines."""
    while True:
        with contextlib.suppress(ValueError):
            log = emulator.logs(handle.id).splitlines()
            if len(log) >= lines:
                return log
        await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def wait_until_gone(pids: list[int]) -> None:
    while any(is_alive(pid) for pid in pids):
        await asyncio.sleep(0.01)


async def test_port_proxy_connects_to_the_process(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC, expose=[7000], initialization_command=ECHO)
    pod = await handle.wait_until_ready(timeout=20)
    port = pod.port(7000)
    assert port is not None
    reader, writer = await asyncio.open_connection(port.host, port.proxy_port)
    sent = os.urandom(50_000).hex().encode()
    writer.write(sent)
    writer.write_eof()
    assert await reader.read() == sent.upper()
    writer.close()
    await handle.pause()
    await handle.wait_until(status="PAUSED")
    while True:  # the port may take a moment to close
        try:
            _, writer = await asyncio.open_connection(port.host, port.proxy_port)
        except OSError:
            break
        writer.close()
        await asyncio.sleep(0.01)
    await handle.resume()
    assert (await handle.wait_until_ready(timeout=20)).status == "RUNNING"


async def test_unhealthy_port_refuses_connections_until_the_fault_is_removed(
    emulator: Emulator, yotta: YottaClient
) -> None:
    fault = emulator.faults.add(kind="unhealthy_port")
    handle = await yotta.pods.create(**SPEC, expose=[7000], initialization_command=ECHO)
    (port,) = (await handle.wait_until(timeout=20)).expose
    await asyncio.sleep(0.3)
    assert not (await handle.refresh()).expose[0].healthy
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(port.host, port.proxy_port)
    emulator.faults.remove(fault)
    await handle.wait_until_ready(timeout=20)


async def test_process_has_only_the_variables_of_its_pod(
    emulator: Emulator, yotta: YottaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_EMULATOR", "x")
    handle = await yotta.pods.create(
        **SPEC,
        environment_vars={"GREETING": "two\nlines", "LANG": "tlh"},
        expose=[22],
        initialization_command="env -0 | tr '\\0\\n' '\\n|'; pwd; sleep 600",
    )
    log = await read_logs(emulator, handle, 8)
    variables = dict(line.split("=", 1) for line in log if "=" in line)
    home = log[-1]
    assert set(variables) - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        "GREETING", "HOME", "LANG", "PATH", "YOTTA_CLIENT_TOKEN", "YOTTA_PORT_22"}  # fmt: skip
    assert (variables["GREETING"], variables["LANG"], variables["HOME"]) == ("two|lines", "tlh", home)
    assert variables["PATH"].startswith(str(Path(sys.executable).parent))
    async with (
        aiohttp.ClientSession(headers={"x-api-key": emulator.api_key}) as session,
        session.get(f"{emulator.url}/_emulator/pods/{handle.id}/logs") as response,
    ):
        assert (await response.text()).splitlines() == log
    await handle.delete()
    while Path(home).exists():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 3", 3), ("true", 0), ("kill -9 $$", 137), ("no-such-program", 127), ("(sleep 0.1; exit 5) & exit 0", 0)],
)
async def test_pod_fails_when_its_process_exits(
    emulator: Emulator, yotta: YottaClient, command: str, code: int
) -> None:
    handle = await yotta.pods.create(**SPEC, initialization_command=command)
    with pytest.raises(PodFailedError):
        await handle.wait_until(status="PAUSED", timeout=20)
    assert [(each.pod_id, each.exit_code) for each in emulator.exits] == [(handle.id, code)]


async def test_pod_fails_when_its_process_cannot_start(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC, environment_vars={"A=B": "c"}, initialization_command="sleep 600")
    with pytest.raises(PodFailedError):
        await handle.wait_until(status="PAUSED", timeout=20)
    assert emulator.exits[0].exit_code is None
    assert "could not start" in emulator.logs(handle.id)


async def start_runaways(emulator: Emulator, yotta: YottaClient) -> tuple[PodHandle, list[int]]:
    handle = await yotta.pods.create(**SPEC, initialization_command=f"pwd; {RUNAWAYS}")
    (home, *_) = await read_logs(emulator, handle, 1)
    pids: list[int] = []
    while len(pids) < 3:
        with contextlib.suppress(OSError):
            pids = [int(line) for line in Path(home, "pids").read_text().split()]
        await asyncio.sleep(0.01)
    assert all(is_alive(pid) for pid in pids)
    return handle, pids


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
@pytest.mark.parametrize("way", ["pause", "delete", "close", "reset"])
async def test_all_processes_of_a_pod_end(emulator: Emulator, yotta: YottaClient, way: str) -> None:
    handle, pids = await start_runaways(emulator, yotta)
    if way == "close":
        await emulator.aclose()
        assert not any(is_alive(pid) for pid in pids)
    elif way == "reset":
        emulator.reset()
    else:
        await getattr(handle, way)()
    await wait_until_gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
async def test_all_processes_end_when_the_emulator_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from yotta_async.cli import main; main()", "emulator", "--port", "0"]
    with start_process(
        [*command, "--runtime", "process", "--control"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().decode().split() if word.startswith("http"))
        api_key = process.stdout.readline().decode().strip().rpartition("=")[2]
        try:
            async with YottaClient(api_key, base_url=url) as yotta:
                handle = await yotta.pods.create(**SPEC, initialization_command=RUNAWAYS)
                pids: list[int] = []
                while len(pids) < 3:
                    found = list(tmp_path.glob(f"*/{handle.id}/pids"))
                    pids = [int(pid) for pid in found[0].read_text().split()] if found else []
                    await asyncio.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
    await wait_until_gone(pids)
    while list(tmp_path.iterdir()):
        await asyncio.sleep(0.01)


async def test_processes_run_with_an_emulator_in_a_thread() -> None:
    def run() -> str:
        with Emulator(runtime="process", timings=TIMINGS) as emulator:

            async def main() -> str:
                async with emulator.client(poll_interval=0.05) as yotta:
                    handle = await yotta.pods.create(**SPEC, initialization_command="echo hello; sleep 600")
                    return (await read_logs(emulator, handle, 1))[0]

            return asyncio.run(main())

    assert await asyncio.to_thread(run) == "hello"


async def test_pod_without_a_command_has_unhealthy_ports_and_no_log(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC, expose=[22])
    pod = await handle.wait_until()
    assert [port.healthy for port in pod.expose] == [False]
    with pytest.raises(ValueError, match="no log"):
        emulator.logs(handle.id)


def test_process_runtime_needs_a_real_clock_and_loopback() -> None:
    with pytest.raises(ValueError, match="real"):
        Emulator(runtime="process", clock="auto")
    with pytest.raises(ValueError, match="runtime must be"):
        Emulator(runtime="docker")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="loopback"):
        Emulator(runtime="process", host="0.0.0.0")


async def test_process_runtime_draws_a_random_key() -> None:
    first, second = Emulator(runtime="process"), Emulator(runtime="process")
    assert len({first.api_key, second.api_key, Emulator().api_key}) == 3
    assert min(len(first.api_key), len(second.api_key)) >= 40
    async with first, aiohttp.ClientSession() as session:
        url = f"{first.url}/openapi/v1/pods/create"
        body = {"image": "a", "gpuType": "b", "initializationCommand": "true"}
        for key in ("emulator-key", second.api_key):
            async with session.post(url, json=body, headers={"x-api-key": key}) as response:
                assert response.status == 401
    assert Emulator(runtime="process", api_key="chosen").api_key == "chosen"
    with pytest.raises(ValueError, match="secret api_key"):
        Emulator(runtime="process", api_key="emulator-key")


def test_command_line_prints_the_key_of_the_process_runtime(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from yotta_async.cli import main; main()", "emulator", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    keys = []
    for options, variables in (
        ((), {}),
        ((), {"YOTTA_EMULATOR_API_KEY": "by variable"}),
        (("--api-key", "by-option"), {}),
    ):
        with start_process(
            [*command, "--runtime", "process", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | variables,
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline().decode() for _ in range(2)]
            process.send_signal(signal.SIGINT)
        keys.append(lines[1].strip().rpartition("YOTTA_API_KEY=")[2])
    assert len(keys[0]) >= 40
    assert keys[1:] == ["'by variable'", "by-option"]
