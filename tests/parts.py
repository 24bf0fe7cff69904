"""Parts of a client by themselves, for the tests of one part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.conftest import KEY
from yotta_async import RetryPolicy, SessionPool
from yotta_async.api.endpoints import Endpoints
from yotta_async.api.versions import read_api_version
from yotta_async.emulator.clock import make_clock
from yotta_async.support.secrets import Secret
from yotta_async.transport.retry import Retrier
from yotta_async.transport.settings import read_base_url
from yotta_async.transport.transport import Transport


@asynccontextmanager
async def open_transport(url: str, key: str = KEY, **options: Any) -> AsyncIterator[Transport]:
    """Yield a transport to a server, as a client makes it."""
    async with SessionPool() as pool:
        defaults: dict[str, Any] = {"timeout": 60, "pool": pool, "clock": make_clock("auto")}
        transport = Transport(base_url=read_base_url(Secret(url)), key=Secret(key), **defaults | options)
        try:
            yield transport
        finally:
            await transport.aclose()


@asynccontextmanager
async def open_endpoints(
    url: str, key: str = KEY, *, retry: RetryPolicy | None = None, **options: Any
) -> AsyncIterator[Endpoints]:
    """Yield the endpoints of a server, without retries unless they are given; options are the transport's."""
    async with open_transport(url, key, **options) as transport:
        retrier = Retrier(retry or RetryPolicy(max_attempts=1), options.get("clock") or make_clock("auto"))
        yield Endpoints(transport, retrier, read_api_version(None))


async def list_poller_tasks() -> list[asyncio.Task[Any]]:
    """Return the tasks of pollers that are left after a few iterations of the event loop."""
    for _ in range(5):
        await asyncio.sleep(0)
    return [task for task in asyncio.all_tasks() if "StatusPoller" in repr(task.get_coro())]
