"""The MCP server over HTTP on this machine. Every request needs a bearer token, because it can spend money."""

from __future__ import annotations

import hmac
import re
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from yotta_async import ConfigurationError
from yotta_async.agents.mcp_server import ToolServer

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

_LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_SHUTDOWN_TIMEOUT_S = 5  # clients keep streams open, which would hold up the end


class BearerTokenMiddleware:
    """Answers 401 to every HTTP request that does not have the token."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass an authorized request on, and everything that is no request."""
        if scope["type"] != "http" or self._is_authorized(scope):
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b"Bearer")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b"Send the header Authorization: Bearer TOKEN.\n"})

    def _is_authorized(self, scope: Message) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token, self._token)


async def serve_http(server: ToolServer, host: str, port: int, token: str | None = None) -> None:
    """Serve streamable HTTP until SIGINT or SIGTERM, and print the URL on stderr.

    Requests of web pages are refused, unless they are of this server's own origin.

    Args:
        server: The server.
        host: A loopback address as a URL has it, such as 127.0.0.1 or [::1].
        port: The port; 0 picks a free one.
        token: The bearer token that clients must send. None: a random one, which is printed too.

    Raises:
        ConfigurationError: The token or the host cannot be used.
        OSError: The port cannot be used.
    """
    if host not in _LOOPBACK_HOSTS:
        raise ConfigurationError(f"MCP over HTTP is for this machine only: host must be one of {_LOOPBACK_HOSTS}")
    if token is not None and not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigurationError("the token for MCP over HTTP must be printable ASCII text without spaces")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host.strip("[]"), port), family=family) as listener:
        port = listener.getsockname()[1]
        app = server.streamable_http_app(
            transport_security=TransportSecuritySettings(
                allowed_hosts=[f"{name}:{port}" for name in _LOOPBACK_HOSTS], allowed_origins=[f"http://{host}:{port}"]
            )
        )
        print(f"MCP server at http://{host}:{port}/mcp", file=sys.stderr, flush=True)  # noqa: T201  # where to connect
        if token is None:
            token = secrets.token_urlsafe(32)
            print(f"Clients must send: Authorization: Bearer {token}", file=sys.stderr, flush=True)  # noqa: T201  # as above
        config = uvicorn.Config(
            BearerTokenMiddleware(app, token),
            log_level="warning",
            ws="none",
            timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S,
        )
        await uvicorn.Server(config).serve(sockets=[listener])
