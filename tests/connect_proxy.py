"""A CONNECT proxy on loopback that records every byte it sees."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from yarl import URL


@dataclass(frozen=True)
class Message:
    """One HTTP request or response, body included."""

    start_line: str
    headers: dict[str, str]
    body: bytes
    raw: bytes


@dataclass(frozen=True)
class ProxyRequest:
    """One request to the proxy. `target` is "host:port" for CONNECT, and a whole URL otherwise."""

    method: str
    target: str
    headers: dict[str, str]
    is_authorized: bool

    @property
    def has_authorization(self) -> bool:
        return "proxy-authorization" in self.headers


@dataclass
class ConnectProxy:
    """Tunnels CONNECT requests, and forwards plain http ones.

    `credentials` are the user and the password without which it answers 407. `hosts` maps host names to ports of
    loopback; loopback itself needs no entry, and every other host is answered with 502.
    """

    credentials: tuple[str, str] | None = None
    hosts: Mapping[str, int] = field(default_factory=dict)
    refuse_with: int | None = None  # a status for every request
    closes: int = 0  # how many of the next requests it answers by closing the connection
    is_silent: bool = False  # whether it reads requests and never answers
    port: int = 0
    requests: list[ProxyRequest] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)  # all that clients sent, tunnelled bytes included
    returned: bytearray = field(default_factory=bytearray)  # all that servers sent back
    _clients: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL without user and password."""
        return f"http://{self.address}"

    @property
    def url_with_password(self) -> str:
        assert self.credentials is not None
        user, password = self.credentials
        return str(URL(self.url).with_user(user).with_password(password))

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]

    def drop_connections(self) -> None:
        """Reset the connection of every client, in the middle of whatever it does."""
        for client in self._clients:
            client.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._clients.add(writer)
        try:
            while not writer.is_closing():
                await self._answer(await read_message(reader), reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _answer(self, message: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received += message.raw
        method, target, _ = message.start_line.split(" ")
        request = ProxyRequest(method, target, message.headers, self._is_authorized(message.headers))
        self.requests.append(request)
        if self.is_silent:
            await reader.read()
            writer.close()
        elif self.closes > 0:
            self.closes -= 1
            writer.close()
        elif not request.is_authorized:
            refuse(writer, 407, "Proxy Authentication Required", 'Proxy-Authenticate: Basic realm="test"\r\n')
        elif self.refuse_with is not None:
            refuse(writer, self.refuse_with, "Refused")
        elif method == "CONNECT":
            await self._tunnel(target, reader, writer)
        else:
            await self._forward(message, writer)

    def _is_authorized(self, headers: Mapping[str, str]) -> bool:
        if self.credentials is None:
            return True
        expected = base64.b64encode(":".join(self.credentials).encode()).decode()
        return headers.get("proxy-authorization") == f"Basic {expected}"

    async def _dial(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if host in self.hosts:
            port = self.hosts[host]
        elif host not in ("127.0.0.1", "localhost"):
            raise ConnectionRefusedError(f"no port is known for {host}")
        return await asyncio.open_connection("127.0.0.1", port)

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        try:
            server_reader, server_writer = await self._dial(host, int(port))
        except ConnectionRefusedError:
            refuse(writer, 502, "Bad Gateway")
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(relay(reader, server_writer, self.received))
                group.create_task(relay(server_reader, writer, self.returned))
        except* OSError:
            writer.transport.abort()
            server_writer.transport.abort()
        finally:
            server_writer.close()

    async def _forward(self, message: Message, writer: asyncio.StreamWriter) -> None:
        method, target, version = message.start_line.split(" ")
        url = URL(target)
        assert url.host is not None
        assert url.port is not None
        try:
            reader, server = await self._dial(url.host, url.port)
        except ConnectionRefusedError:
            refuse(writer, 502, "Bad Gateway")
            return
        headers = {name: value for name, value in message.headers.items() if not name.startswith("proxy-")}
        lines = [f"{method} {url.raw_path_qs} {version}", *(f"{name}: {value}" for name, value in headers.items())]
        try:
            server.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + message.body)
            response = await read_message(reader)
        finally:
            server.close()
        self.returned += response.raw
        writer.write(response.raw)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Read one message whose body, if it has one, has a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    start_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Message(start_line, headers, body, head + body)


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray) -> None:
    """Copy until the end of what is read, then close the other side."""
    while data := await reader.read(2**16):
        record += data
        writer.write(data)
        await writer.drain()
    writer.close()


def refuse(writer: asyncio.StreamWriter, status: int, reason: str, header: str = "") -> None:
    writer.write(f"HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\n{header}Connection: close\r\n\r\n".encode())
    writer.close()


@asynccontextmanager
async def connect_proxy(
    *, credentials: tuple[str, str] | None = None, hosts: Mapping[str, int] | None = None
) -> AsyncIterator[ConnectProxy]:
    """Serve on loopback until the block ends."""
    proxy = ConnectProxy(credentials, hosts or {})
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        with suppress(asyncio.CancelledError):
            await proxy.stop()
