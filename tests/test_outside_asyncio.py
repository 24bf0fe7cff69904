"""Outside asyncio, as under trio: every call says so, and leaves no coroutine that was never awaited."""

from __future__ import annotations

import gc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY, SPEC
from yotta_async import ConfigurationError, SessionPool, YottaClient

CALLS: dict[str, Callable[[YottaClient], Coroutine[Any, Any, Any]]] = {
    "get": lambda yotta: yotta.pods.get(7),
    "list": lambda yotta: yotta.pods.list(),
    "create": lambda yotta: yotta.pods.create(**SPEC),
    "pause": lambda yotta: yotta.pods.pause(7),
    "delete": lambda yotta: yotta.pods.delete(7),
    "wait_until": lambda yotta: yotta.pods.wait_until(7),
    "wait_until_ready": lambda yotta: yotta.pods.wait_until_ready(7),
    "drive": lambda yotta: yotta.pods.drive(7, to="RUNNING"),
    "ephemeral": lambda yotta: yotta.pods.ephemeral(**SPEC).__aenter__(),
    "create_many": lambda yotta: yotta.pods.create_many([SPEC] * 3),
    "wait_many": lambda yotta: yotta.pods.wait_many([7, 8]),
    "delete_many": lambda yotta: yotta.pods.delete_many([7, 8]),
    "plan": lambda yotta: yotta.pods.plan([SPEC]),
    "sweep": lambda yotta: yotta.pods.sweep(match="*"),
    "reap": lambda yotta: yotta.pods.reap(),
    "aclose": lambda yotta: yotta.aclose(),
    "async with": lambda yotta: yotta.__aenter__(),
    "async with a pool": lambda _: SessionPool().__aenter__(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_outside_asyncio_is_a_configuration_error(call: str, tmp_path: Path) -> None:
    yotta = YottaClient(KEY, journal=tmp_path)
    with pytest.raises(ConfigurationError, match=r"event loop of asyncio"):
        CALLS[call](yotta).send(None)  # what another library's loop does first
    gc.collect()  # a coroutine that was never awaited is a warning, and so a failure of this test


@pytest.mark.parametrize(
    "thing",
    [YottaClient(KEY), SessionPool(), YottaClient(KEY).pods.ephemeral(**SPEC)],
    ids=lambda each: type(each).__name__,
)
def test_with_instead_of_async_with_is_a_clear_error(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match="async with"), thing:
        pass
