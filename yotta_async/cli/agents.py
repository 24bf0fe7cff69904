"""`yotta-async mcp`: the tools for agents, over stdio or over HTTP on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from yotta_async.cli.exits import DONE, INTERRUPTED
from yotta_async.cli.settings import Settings, client

if TYPE_CHECKING:
    from yotta_async.agents.mcp_server import ToolServer

# A create whose outcome is unknown is looked for during this time: hosts give a tool a minute, and pod_resolve looks
# again.
_SETTLE_TIMEOUT_S = 15.0
_READER_TIMEOUT_S = 0.5  # for the thread that reads stdin, once the session has ended
_END_TIMEOUT_S = 120.0  # for creates in flight and deletes, after the host has gone


async def serve(settings: Settings, http: tuple[str, int] | None, token: str | None, options: dict[str, Any]) -> int:
    """Serve until the client goes, or until Ctrl-C."""
    try:
        from yotta_async.agents.mcp_http import serve_http
        from yotta_async.agents.mcp_server import server_for
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "pydantic", "anyio", "uvicorn"):
            raise
        raise click.ClickException(
            f"this command needs the package {error.name}: pip install 'yotta-async[mcp]'"
        ) from None
    ended = asyncio.Event()
    server = server_for(lambda: client(settings, settle_timeout=_SETTLE_TIMEOUT_S), on_end=ended.set, **options)
    if http is not None:
        await serve_http(server, *http, token)
        return DONE
    return await _serve_stdio(server, ended)


async def _serve_stdio(server: ToolServer, ended: asyncio.Event) -> int:
    """Serve until the host closes stdin or stdout, or ends this process; `ended` is set at the end of the session."""
    serving = asyncio.ensure_future(server.run_stdio_async())
    stopped = asyncio.Event()
    if sys.platform != "win32":
        # Hosts send SIGTERM to servers that do not end by themselves: the session ends as it does without.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    waits = [asyncio.ensure_future(event.wait()) for event in (ended, stopped)]
    code = DONE
    try:
        await asyncio.wait({serving, *waits}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.is_set():
            code = 128 + signal.SIGTERM
    except asyncio.CancelledError:
        code = INTERRUPTED
    if code == DONE:
        await asyncio.wait({serving}, timeout=_READER_TIMEOUT_S)
    if serving.done():
        for wait in waits:
            wait.cancel()
        try:
            await serving
        except* (BrokenPipeError, ConnectionResetError):
            pass  # the host has closed stdout
        return DONE
    serving.cancel()
    await asyncio.wait_for(ended.wait(), _END_TIMEOUT_S)
    # A thread of the mcp package still reads stdin, and an ordinary exit would wait for it.
    sys.stderr.flush()
    os._exit(code)
