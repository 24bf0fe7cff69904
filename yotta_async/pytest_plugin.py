"""Fixtures for the tests of whoever uses yotta_async; pytest finds them by itself.

- `yotta_emulator`: an emulator of its own for each test, on the automatic clock, in a thread of its own, so that async
  tests (pytest-asyncio from 0.24 on, in either mode) and plain ones are served alike.
- `yotta_client`: a client of it, which an async test finds open, in its own loop. Plain tests use it in a loop of
  theirs: `asyncio.run(main(yotta_client))`, with `async with yotta_client` in there.
- `@pytest.mark.yotta(faults=[…], capacity={…}, …)`: the emulator's arguments, for one test, class or module; of several
  marks the nearest counts.
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

_LOOPS = "yotta_async_loops"
_LOOP_SCOPES = ("function", "class", "module", "package", "session")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, and the fixtures that need pytest-asyncio."""
    config.addinivalue_line("markers", "yotta(**options): the arguments of the test's emulator, such as faults=[…]")
    loops = ModuleType(_LOOPS)  # where pytest looks for fixtures
    vars(loops).update(_loop_fixtures())
    config.pluginmanager.register(loops, _LOOPS)


@pytest.fixture
def yotta_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """Serve an emulator for one test, on the automatic clock; `@pytest.mark.yotta(…)` says how."""
    from yotta_async.emulator import Emulator  # pytest loads this file in every run of everybody

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
    """Return a client of the test's emulator, which in an async test is closed at its end."""
    plugin = request.config.pluginmanager.get_plugin(_LOOPS)
    mark = request.node.get_closest_marker("asyncio")
    test = getattr(request.node, "obj", None)
    is_unittest = request.cls is not None and issubclass(request.cls, unittest.TestCase)
    if mark is None or not inspect.iscoroutinefunction(test) or is_unittest or not hasattr(plugin, "function"):
        return yotta_emulator.client()
    # It belongs to the loop of the test, which need not be the one that pytest-asyncio has for fixtures.
    usual = request.config.getini("asyncio_default_test_loop_scope") or "function"
    scope = mark.kwargs.get("loop_scope") or mark.kwargs.get("scope") or usual
    client: YottaClient = request.getfixturevalue(f"_yotta_client_in_{scope}_loop")
    return client


def _loop_fixtures() -> dict[str, Any]:
    """Return a fixture for each loop in which pytest-asyncio runs tests; none where it is missing or too old."""
    try:
        from pytest_asyncio import fixture

        return {scope: _open_in(fixture, scope) for scope in _LOOP_SCOPES}
    except (ImportError, TypeError):
        return {}


def _open_in(fixture: Callable[..., Any], scope: str) -> Any:
    async def opened(yotta_emulator: Emulator) -> AsyncIterator[YottaClient]:
        async with yotta_emulator.client() as client:
            yield client

    return fixture(opened, name=f"_yotta_client_in_{scope}_loop", loop_scope=scope)
