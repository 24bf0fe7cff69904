"""Fixtures for the tests of whoever uses yotta_async; pytest finds them by itself.

- `yotta_emulator`: an emulator of its own for each test, on the automatic clock, in a thread of its own, so that async
  tests (pytest-asyncio in either mode, anyio) and plain ones are served alike.
- `yotta_client`: a client of it. Plain tests use it inside their own loop: `asyncio.run(main(yotta_client))`, with
  `async with yotta_client` in there.
- `@pytest.mark.yotta(faults=[…], capacity={…}, …)`: the emulator's arguments, for one test, class or module; the
  nearest mark says last what each of them is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from yotta_async import YottaClient
    from yotta_async.emulator import Emulator

_fixture: Callable[..., Any]
try:
    # Its own decorator, which its strict mode asks for; where it is missing, anyio and others take pytest's.
    from pytest_asyncio import fixture as _fixture
except ImportError:
    _fixture = pytest.fixture


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "yotta(**options): the arguments of the test's emulator, such as faults=[…]")


@pytest.fixture
def yotta_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """Serve an emulator for one test, on the automatic clock; `@pytest.mark.yotta(…)` says how."""
    from yotta_async.emulator import Emulator  # pytest loads this file in every run of everybody

    options: dict[str, Any] = {"clock": "auto"}
    for mark in reversed([*request.node.iter_markers("yotta")]):
        if mark.args:
            raise pytest.UsageError("pytest.mark.yotta takes the emulator's arguments by their names")
        options |= mark.kwargs
    with Emulator(**options) as emulator:
        yield emulator


@pytest.fixture
def yotta_client(request: pytest.FixtureRequest, yotta_emulator: Emulator) -> YottaClient:
    """Return a client of the test's emulator, which in an async test is closed at its end."""
    if asyncio.iscoroutinefunction(getattr(request.node, "obj", None)):
        client: YottaClient = request.getfixturevalue("_yotta_client_in_loop")
        return client
    return yotta_emulator.client()


@_fixture
async def _yotta_client_in_loop(yotta_emulator: Emulator) -> AsyncIterator[YottaClient]:
    async with yotta_emulator.client() as client:
        yield client
