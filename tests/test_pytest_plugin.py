"""The fixtures in a user's project, in every mode in which pytest runs tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import PYTEST_OPTIONS

ASYNC = """
import asyncio, pytest
from yotta_async import PodStatus, WaitTimeoutError

SPEC = {"image": "ubuntu:24.04", "gpu_type": "NVIDIA_L4_24G"}

@pytest.mark.parametrize("number", range(10))
@pytest.mark.asyncio
async def test_each_has_its_own(yotta_client, yotta_emulator, number):
    handle = await yotta_client.pods.create(**SPEC)
    await handle.wait_until(status=PodStatus.RUNNING)
    assert [pod.id for pod in await yotta_client.pods.list()] == [handle.id]

@pytest.mark.asyncio
@pytest.mark.yotta(faults=[{"kind": "stuck"}, {"kind": "answer_lost_after_commit", "on": "create", "nth": 1}])
async def test_an_hour(yotta_client, yotta_emulator):
    handle = await yotta_client.pods.create(**SPEC)
    with pytest.raises(WaitTimeoutError):
        await handle.wait_until(timeout=3600, poll_interval=60)
    assert yotta_emulator.clock.time() >= 3600

@pytest.mark.asyncio(loop_scope="module")
async def test_in_a_loop_that_lasts(yotta_client):
    assert await yotta_client.pods.list() == []

@pytest.mark.yotta(capacity={"NVIDIA_L4_24G": 1})
class TestMarkedClass:
    @pytest.mark.asyncio
    async def test_scarce(self, yotta_client):
        report = await yotta_client.pods.create_many([SPEC] * 2, until="RUNNING")
        assert len(report.succeeded) == 1

    @pytest.mark.asyncio
    @pytest.mark.yotta(capacity={"NVIDIA_L4_24G": 2})
    async def test_the_nearest_mark_counts(self, yotta_client):
        report = await yotta_client.pods.create_many([SPEC] * 2, until="RUNNING")
        assert len(report.succeeded) == 2
"""
SYNC = """
import asyncio, json, threading, unittest, urllib.request, pytest

SPEC = {"image": "ubuntu:24.04", "gpu_type": "NVIDIA_L4_24G"}

async def wait(client):
    async with client as yotta:
        handle = await yotta.pods.create(**SPEC)
        return (await handle.wait_until(timeout=3600)).status

@pytest.mark.parametrize("number", range(5))
def test_in_its_own_loop(yotta_client, number):
    assert asyncio.run(wait(yotta_client)) == "RUNNING"

def test_in_several_threads(yotta_emulator):
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(asyncio.run(wait(yotta_emulator.client())))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert statuses == ["RUNNING"] * 4

def test_by_any_client(yotta_emulator):
    request = urllib.request.Request(yotta_emulator.url + "/openapi/v1/pods/list", headers={"x-api-key": yotta_emulator.api_key})
    with urllib.request.urlopen(request) as response:
        assert json.load(response)["data"] == []

class TestCase(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def clients(self, yotta_client):
        self.client = yotta_client

    async def test_it(self):
        self.assertEqual(await wait(self.client), "RUNNING")
"""
WRONG = """
import pytest

@pytest.mark.yotta(bogus=1)
def test_no_such_argument(yotta_emulator): ...

@pytest.mark.yotta(faults={"kind": "stuck"})
def test_no_list(yotta_emulator): ...

@pytest.mark.yotta([{"kind": "stuck"}])
def test_no_name(yotta_emulator): ...
"""
OPTIONS = (*PYTEST_OPTIONS, "-W", "error")


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_async_tests(pytester: pytest.Pytester, mode: str) -> None:
    pytester.makepyfile(ASYNC)
    pytester.runpytest_subprocess(*OPTIONS, "-o", f"asyncio_mode={mode}").assert_outcomes(passed=14)


def test_async_tests_in_a_session_loop(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ASYNC)
    scope = "asyncio_default_test_loop_scope=session"
    pytester.runpytest_subprocess(*OPTIONS, "-o", scope, "-k", "own or hour").assert_outcomes(passed=11, deselected=3)


@pytest.mark.parametrize("others", [(), ("-p", "no:asyncio")])
def test_plain_tests(pytester: pytest.Pytester, others: tuple[str, ...]) -> None:
    pytester.makepyfile(SYNC)
    options = [option for option in OPTIONS if not (others and "asyncio" in option)]
    options = [option for place, option in enumerate(options) if option != "-o" or "=" in options[place + 1]]
    pytester.runpytest_subprocess(*options, *others).assert_outcomes(passed=8)


def test_invalid_marker_is_explained(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(WRONG)
    result = pytester.runpytest_subprocess(*OPTIONS)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        ["*pytest.mark.yotta: *bogus*", "*pytest.mark.yotta: faults must be a list*", "*by their names*"]
    )


def test_plugin_imports_nothing_slow() -> None:
    script = (
        "import sys, yotta_async.pytest_plugin; print([name for name in ('aiohttp', 'msgspec') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
