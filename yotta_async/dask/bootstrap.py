"""The program that runs in a worker's pod: it learns the pod's address from the cluster and runs a Dask worker.

Its text goes into the pod in an environment variable, so the image needs Dask and nothing else. Its settings are in
environment variables too; it removes them before any task or child process can see them.

A pod behind port mapping cannot know its own outside address. So it listens on its port, and the cluster, which finds
`host` and `proxyPort` in the API's response, connects there and sends the address. Every program can connect to that
port, so each side proves that it knows the pod's token without sending it:

    pod      greeting, nonce
    cluster  address, HMAC(token, "announce", nonce, address)
    pod      HMAC(token, "confirm", nonce, address)

Then the pod stops listening, and its worker takes the port over. This file is valid for Python 3.10.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

GREETING = "yotta-dask-1"
PREFIX = "YOTTA_DASK_"
HANDSHAKE_TIMEOUT_S = 10.0  # for one connection
MAX_LINE_BYTES = 2048


def sign(token: str, *words: str) -> str:
    """Return the HMAC of the words."""
    return hmac.new(token.encode(), " ".join(words).encode(), hashlib.sha256).hexdigest()


async def receive_address(token: str, host: str, port: int) -> str:
    """Listen until a client that knows the token sends the address to announce, and return it."""
    received: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handle_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce = os.urandom(16).hex()
        try:
            writer.write(f"{GREETING} {nonce}\n".encode())
            line = await asyncio.wait_for(reader.readline(), HANDSHAKE_TIMEOUT_S)
            address, _, signature = line.decode().strip().partition(" ")
            if hmac.compare_digest(signature.encode(), sign(token, "announce", nonce, address).encode()):
                writer.write(f"{sign(token, 'confirm', nonce, address)}\n".encode())
                await writer.drain()
                if not received.done():
                    received.set_result(address)
        except (OSError, ValueError, asyncio.TimeoutError):  # noqa: UP041  # another class before Python 3.11
            pass  # a port scan, or a client without the token
        finally:
            writer.close()

    server = await asyncio.start_server(handle_connection, host, port, limit=MAX_LINE_BYTES)
    try:
        return await received
    finally:
        server.close()


async def run_worker() -> None:
    """Run a worker until the scheduler ends it or has gone."""
    try:
        from distributed import Security, Worker  # here, because the cluster's process imports this file too
    except ImportError:
        sys.exit("this pod's image has no Dask: use an image that has it, or install it by initialization_command")
    settings = {
        name: os.environ.pop(PREFIX + name, "") for name in ("SCHEDULER", "NAME", "TOKEN", "PORT", "TLS", "OPTIONS")
    }
    os.environ.pop(f"{PREFIX}BOOTSTRAP", None)
    options: dict[str, Any] = json.loads(settings["OPTIONS"])
    options.setdefault("local_directory", str(Path.cwd()) if os.access(".", os.W_OK) else tempfile.gettempdir())
    if settings["TLS"]:
        options["security"] = Security(require_encryption=True, **json.loads(settings["TLS"]))
    options["protocol"] = "tls" if settings["TLS"] else "tcp"
    if settings["PORT"]:
        # The pods of an emulator share one host, so it assigns each of them another port.
        assigned = os.environ.get(f"YOTTA_PORT_{settings['PORT']}")
        options["host"] = "127.0.0.1" if assigned else "0.0.0.0"  # noqa: S104  # to be reached from outside
        options["port"] = int(assigned or settings["PORT"])
        options["contact_address"] = await receive_address(settings["TOKEN"], options["host"], options["port"])
    async with Worker(settings["SCHEDULER"], name=settings["NAME"], **options) as worker:
        await worker.finished()


if __name__ == "__main__":
    asyncio.run(run_worker())
