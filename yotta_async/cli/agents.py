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

# Seconds that a create in doubt is looked for; hosts give a tool a minute, and pod_resolve looks again.
_SETTLE = 15.0
_LONGEST_END = 120.0  # seconds for creates in flight to settle, and for deletes


async def serve(settings: Settings, http: tuple[str, int] | None, options: dict[str, Any]) -> int:
    """Serve until the client goes, or until Ctrl-C."""
    try:
        from yotta_async.agents.mcp_server import server_for
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "pydantic"):
            raise
        raise click.ClickException(
            f"this command needs the package {error.name}: pip install 'yotta-async[mcp]'"
        ) from None
    over = asyncio.Event()
    server = server_for(lambda: client(settings, settle_timeout=_SETTLE), on_end=over.set, **options)
    if http is not None:
        await server.run_streamable_http_async(host=http[0].strip("[]"), port=http[1])
        return DONE
    serving = asyncio.ensure_future(server.run_stdio_async())
    ending = asyncio.Event()
    if sys.platform != "win32":
        # Whoever starts MCP servers ends them so when they do not go by themselves: the session ends as it should.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    asked = asyncio.ensure_future(ending.wait())
    code = 128 + signal.SIGTERM
    try:
        await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        code = INTERRUPTED
    if serving.done():
        asked.cancel()
        await serving
        return DONE
    serving.cancel()
    await asyncio.wait_for(over.wait(), _LONGEST_END)
    # A thread of the mcp package still reads stdin, and nothing can wake it: an ordinary exit would wait for it.
    sys.stderr.flush()
    os._exit(code)
