"""Pods that really run: processes, ports and logs, and that nothing of them is left."""

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
from yotta_async import PodFailedError, PodHandle, YottaClient
from yotta_async.emulator import Emulator, Timings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
TIMINGS = Timings(initialize=0.0, pausing=0.0, terminating=0.0)
ECHO = """exec python -c '
import os, socket
with socket.create_server(("127.0.0.1", int(os.environ["YOTTA_PORT_7000"]))) as server:
    while True:
        connection = server.accept()[0]
        while said := connection.recv(65536):
            connection.sendall(said.upper())
        connection.close()'"""
# Three ways of getting away: a session of its own, orphaned by a parent that went, and deaf to SIGTERM.
RUNAWAYS = "setsid sh -c 'echo $$ >> pids; trap \"\" TERM; while :; do sleep 0.05; done' & (setsid sleep 600 & echo $! >> pids); echo $$ >> pids; wait; sleep 600"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(runtime="process", timings=TIMINGS, control=True) as emulator:
        yield emulator


@pytest.fixture
async def yotta(emulator: Emulator) -> AsyncIterator[YottaClient]:
    async with emulator.client(poll_interval=0.05) as yotta:
        yield yotta


async def logs(emulator: Emulator, handle: PodHandle, lines: int) -> list[str]:
    """Return what the pod has said, when it is so many lines."""
    while True:
        with contextlib.suppress(ValueError):
            said = emulator.logs(handle.id).splitlines()
            if len(said) >= lines:
                return said
        await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def gone(pids: list[int]) -> None:
    while any(lives(pid) for pid in pids):
        await asyncio.sleep(0.01)


async def test_a_port_is_relayed_to_what_the_pod_runs(emulator: Emulator, yotta: YottaClient) -> None:
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
    while True:  # it may take a moment to end
        try:
            _, writer = await asyncio.open_connection(port.host, port.proxy_port)
        except OSError:
            break
        writer.close()
        await asyncio.sleep(0.01)
    await handle.resume()
    assert (await handle.wait_until_ready(timeout=20)).status == "RUNNING"


async def test_it_has_its_own_variables_and_no_others(
    emulator: Emulator, yotta: YottaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "x")
    handle = await yotta.pods.create(
        **SPEC,
        environment_vars={"GREETING": "two\nlines", "LANG": "tlh"},
        expose=[22],
        initialization_command="env -0 | tr '\\0\\n' '\\n|'; pwd; sleep 600",
    )
    said = await logs(emulator, handle, 8)
    variables = dict(line.split("=", 1) for line in said if "=" in line)
    home = said[-1]
    assert set(variables) - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        "GREETING", "HOME", "LANG", "PATH", "YOTTA_CLIENT_TOKEN", "YOTTA_PORT_22"}  # fmt: skip
    assert (variables["GREETING"], variables["LANG"], variables["HOME"]) == ("two|lines", "tlh", home)
    assert variables["PATH"].startswith(str(Path(sys.executable).parent))
    async with (
        aiohttp.ClientSession(headers={"x-api-key": emulator.api_key}) as session,
        session.get(f"{emulator.url}/_emulator/pods/{handle.id}/logs") as response,
    ):
        assert (await response.text()).splitlines() == said
    await handle.delete()
    while Path(home).exists():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 3", 3), ("true", 0), ("kill -9 $$", 137), ("no-such-program", 127), ("(sleep 0.1; exit 5) & exit 0", 0)],
)
async def test_who_ends_early_has_failed(emulator: Emulator, yotta: YottaClient, command: str, code: int) -> None:
    handle = await yotta.pods.create(**SPEC, initialization_command=command)
    with pytest.raises(PodFailedError):
        await handle.wait_until(status="PAUSED", timeout=20)
    assert [(each.pod_id, each.exit_code) for each in emulator.exits] == [(handle.id, code)]


async def test_what_cannot_start_has_failed(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC, environment_vars={"A=B": "c"}, initialization_command="sleep 600")
    with pytest.raises(PodFailedError):
        await handle.wait_until(status="PAUSED", timeout=20)
    assert emulator.exits[0].exit_code is None
    assert "could not start" in emulator.logs(handle.id)


async def _runaways(emulator: Emulator, yotta: YottaClient) -> tuple[PodHandle, list[int]]:
    handle = await yotta.pods.create(**SPEC, initialization_command=f"pwd; {RUNAWAYS}")
    (home, *_) = await logs(emulator, handle, 1)
    pids: list[int] = []
    while len(pids) < 3:
        with contextlib.suppress(OSError):
            pids = [int(line) for line in Path(home, "pids").read_text().split()]
        await asyncio.sleep(0.01)
    assert all(lives(pid) for pid in pids)
    return handle, pids


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the process group ends")
@pytest.mark.parametrize("way", ["pause", "delete", "close", "reset"])
async def test_nobody_gets_away(emulator: Emulator, yotta: YottaClient, way: str) -> None:
    handle, pids = await _runaways(emulator, yotta)
    if way == "close":
        await emulator.aclose()
        assert not any(lives(pid) for pid in pids)
    elif way == "reset":
        emulator.reset()
    else:
        await getattr(handle, way)()
    await gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the process group ends")
async def test_nobody_survives_an_emulator_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from yotta_async.cli import main; main()", "emulator", "--port", "0"]
    with subprocess.Popen(
        [*command, "--runtime", "process", "--control"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().split()[3]
        try:
            async with YottaClient("emulator-key", base_url=url) as yotta:
                handle = await yotta.pods.create(**SPEC, initialization_command=RUNAWAYS)
                pids: list[int] = []
                while len(pids) < 3:
                    found = list(tmp_path.glob(f"*/{handle.id}/pids"))
                    pids = [int(pid) for pid in found[0].read_text().split()] if found else []
                    await asyncio.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
    await gone(pids)
    while list(tmp_path.iterdir()):
        await asyncio.sleep(0.01)


async def test_a_thread_of_its_own_runs_them_too() -> None:
    def run() -> str:
        with Emulator(runtime="process", timings=TIMINGS) as emulator:

            async def main() -> str:
                async with emulator.client(poll_interval=0.05) as yotta:
                    handle = await yotta.pods.create(**SPEC, initialization_command="echo hello; sleep 600")
                    return (await logs(emulator, handle, 1))[0]

            return asyncio.run(main())

    assert await asyncio.to_thread(run) == "hello"


async def test_without_a_command_nothing_runs(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC, expose=[22])
    pod = await handle.wait_until()
    assert [port.healthy for port in pod.expose] == [False]
    with pytest.raises(ValueError, match="no logs"):
        emulator.logs(handle.id)


def test_it_takes_real_time_and_says_so() -> None:
    with pytest.raises(ValueError, match="real"):
        Emulator(runtime="process", clock="auto")
    with pytest.raises(ValueError, match="runtime must be"):
        Emulator(runtime="docker")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="loopback"):
        Emulator(runtime="process", host="0.0.0.0")
