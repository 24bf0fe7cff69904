"""The bodies of requests, and the envelope around those of responses."""

from __future__ import annotations

import json

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from yotta_async.emulator.schema import InvalidRequestError


async def read_body(request: web.Request) -> bytes:
    """Return the body of a request. Raises InvalidRequestError if it cannot be decoded."""
    try:
        return await request.read()
    except (ClientError, HttpProcessingError):  # it is not what Content-Encoding says
        raise InvalidRequestError("the body cannot be read") from None


def build_envelope(
    data: bytes = b"null", *, code: int = 10000, message: str = "success", status: int = 200
) -> web.Response:
    """Return a response with the documented envelope around `data`, which is JSON."""
    text = json.dumps(message).encode()
    body = b'{"message":' + text + b',"code":' + str(code).encode() + b',"data":' + data + b"}"
    return web.Response(body=body, status=status, content_type="application/json")
