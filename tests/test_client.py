"""Settings, the way from outside a loop into one, and an end that leaves nothing open."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from tests.raw_server import RawServer, envelope, reset
from yotta_async import ConfigurationError, RetryPolicy, SessionPool, WaitTimeoutError, YottaClient
from yotta_async.emulator import Emulator, Timings
from yotta_async.emulator.clock import ClockKind


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "http://127.0.0.1.example.com", "http://localhost.example.com", "ftp://example.com", "example.com",
     "https://", "https:///x", "", "https://user@example.com", "https://user:pw@example.com", "https://:pw@example.com",
     "https://@example.com", "https://example.com?a=b", "https://example.com/?", "https://example.com#", "https://exa mple.com",
     "https://example.com\n", "https://example.com\\@evil.com", "https://example.com:0", "https://example.com:99999",
     "https://example.com:x", "https://x][%@", "https://a][%", "http://0.0.0.0", "http://10.0.0.1", 5, b"https://example.com"],
)  # fmt: skip
def test_a_base_url_that_is_not_safe_is_refused(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        YottaClient(KEY, base_url=url)


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "https://example.com/", "https://example.com:8443/a/b/", "http://127.0.0.1:80", "http://127.9.9.9",
     "http://localhost:1", "http://[::1]:5", "HTTPS://EXAMPLE.com"],
)  # fmt: skip
def test_a_base_url_that_is_safe_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    YottaClient(KEY, base_url=url)
    monkeypatch.setenv("YOTTA_BASE_URL", url)
    YottaClient(KEY)


def test_the_environment_is_read_where_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOTTA_BASE_URL", "http://example.com")
    with pytest.raises(ConfigurationError, match="https"):
        YottaClient(KEY)
    YottaClient(KEY, base_url="https://example.com")
    monkeypatch.setenv("YOTTA_BASE_URL", "")
    YottaClient(KEY)


@pytest.mark.parametrize("environment", [None, ""])
@pytest.mark.parametrize("given", [None, ""])
def test_a_missing_key_is_an_error_that_says_where_it_goes(
    monkeypatch: pytest.MonkeyPatch, environment: str | None, given: str | None
) -> None:
    if environment is not None:
        monkeypatch.setenv("YOTTA_API_KEY", environment)
    with pytest.raises(ConfigurationError, match="YOTTA_API_KEY.*Emulator"):
        YottaClient(given)


async def test_the_key_of_the_environment_is_used(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOTTA_API_KEY", "from-outside")
    monkeypatch.setenv("YOTTA_BASE_URL", server.url)
    server.answers(envelope([]))
    async with YottaClient() as yotta:
        await yotta.pods.list()
    assert server.received[0].headers["x-api-key"] == "from-outside"


@pytest.mark.parametrize(
    ("option", "value"),
    [("timeout", 0), ("timeout", float("inf")), ("timeout", float("nan")), ("timeout", True), ("timeout", "30"),
     ("timeout", None), ("timeout", 10**400), ("poll_interval", 0), ("retry", 4), ("session_pool", "pool"), ("client_token", "mine"),
     ("api_key", 5), ("api_key", b"key"), ("api_key", "key\n")],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=option):
        YottaClient(**{"api_key": KEY, option: value})


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "5", None])
def test_a_pool_needs_room(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit"):
        SessionPool(limit=limit)


async def test_a_pool_bounds_its_connections(server: RawServer) -> None:
    server.answers(envelope({"id": 7}))
    async with (
        SessionPool(limit=3) as pool,
        YottaClient(KEY, base_url=server.url, session_pool=pool) as yotta,
    ):
        await asyncio.gather(*(yotta.pods.get(7) for _ in range(30)))
    assert server.connections <= 3


async def test_entering_a_closed_client_says_so() -> None:
    yotta = YottaClient(KEY)
    await yotta.aclose()
    await yotta.aclose()
    with pytest.raises(ConfigurationError, match="YottaClient is closed"):
        await yotta.__aenter__()
    with pytest.raises(ConfigurationError, match="closed"):
        await yotta.pods.create(image="a", gpu_type="b")


def test_a_client_can_be_made_outside_of_a_loop() -> None:
    yotta = YottaClient(KEY)

    async def use() -> None:
        async with Emulator() as emulator:
            outside = YottaClient(emulator.api_key, base_url=emulator.url)
            async with yotta, outside:
                assert await outside.pods.list() == []

    asyncio.run(use())


async def test_an_exception_in_the_block_closes_the_client(server: RawServer) -> None:
    server.answers(envelope([]))
    with pytest.raises(KeyError):
        async with YottaClient(KEY, base_url=server.url) as yotta:
            await yotta.pods.list()
            raise KeyError
    with pytest.raises(ConfigurationError):
        await yotta.pods.list()


# What happens to a process is seen from outside: warnings of collected objects go to its stderr.
ENDS = {
    "closed": "async with YottaClient('key', base_url=url) as yotta:\n    await yotta.pods.list()",
    "failed": "async with YottaClient('key', base_url=url) as yotta:\n    await yotta.pods.list()\n    1 / 0",
    "never closed": "yotta = YottaClient('key', base_url=url)\nawait yotta.pods.list()",
    "never used": "yotta = YottaClient('key', base_url=url)",
    "refused": "await YottaClient('key', base_url=url, retry=RetryPolicy(max_attempts=1)).pods.get(7)",
    "cancelled": "yotta = YottaClient('key', base_url=url)\n"
    "async with asyncio.timeout(0.05):\n    async with yotta:\n        await yotta.pods.wait_until(handle.id)",
    "pool never closed": "pool = SessionPool()\nasync with YottaClient('key', base_url=url, session_pool=pool) as yotta:\n"
    "    await yotta.pods.list()",
}


@pytest.mark.parametrize("end", ENDS)
def test_only_what_was_not_closed_is_reported_as_unclosed(end: str) -> None:
    program = textwrap.dedent("""
        import asyncio, gc
        from yotta_async import *
        from yotta_async.emulator import Emulator, Timings
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not what this is about
            async with Emulator(api_key='key', timings=Timings(initialize=99)) as emulator:
                url = emulator.url
                async with emulator.client() as other:
                    handle = await other.pods.create(image='a', gpu_type='b')
                try:
                    await use(url, handle)
                except (ZeroDivisionError, TimeoutError, NotFoundError):
                    pass
                gc.collect()
                await asyncio.sleep(0.01)
        async def use(url, handle):
    """) + textwrap.indent(ENDS[end], " " * 4)
    program += "\nasyncio.run(main())\n"
    options = ["-X", "dev", "-W", "always"]
    done = subprocess.run(
        [sys.executable, *options, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    if end in ("never closed", "refused"):
        assert "ResourceWarning: Unclosed client session" in done.stderr
    elif end == "pool never closed":
        assert "ResourceWarning: Unclosed connector" in done.stderr
    else:
        assert done.stderr == ""


async def test_a_closed_client_leaves_no_task_and_no_connection(server: RawServer) -> None:
    before = asyncio.all_tasks()
    server.answers(reset, envelope(1), envelope([]))
    async with YottaClient(KEY, base_url=server.url, retry=RetryPolicy(backoff_base=0.001)) as yotta:
        await yotta.pods.list()
    gc.collect()
    await asyncio.sleep(0)
    ours = [task for task in asyncio.all_tasks() - before if "yotta_async" in repr(task.get_coro())]
    assert ours == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("clock", ["real", "auto"])
async def test_it_works_in_a_loop_whose_tasks_begin_at_once(clock: ClockKind) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]  # see above
    try:
        timings = Timings(initialize=0.1, pausing=0.1, terminating=0.1)
        async with Emulator(clock=clock, timings=timings) as emulator:
            async with emulator.client(requests_per_second=200, poll_interval=0.05) as yotta:
                pods = [await yotta.pods.create(**SPEC) for _ in range(3)]
                with pytest.raises(WaitTimeoutError):
                    await pods[0].wait_until(status="PAUSED", timeout=1e-6)
                await asyncio.gather(*(pod.wait_until() for pod in pods))
                await yotta.pods.delete_many(pods)
                async with yotta.pods.ephemeral(**SPEC):
                    pass
            emulator.faults.add(kind="status", http_status=429, code=1, message="slowly", times=1)
            async with emulator.client() as yotta:
                report = await yotta.pods.create_many([SPEC] * 5, until="RUNNING")
                assert len(report.succeeded) == 5
            with pytest.raises(ConfigurationError):
                await yotta.pods.wait_until("1")
    finally:
        loop.set_task_factory(None)
