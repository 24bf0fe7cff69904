"""Ready means reachable, and the error names the rung and the port that was stuck."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.conftest import SPEC
from tests.raw_server import RawServer, Reply, envelope
from yotta_async import InvalidRequestError, Pod, PodFailedError, WaitTimeoutError, YottaClient
from yotta_async.emulator import Emulator
from yotta_async.emulator.clock import ManualClock, make_clock
from yotta_async.polling import readiness

pytestmark = pytest.mark.both_versions

Make = Callable[..., YottaClient]


@pytest.fixture
async def open_port() -> AsyncIterator[int]:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as listener:
        yield listener.sockets[0].getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def pod(*ports: dict[str, Any], status: str = "RUNNING") -> Reply:
    return envelope({"id": 7, "status": status, "expose": [{"host": "127.0.0.1", **port} for port in ports]})


async def test_a_pod_of_the_emulator_becomes_ready(emulator: Emulator, yotta: YottaClient) -> None:
    handle = await yotta.pods.create(**SPEC, expose=[(22, "SSH"), 8888])
    seen: list[Pod] = []
    ready = await handle.wait_until_ready(on_change=seen.append)
    assert handle.pod is ready
    assert [each.status for each in seen] == ["INITIALIZE", "RUNNING"]
    port = ready.port(8888)
    assert port is not None
    _, writer = await asyncio.open_connection(port.host, port.proxy_port)
    writer.close()
    await handle.drive(to="PAUSED")
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection(port.host, port.proxy_port)
    await handle.drive(to="RUNNING")
    assert (await yotta.pods.wait_until_ready(handle, ports=[22])).status == "RUNNING"


async def test_each_rung_is_climbed_in_turn(server: RawServer, client_of: Make, open_port: int) -> None:
    server.answers(
        pod(status="INITIALIZE"),
        pod({"port": 22, "proxyPort": open_port, "healthy": False}),
        pod({"port": 22, "proxyPort": None, "healthy": True}),
        pod({"port": 22, "proxyPort": open_port, "healthy": True}),
    )
    ready = await client_of().pods.wait_until_ready(7)
    assert ready.expose[0].proxy_port == open_port
    assert len(server.received) == 4


async def test_health_that_is_not_problem_is_left_to_the_connection(
    server: RawServer, client_of: Make, open_port: int
) -> None:
    server.answers(pod({"port": 22, "proxyPort": open_port}, {"port": 53, "protocol": "udp", "proxyPort": 1}))
    await client_of().pods.wait_until_ready(7)


async def test_other_waits_for_the_pod_take_no_poll_away(server: RawServer, client_of: Make, open_port: int) -> None:
    unhealthy = pod({"port": 22, "proxyPort": open_port, "healthy": False})
    server.answers(*[unhealthy] * 4, pod({"port": 22, "proxyPort": open_port, "healthy": True}))
    pods = client_of(poll_interval=5).pods
    ready, running = await asyncio.gather(pods.wait_until_ready(7), pods.wait_until(7))
    assert ready.expose[0].healthy
    assert not running.expose[0].healthy


@pytest.mark.parametrize(("host", "proxy_port"), [(None, None), ("127.0.0.1", None), (None, 1)])
async def test_a_port_is_reached_by_its_ingress_url_if_it_has_no_address(
    server: RawServer, client_of: Make, open_port: int, host: str | None, proxy_port: int | None
) -> None:
    url = f"http://127.0.0.1:{open_port}/"
    server.answers(pod({"port": 80, "host": host, "proxyPort": proxy_port, "ingressUrl": url}))
    await client_of().pods.wait_until_ready(7)


@pytest.mark.parametrize(("url", "port"), [("https://pods.example/x", 443), ("http://pods.example", 80)])
async def test_an_ingress_url_without_a_port_means_the_port_of_its_scheme(
    server: RawServer, client_of: Make, monkeypatch: pytest.MonkeyPatch, open_port: int, url: str, port: int
) -> None:
    connect, addresses = asyncio.open_connection, []

    async def open_connection(host: str, number: int) -> Any:
        addresses.append((host, number))
        return await connect("127.0.0.1", open_port)

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    server.answers(pod({"port": 80, "host": None, "ingressUrl": url}))
    await client_of().pods.wait_until_ready(7)
    assert addresses == [("pods.example", port)]


async def test_a_connection_that_hangs_is_tried_again(
    server: RawServer, client_of: Make, monkeypatch: pytest.MonkeyPatch, open_port: int
) -> None:
    connect, attempts = asyncio.open_connection, 0

    async def open_connection(host: str, number: int) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 3:
            monkeypatch.setattr(
                readiness, "_CONNECT_TIMEOUT_S", 60.0
            )  # for the next attempt, which is to succeed however long it takes
        if attempts < 4:
            await asyncio.Event().wait()
        return await connect(host, number)

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    monkeypatch.setattr(readiness, "_CONNECT_TIMEOUT_S", 0.001)
    server.answers(pod({"port": 22, "proxyPort": open_port}))
    clock = make_clock("auto")
    await client_of(clock=clock, poll_interval=100).pods.wait_until_ready(7)
    assert attempts == 4
    assert clock.time() == pytest.approx(3), "a second between two attempts"


async def test_a_connection_that_hangs_ends_with_the_wait(
    server: RawServer, client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def open_connection(_: str, __: int) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    server.answers(pod({"port": 22, "proxyPort": 1}))
    began = asyncio.get_running_loop().time()
    with pytest.raises(WaitTimeoutError, match=r"port 22 at 127\.0\.0\.1:1 \(TimeoutError\)"):
        await client_of(clock=None).pods.wait_until_ready(7, timeout=0.1)
    assert 0.1 <= asyncio.get_running_loop().time() - began < 4


async def test_a_connection_that_was_accepted_and_then_reset_is_enough(
    server: RawServer, client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Writer:
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

        async def wait_closed(self) -> None:
            raise ConnectionResetError

    writer = Writer()

    async def open_connection(_: str, __: int) -> tuple[None, Writer]:
        return None, writer

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    server.answers(pod({"port": 22, "proxyPort": 1}))
    await client_of().pods.wait_until_ready(7)
    assert writer.is_closed


async def test_ports_that_are_named_are_waited_for_while_the_pod_shows_none(
    server: RawServer, client_of: Make, open_port: int
) -> None:
    server.answers(pod(), pod({"port": 22, "proxyPort": open_port}))
    await client_of().pods.wait_until_ready(7, ports=[22])
    assert len(server.received) == 2


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://pods.example", "(its address is not known yet)"),
        ("https://", "(its address is not known yet)"),
        (None, "(its address is not known yet)"),
        ("https://pods.example:port", "at https://pods.example:port: (ValueError)"),
    ],
)
async def test_a_port_that_cannot_be_connected_to_is_named(
    server: RawServer, client_of: Make, url: str | None, problem: str
) -> None:
    server.answers(pod({"port": 80, "host": None, "ingressUrl": url}))
    with pytest.raises(WaitTimeoutError, match=re.escape(f"TCP does not reach port 80 {problem}")):
        await client_of().pods.wait_until_ready(7, timeout=10)


async def test_a_pod_without_ports_is_ready_when_it_runs(server: RawServer, client_of: Make) -> None:
    server.answers(pod())
    await client_of().pods.wait_until_ready(7)


async def test_ports_that_cannot_be_read_are_not_taken_for_ready(
    server: RawServer, client_of: Make, open_port: int
) -> None:
    odd = [{"port": 22, "proxyPort": open_port, "host": "127.0.0.1"}, "80"]
    server.answers(envelope({"id": 7, "status": "RUNNING", "expose": odd}))
    with pytest.raises(WaitTimeoutError, match="list of its ports cannot be read"):
        await client_of().pods.wait_until_ready(7, timeout=10)
    ready = await client_of().pods.wait_until_ready(7, ports=[22], timeout=10)
    assert ready.unreadable == ("expose",)
    with pytest.raises(WaitTimeoutError, match=r"port 80 \(its address is not known yet\)"):
        await client_of().pods.wait_until_ready(7, ports=[22, 80], timeout=10)


async def test_a_port_that_opens_later_is_tried_again(server: RawServer, client_of: Make, closed_port: int) -> None:
    server.answers(pod({"port": 22, "proxyPort": closed_port, "healthy": True}))
    clock = ManualClock()
    yotta = client_of(clock=clock, poll_interval=100)
    waiting = asyncio.create_task(yotta.pods.wait_until_ready(7))
    await clock.advance(10)
    assert not waiting.done()
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", closed_port):
        await clock.advance(2)
        assert (await waiting).id == "7"
    assert len(server.received) == 1, "connections are tried more often than the pod is polled"


@pytest.mark.parametrize(
    ("ports", "problem"),
    [
        ([], "it is INITIALIZE, not RUNNING"),
        ([{"port": 22, "proxyPort": 1, "healthy": False}, {"port": 80, "healthy": True}], "port 22 is not healthy"),
        ([{"port": 22, "healthy": False}, {"port": 80, "healthy": False}], "port 22, 80 is not healthy"),
        ([{"port": 22}, {"port": 80}], r"reach port 22 \(its .* yet\), 80 \(its"),
        (
            [{"port": 22, "proxyPort": 0, "healthy": True}],
            r"TCP does not reach port 22 \(its address is not known yet\)",
        ),
        (
            [{"port": 22, "proxyPort": "closed"}],
            r"TCP does not reach port 22 at 127.0.0.1:\d+ \(ConnectionRefusedError\)",
        ),
    ],
)
async def test_a_timeout_names_the_rung_and_the_port(
    server: RawServer, client_of: Make, closed_port: int, ports: list[dict[str, Any]], problem: str
) -> None:
    for port in ports:
        if port.get("proxyPort") == "closed":
            port["proxyPort"] = closed_port
    server.answers(pod(*ports, status="RUNNING" if ports else "INITIALIZE"))
    with pytest.raises(WaitTimeoutError, match=f"it was not ready within 60 s: .*{problem}") as caught:
        await client_of().pods.wait_until_ready(7, timeout=60)
    assert len(caught.value.history) == 1


async def test_a_port_that_is_not_exposed_is_problem_at_once(
    server: RawServer, client_of: Make, open_port: int
) -> None:
    server.answers(pod({"port": 22, "proxyPort": open_port}, {"port": 80}))
    with pytest.raises(PodFailedError, match="it exposes port 22, 80 and not 8888, 9999"):
        await client_of().pods.wait_until_ready(7, ports=[22, 8888, 9999])
    await client_of().pods.wait_until_ready(7, ports=[22, 22])


async def test_a_pod_that_fails_is_not_waited_for(server: RawServer, client_of: Make) -> None:
    server.answers(pod(status="INITIALIZE"), pod(status="FAILED"))
    with pytest.raises(PodFailedError, match="no capacity"):
        await client_of().pods.wait_until_ready(7)


@pytest.mark.parametrize("ports", [[-1], [65536], [True], ["22"], [None]])
async def test_a_port_that_cannot_be_is_refused(server: RawServer, client_of: Make, ports: Any) -> None:
    with pytest.raises(InvalidRequestError, match="port"):
        await client_of().pods.wait_until_ready(7, ports=ports)
