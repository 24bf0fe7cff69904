"""One request and its answer over one connection.

aiohttp's connector keeps the connections, and its parser reads the answers. What stands between the two in a
`ClientSession` (redirects, cookies, proxies, middlewares, objects for each request and answer) is of no use here, and
makes more than half of a call's cost. Here a session is its headers, written once, and a way to a connection.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Mapping

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from yotta_async.api.wire import MAX_BYTES, Request, Response
from yotta_async.support.secrets import Secret

# `total` is not aiohttp's to watch: the deadline over the whole attempt is set around it, the wait for a connection
# included. A body that drips never trips `sock_read`.
CONNECT_SECONDS = 10
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
# How much is read from a socket at once, for short answers and for lists. asyncio sets aside as much before each read,
# which for 256 KiB can take a tenth of a whole call, and saves half of a long one.
_READ, _READ_LONG = 2**16, 2**18
# Who is told that a connection has ended lets go of it within so many turns of the loop.
_TURNS_TO_END = 100
# How much of an answer waits to be taken: with less, a list of thousands of pods is stopped and started every 64 KiB.
_BUFFER = 2**20


class SendState:
    """Whether a request was written, whether an answer has begun, and whether it is wanted no more."""

    sent = answering = abandoned = False


class TooLargeError(Exception):
    """More bytes came than the request allows."""


class Turns:
    """Who finds no free connection waits here, first come, first served.

    aiohttp's own queue takes a tenth of a call, and a semaphore of asyncio's takes five function calls where nobody
    waits: here it is `if turns.free: turns.free -= 1`, else `await turns.wait()`, and `turns.give_back()` in the end.
    """

    def __init__(self, limit: int) -> None:
        self.free = limit
        self.busy: set[asyncio.Transport] = set()  # over which a call is under way
        self.closed = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return when it is this task's turn."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give_back()
            turn.cancel()  # whoever drops a coroutine cancels nothing, and leaves no turn to be given to nobody
            raise

    async def close(self) -> None:
        """End the calls that are under way, and let no more begin."""
        self.closed = True
        for transport in self.busy:
            _abort(transport)
        for _ in range(_TURNS_TO_END):
            if not self.busy:
                break
            await asyncio.sleep(0)

    def give_back(self) -> None:
        """Let the next one go, or be free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


class Session:
    """One client's requests to one address, with its key, over a connector that others use too.

    `connector.force_close` decides whether a connection is used again.
    """

    def __init__(
        self, connector: aiohttp.TCPConnector, turns: Turns, root: URL, key: Secret[str], headers: Mapping[str, str]
    ) -> None:
        self._connector = connector
        self._turns = turns
        self._key = key
        self._prefix = root.raw_path.rstrip("/")
        # All that the connector asks of a request: where it goes. The headers are its too, Host among them.
        self._origin = aiohttp.ClientRequest("GET", root, headers=headers, loop=asyncio.get_running_loop())
        lines = [f"{name}: {value}\r\n" for name, value in self._origin.headers.items()]
        if connector.force_close:
            lines.append("Connection: close\r\n")
        lines.append(f"x-api-key: {key.reveal()}\r\n")
        self._headers = Secret("".join(lines))
        del lines

    def _bytes(self, request: Request) -> bytes:
        """Return the request as it goes out. Its path and query hold nothing that HTTP would read as more than that."""
        target = f"{self._prefix}{request.path}?{request.query}" if request.query else f"{self._prefix}{request.path}"
        head = f"{request.method} {target} HTTP/1.1\r\n{self._headers.reveal()}"
        if request.body is not None:
            content = f"Content-Type: application/json\r\nContent-Length: {len(request.body.reveal())}\r\n\r\n"
            return (head + content).encode("ascii") + request.body.reveal()
        return (f"{head}\r\n" if request.method == "GET" else f"{head}Content-Length: 0\r\n\r\n").encode("ascii")

    async def exchange(self, request: Request, send_state: SendState) -> Response:
        """Send the request, and return the whole answer.

        Raises what aiohttp and the network raise, TimeoutError where there was no connection within CONNECT_SECONDS,
        and TooLargeError.
        """
        turns = self._turns
        if turns.free:
            turns.free -= 1
        else:
            await turns.wait()
        try:
            connection = await self._connect()
            try:
                response = await self._over(connection, request, send_state)
            except BaseException:
                _drop(connection)
                raise
            if request.body is not None and connection.transport and connection.transport.get_write_buffer_size():
                _drop(connection)  # the answer came before all was sent, and what is left would still be
            connection.release()
            return response
        finally:
            turns.give_back()

    async def _connect(self) -> Connection:
        """Return a connection on which nothing came that nobody asked for: it would be read as the next answer."""
        while not self._turns.closed:
            connection = await self._connector.connect(self._origin, [], _TIMEOUT)
            protocol, transport = connection.protocol, connection.transport
            is_kept = hasattr(protocol, "was_asked")
            is_open = transport is not None and not transport.is_closing() and not (is_kept and _is_readable(transport))
            if is_open and protocol is not None and not protocol.should_close:
                protocol.was_asked = True  # type: ignore[attr-defined]  # a mark of ours
                return connection
            _drop(connection)
            if not is_kept:
                raise aiohttp.ClientConnectionError("the server closed the connection, or spoke, before it was asked")
        raise aiohttp.ClientConnectionError("there are no connections any more")

    async def _over(self, connection: Connection, request: Request, send_state: SendState) -> Response:
        protocol, transport = connection.protocol, connection.transport
        assert protocol is not None  # noqa: S101  # `_connect` saw to both
        assert transport is not None  # noqa: S101  # likewise
        if hasattr(transport, "max_size"):  # asyncio's own over plain sockets has it
            transport.max_size = _READ if request.max_bytes <= MAX_BYTES else _READ_LONG
        protocol.set_response_params(read_until_eof=True, read_bufsize=_BUFFER)
        busy = self._turns.busy
        busy.add(transport)
        try:
            send_state.sent = True
            transport.write(self._bytes(request))
            message, content = await protocol.read()
            while message.code < 200 and message.code != 101:  # 1xx: the answer proper is still to come
                message, content = await protocol.read()
            send_state.answering = True
            chunks = [await content.readany()]
            size = len(chunks[0])
            # Counted after decompression, and before the next chunk is read.
            while size <= request.max_bytes and not content.at_eof():
                chunks.append(await content.readany())
                size += len(chunks[-1])
        finally:
            busy.discard(transport)
        if size > request.max_bytes:
            raise TooLargeError
        return Response(message.code, message.headers, chunks, self._key, size)


def _drop(connection: Connection) -> None:
    """Close a connection at once. Closed gently, it would first send what is left of a request."""
    if connection.transport is not None:
        _abort(connection.transport)
    connection.close()


def _abort(transport: asyncio.Transport) -> None:
    try:
        transport.abort()
    except RuntimeError:
        pass  # its loop is closed, and nothing is sent any more


def _is_readable(transport: asyncio.Transport) -> bool:
    """Whether something came on an idle connection, an end included, that the loop has not read yet."""
    number = transport.get_extra_info("socket").fileno()
    if not hasattr(select, "poll"):
        return bool(select.select([number], [], [], 0)[0])  # Windows, where any number will do
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))
