"""What a fault does to an answer: another one instead, or its loss on the way."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Collection

import msgspec
from aiohttp import web

from yotta_async.emulator.faults import Fault
from yotta_async.emulator.schema import Envelope

_HTML = (
    "<html><head><title>502 Bad Gateway</title></head>"
    "<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>"
)
_LOST = ("reset_before_commit", "answer_lost_after_commit")
_CHUNK = b" " * 2**16
# An endless body goes on for so many chunks, 64 GiB, should anybody have the patience.
_CHUNKS = 2**20


def instead(fault: Fault) -> web.Response | None:
    """Return what is answered instead of doing anything, or None when it is done."""
    match fault.kind:
        case "status":
            return _envelope(fault.http_status, fault.code, fault.message)
        case "html_502":
            return web.Response(status=502, text=_HTML, content_type="text/html")
        case "rate_limited":
            answer = _envelope(429, 429, "too many requests")
            answer.headers["Retry-After"] = str(math.ceil(fault.seconds))
            return answer
        case "redirect":
            return web.Response(status=307, headers={"Location": fault.location})
        case "reset_before_commit":
            return web.Response(status=500)  # never sent
        case _:
            return None


async def sent(request: web.Request, response: web.StreamResponse, fired: Collection[Fault]) -> web.StreamResponse:
    """Return what is left of an answer on its way."""
    kinds = {fault.kind for fault in fired}
    if not kinds.isdisjoint(_LOST):
        _reset(request)
        return response
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    if "bad_json" in kinds:
        return _with_body(response, response.body[: len(response.body) // 2] + b"\xff}{")
    if "cut_body" in kinds:
        return await _cut(request, response, response.body)
    if "endless_body" in kinds:
        return await _endless(request, response, response.body)
    return response


def _envelope(status: int, code: int, message: str) -> web.Response:
    body = msgspec.json.encode(Envelope[None](message, code, None))
    return web.Response(body=body, status=status, content_type="application/json")


def _with_body(response: web.Response, body: bytes) -> web.Response:
    return web.Response(body=body, status=response.status, content_type="application/json")


def _reset(request: web.Request) -> None:
    """End the connection as a crash does, with a reset instead of an end."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


async def _cut(request: web.Request, response: web.Response, body: bytes) -> web.StreamResponse:
    cut = web.StreamResponse(status=response.status)
    cut.content_type = "application/json"
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return cut


async def _endless(request: web.Request, response: web.Response, body: bytes) -> web.StreamResponse:
    endless = web.StreamResponse(status=response.status)
    endless.content_type = "application/json"
    await endless.prepare(request)
    try:
        await endless.write(body[:-1])
        for _ in range(_CHUNKS):
            await endless.write(_CHUNK)
            await asyncio.sleep(0)
    except ConnectionError:
        pass  # they have had enough
    return endless
