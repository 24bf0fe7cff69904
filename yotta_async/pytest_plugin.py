"""Fixtures for tests of programs that use yotta_async; pytest loads them by entry point.

- `yotta_emulator`: a new emulator for each test, on the automatic clock. It runs in a thread, so that it serves async
  tests (pytest-asyncio 0.24 or later, in either mode) and plain tests.
- `yotta_client`: a client of it, which is open in an async test, in the test's loop. A plain test opens it itself:
  `asyncio.run(main(yotta_client))`, with `async with yotta_client` in `main`.
- `@pytest.mark.yotta(faults=[…], capacity={…}, …)`: the emulator's arguments, for one test, class or module; of several
  markers the nearest counts for each argument.
"""

from __future__ import annotations

import inspect
import unittest
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from yotta_async import YottaClient
    from yotta_async.emulator import Emulator

_LOOP_PLUGIN = "yotta_async_loops"
_LOOP_SCOPES = ("function", "class", "module", "package", "session")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the fixtures that need pytest-asyncio. pytest calls this."""
    config.addinivalue_line("markers", "yotta(**options): the arguments of the test's emulator, such as faults=[…]")
    plugin = ModuleType(_LOOP_PLUGIN)  # pytest collects fixtures from modules
    vars(plugin).update(_build_loop_fixtures())
    config.pluginmanager.register(plugin, _LOOP_PLUGIN)


@pytest.fixture
def yotta_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """Serve an emulator for one test, on the automatic clock, with the arguments of `@pytest.mark.yotta(…)`.

    Yields:
        The emulator, started.

    Raises:
        pytest.UsageError: an argument of the marker has no name, or is wrong.

    """
    from yotta_async.emulator import Emulator  # not above: pytest loads this module in every run

    options: dict[str, Any] = {"clock": "auto"}
    for mark in reversed([*request.node.iter_markers("yotta")]):
        if mark.args:
            raise pytest.UsageError("pytest.mark.yotta takes the emulator's arguments by their names")
        options |= mark.kwargs
    try:
        emulator = Emulator(**options)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"pytest.mark.yotta: {error}") from None
    with emulator:
        yield emulator


@pytest.fixture
def yotta_client(request: pytest.FixtureRequest, yotta_emulator: Emulator) -> YottaClient:
    """Make a client of the test's emulator.

    Returns:
        The client. It is open in an async test, and closed when the test ends; a plain test opens it itself.

    """
    plugin = request.config.pluginmanager.get_plugin(_LOOP_PLUGIN)
    mark = request.node.get_closest_marker("asyncio")
    test = getattr(request.node, "obj", None)
    is_unittest = request.cls is not None and issubclass(request.cls, unittest.TestCase)
    if mark is None or not inspect.iscoroutinefunction(test) or is_unittest or not hasattr(plugin, "function"):
        return yotta_emulator.client()
    # The client must open in the loop of the test, which may not be pytest-asyncio's default loop for fixtures.
    default = request.config.getini("asyncio_default_test_loop_scope") or "function"
    scope = mark.kwargs.get("loop_scope") or mark.kwargs.get("scope") or default
    client: YottaClient = request.getfixturevalue(f"_yotta_client_in_{scope}_loop")
    return client


def _build_loop_fixtures() -> dict[str, Any]:
    """Return a client fixture for each loop scope of pytest-asyncio; none if that is missing or too old."""
    try:
        from pytest_asyncio import fixture

        return {scope: _build_fixture(fixture, scope) for scope in _LOOP_SCOPES}
    except (ImportError, TypeError):
        return {}


def _build_fixture(fixture: Callable[..., Any], scope: str) -> Any:
    async def open_client(yotta_emulator: Emulator) -> AsyncIterator[YottaClient]:
        async with yotta_emulator.client() as client:
            yield client

    return fixture(open_client, name=f"_yotta_client_in_{scope}_loop", loop_scope=scope)
