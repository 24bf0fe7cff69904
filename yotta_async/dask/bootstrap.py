"""What runs in a worker's pod: learn the address to announce, if need be, and be a Dask worker. A program by itself.

Its text goes into the pod in an environment variable, so that the image needs Dask and nothing else; all that it is to
know is in variables too, which are taken out of its environment before a task or a child of one sees it.

A pod behind port mapping cannot know the address that it is reached at. So it listens on its port, and the cluster, who
finds `host` and `proxyPort` in the API's answer, connects there and tells. Everybody can connect to that port; so
either side proves that it knows the pod's token, without saying it:

    pod      greeting, nonce
    cluster  address, HMAC(token, "announce", nonce, address)
    pod      HMAC(token, "heard", nonce, address)

Then the pod listens no more, and its worker takes the port over.
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
# How long somebody who connects may take to say something, and how much of it is read.
PATIENCE = 10.0
LONGEST_LINE = 2048


def signed(token: str, *words: str) -> str:
    """Return what only who knows the token can say of these words."""
    return hmac.new(token.encode(), " ".join(words).encode(), hashlib.sha256).hexdigest()


async def told(token: str, host: str, port: int) -> str:
    """Listen until somebody who knows the token has said which address to announce, and return it."""
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce = os.urandom(16).hex()
        try:
            writer.write(f"{GREETING} {nonce}\n".encode())
            line = await asyncio.wait_for(reader.readline(), PATIENCE)
            address, _, proof = line.decode().strip().partition(" ")
            if hmac.compare_digest(proof.encode(), signed(token, "announce", nonce, address).encode()):
                writer.write(f"{signed(token, 'heard', nonce, address)}\n".encode())
                await writer.drain()
                if not heard.done():
                    heard.set_result(address)
        except (OSError, ValueError, asyncio.TimeoutError):  # noqa: UP041  # the pod's Python may be older than ours
            pass  # a probe, or a stranger
        finally:
            writer.close()

    server = await asyncio.start_server(meet, host, port, limit=LONGEST_LINE)
    try:
        return await heard
    finally:
        server.close()


async def work() -> None:
    """Be a worker until the scheduler ends it, or is not there any more."""
    try:
        from distributed import Security, Worker  # here, as the cluster's side imports this file for its words
    except ImportError:
        sys.exit("this pod's image has no Dask: choose one that has, or let its initialization_command install it")
    given = {
        name: os.environ.pop(PREFIX + name, "") for name in ("SCHEDULER", "NAME", "TOKEN", "PORT", "TLS", "OPTIONS")
    }
    os.environ.pop(f"{PREFIX}BOOTSTRAP", None)
    options: dict[str, Any] = json.loads(given["OPTIONS"])
    options.setdefault("local_directory", str(Path.cwd()) if os.access(".", os.W_OK) else tempfile.gettempdir())
    if given["TLS"]:
        options["security"] = Security(require_encryption=True, **json.loads(given["TLS"]))
    options["protocol"] = "tls" if given["TLS"] else "tcp"
    if given["PORT"]:
        # An emulator, whose pods share one host, says where the pod is to listen instead.
        inner = os.environ.get(f"YOTTA_PORT_{given['PORT']}")
        options["host"] = "127.0.0.1" if inner else "0.0.0.0"  # noqa: S104  # else nobody outside could reach it
        options["port"] = int(inner or given["PORT"])
        options["contact_address"] = await told(given["TOKEN"], options["host"], options["port"])
    async with Worker(given["SCHEDULER"], name=given["NAME"], **options) as worker:
        await worker.finished()


if __name__ == "__main__":
    asyncio.run(work())
