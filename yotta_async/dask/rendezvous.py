"""Telling a worker's pod at which address it is reached; how, and why so, is in `bootstrap`."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress

from yotta_async.dask.bootstrap import GREETING, LONGEST_LINE, signed


class NotMetError(Exception):
    """Who answered is not the pod's bootstrap, or not any more."""


async def tell(host: str, port: int, *, token: str, address: str, timeout: float) -> None:
    """Tell the pod behind `host`:`port` to announce `address`.

    Raises OSError or TimeoutError when nobody answers there in `timeout` seconds, NotMetError when it is somebody else.
    """
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(host, port, limit=LONGEST_LINE)
        try:
            greeting, _, nonce = (await _line(reader)).partition(" ")
            if greeting != GREETING:
                raise NotMetError(f"what listens at {host}:{port} is not a worker's pod that waits for its address")
            writer.write(f"{address} {signed(token, 'announce', nonce, address)}\n".encode())
            if not hmac.compare_digest((await _line(reader)).encode(), signed(token, "heard", nonce, address).encode()):
                raise NotMetError(f"what listens at {host}:{port} does not know the pod's token")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readline()).decode().strip()
    except ValueError as error:  # a line without end, or not text
        raise NotMetError("what it says is not a line of text") from error
