"""`yotta-async mcp`: the tools for agents, over stdio or over HTTP on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import click

from yotta_async.cli.exits import DONE, INTERRUPTED
from yotta_async.cli.settings import Settings, client


async def serve(settings: Settings, http: tuple[str, int] | None, options: dict[str, Any]) -> int:
    """Serve until the client goes, or until Ctrl-C."""
    try:
        from yotta_async.mcp_server import server_for
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "pydantic"):
            raise
        raise click.ClickException(
            f"this command needs the package {error.name}: pip install 'yotta-async[mcp]'"
        ) from None
    client(settings)  # a wrong key or host is told now, and not to a model
    server = server_for(lambda: client(settings), **options)
    if http is not None:
        await server.run_streamable_http_async(host=http[0].strip("[]"), port=http[1])
        return DONE
    serving = asyncio.ensure_future(server.run_stdio_async())
    terminated: list[bool] = []

    def terminate() -> None:
        terminated.append(True)
        serving.cancel()

    if sys.platform != "win32":
        # Whoever starts MCP servers ends them so when they do not go by themselves: the session ends as it should.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        await serving
    except asyncio.CancelledError:
        # The session has ended as it should. A thread of the mcp package still reads stdin, and nothing can wake it:
        # an ordinary exit would wait for it.
        sys.stderr.flush()
        os._exit(128 + signal.SIGTERM if terminated else INTERRUPTED)
    return DONE
