"""Fixtures: the emulator on the clock that moves by itself, a client of it, and a server that misbehaves on order."""

from __future__ import annotations

import gc
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.pod_server import PodServer, pod_server
from tests.raw_server import RawServer, raw_server
from yotta_async import YottaClient
from yotta_async.emulator import Emulator
from yotta_async.emulator.clock import make_clock

KEY = "key-that-must-not-show"
SPEC: dict[str, Any] = {"image": "ubuntu:24.04", "gpu_type": "NVIDIA_L4_24G"}
# For a pytest that a test starts: plugins that none of these tests uses, and that take seconds to import, stay out.
PYTEST_OPTIONS = [
    *("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:langsmith_plugin", "-p", "no:schemathesis"),
    *("-p", "no:looptime_plugin", "-p", "no:looptime_chronometers", "-p", "no:looptime_timeproxies"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),  # pytest-asyncio 1.x warns without it
]

# The same examples in every run, and no limit of time for one of them.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


def pytest_collection_finish() -> None:
    """Take what is imported out of garbage collections: many tests collect, to see what is left uncollected."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_run(request: pytest.FixtureRequest) -> None:
    """Jitter and backoff are drawn from the module's generator."""
    random.seed(request.node.nodeid)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that are marked `both_versions`, also by their module, against both versions of the API."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "both_versions" in marks and "one_version" not in marks:
        metafunc.parametrize("api_version", ["v1", "v2"])


@pytest.fixture
def api_version() -> str:
    """Return the version of the API that every client of the test speaks, unless it says otherwise."""
    return "v1"


@pytest.fixture(autouse=True, scope="session")
def _processes_end_by_signals() -> Iterator[None]:
    """Let signals end the processes that tests start.

    Under nohup, or in the background of a script, pytest ignores some signals, and its children would inherit that.
    """
    handlers: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler}
    if sys.platform != "win32":
        handlers[signal.SIGHUP] = signal.SIG_DFL
    ignored = [number for number in handlers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, handlers[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, api_version: str) -> None:
    for name in ("YOTTA_API_KEY", "YOTTA_BASE_URL", "YOTTA_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("YOTTA_API_VERSION", api_version)


@pytest.fixture(scope="session")
def no_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for settings that has no config file."""
    return tmp_path_factory.mktemp("config")


@pytest.fixture(autouse=True)
def _no_profiles_from_outside(monkeypatch: pytest.MonkeyPatch, no_config: Path) -> None:
    monkeypatch.delenv("YOTTA_PROFILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(no_config))


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(clock="auto") as emulator:
        yield emulator


@pytest.fixture
async def yotta(emulator: Emulator) -> AsyncIterator[YottaClient]:
    async with emulator.client() as yotta:
        yield yotta


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with raw_server() as server:
        yield server


@pytest.fixture
async def api() -> AsyncIterator[PodServer]:
    async with pod_server() as api:
        yield api


@pytest.fixture
async def client_of(server: RawServer) -> AsyncIterator[Callable[..., YottaClient]]:
    """Return a function that makes clients of the raw server, whose pauses take no time."""
    made: list[YottaClient] = []

    def make(**options: Any) -> YottaClient:
        made.append(YottaClient(KEY, base_url=server.url, **{"clock": make_clock("auto"), **options}))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()
