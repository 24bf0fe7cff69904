"""The cluster's side of the handshake with a worker's pod; `bootstrap` describes it and has the other side."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress

from yotta_async.dask.bootstrap import GREETING, MAX_LINE_BYTES, sign


class HandshakeError(Exception):
    """The peer is not the pod's bootstrap program."""


async def send_address(host: str, port: int, *, token: str, address: str, timeout: float) -> None:
    """Send the pod behind `host`:`port` the address that its worker announces.

    Raises OSError or TimeoutError if nothing answers within `timeout` seconds, HandshakeError if another program does.
    """
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(host, port, limit=MAX_LINE_BYTES)
        try:
            greeting, _, nonce = (await _read_line(reader)).partition(" ")
            if greeting != GREETING:
                raise HandshakeError(f"the program at {host}:{port} is not a worker's pod that waits for its address")
            writer.write(f"{address} {sign(token, 'announce', nonce, address)}\n".encode())
            signature = await _read_line(reader)
            if not hmac.compare_digest(signature.encode(), sign(token, "confirm", nonce, address).encode()):
                raise HandshakeError(f"the program at {host}:{port} does not know the pod's token")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _read_line(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readline()).decode().strip()
    except ValueError as error:  # too long, or not UTF-8
        raise HandshakeError("the peer did not send a line of text") from error
