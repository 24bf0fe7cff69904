"""A pod API over raw sockets for `benchmarks.fuzz`: it misbehaves as scripted and records what really happened.

Each call of the fuzz has an API key of its own, so the server knows which call a request belongs to: the key selects
the faults (`Server.scripts`), and each key is an account with its own pods. Each response has a serial number, sent as
`podName`. Server and client share one event loop, so the order of their system calls is the order of the program.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import random
import re
import select
import socket
import ssl
import struct
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

SUCCESS, SYSTEM_ERROR, INVALID_STATE, NOT_FOUND = 10000, 10002, 12001, 13000
FIRST_ID = 10**15  # ids and serials keep their length, so that responses do
FRAMINGS = ("length", "chunked", "gzip", "close")
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </>; rel=preload\r\n\r\n"
INFORMATIONAL = (EARLY_HINTS, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n")
GARBAGE = (
    b"WHAT IS THIS\r\n\r\n",
    b"\x00\xff\x16\x03\x01garbage\r\n\r\n",
    b"HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\n{}",
)
_KEY = re.compile(rb"x-api-key: (\S+)\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"content-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    `processes` is whether the server acts on the request before it fails; with `late` it acts after the delay if not.
    """

    kind: str = "none"
    processes: bool = True
    framing: str = "length"
    resets: bool = False
    cut_at: int = 0
    cut_share: float | None = None
    delay_s: float = 0.0
    turns: int = 0
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(eq=False)
class Request:
    """One request as the server received it, and what became of it."""

    key: str
    method: str
    path: str
    connection: int
    body: bytes = b""
    was_processed: bool = False
    is_pending: bool = True
    was_rejected: bool = False  # answered 429 in full: known not processed
    head_size: int = 0  # of the response
    whole_size: int = 0
    sent_size: int = 0

    @property
    def operation(self) -> str:
        """The endpoint: create, list, get, pause, resume or delete."""
        if self.method == "POST":
            return self.path.split("/")[4]
        if self.method == "DELETE":
            return "delete"
        return "list" if self.path.partition("?")[0].endswith("/list") else "get"

    @property
    def pod_id(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(eq=False)
class ServerPod:
    """A pod as it really is."""

    id: str
    key: str
    status: str = "RUNNING"
    token: str | None = None

    @property
    def is_deleted(self) -> bool:
        """Whether a delete took effect."""
        return self.status == "TERMINATING"


@dataclass(frozen=True)
class SentResponse:
    """Which request a response was sent for; `unasked` ones were sent for none."""

    key: str
    operation: str
    pod_id: str
    unasked: bool = False


def encode(
    status: int, envelope: Any, *, framing: str = "length", headers: tuple[tuple[str, str], ...] = ()
) -> tuple[bytes, bytes]:
    """Return head and body of a response; bytes are sent as they are, anything else as JSON."""
    body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    lines = [f"HTTP/1.1 {status} Status", "Content-Type: application/json"]
    if framing == "gzip":
        body = gzip.compress(body, mtime=0)
        lines.append("Content-Encoding: gzip")
    if framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        parts = [body[start : start + 40] for start in range(0, len(body), 40)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    elif framing == "close":
        lines.append("Connection: close")
    else:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n", body


class Server:
    """The API: its pods, its scripts of faults by API key, and its record of requests and responses."""

    def __init__(self, seed: int, tls: ssl.SSLContext | None = None) -> None:
        self.rng = random.Random(seed)
        self.pods: dict[str, ServerPod] = {}
        self.pods_of_key: defaultdict[str, list[ServerPod]] = defaultdict(list)
        self.scripts: dict[str, deque[Fault]] = {}
        self.requests: defaultdict[str, list[Request]] = defaultdict(list)
        self.partial_keys: set[str] = set()  # of requests that did not arrive in full
        self.responses: dict[str, SentResponse] = {}
        self.errors_sent: defaultdict[str, set[tuple[int, int | None]]] = defaultdict(set)
        self.open: set[Connection] = set()
        self.accepted = 0
        self.drop_share = 0.0  # of connections that are closed as soon as they are accepted
        self.idle_s: Callable[[], float] | None = None  # after which an idle connection is ended
        self.race_share = 0.0  # of requests on used connections that arrive just as the server ends the connection
        self.barrier_size = 0
        self.at_barrier = 0
        self.url = ""
        self._tls = tls
        self._listener: asyncio.Server | None = None
        self._ids = itertools.count(FIRST_ID)
        self._serials = itertools.count(FIRST_ID)

    async def __aenter__(self) -> Server:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0, ssl=self._tls, backlog=512)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        tasks = [connection.task for connection in self.open]
        for connection in list(self.open):
            connection.end(resets=True)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)

    def add_pod(self, key: str, status: str = "RUNNING", token: str | None = None) -> ServerPod:
        """Make a pod of the account with this key."""
        pod = ServerPod(str(next(self._ids)), key, status, token)
        self.pods[pod.id] = pod
        self.pods_of_key[key].append(pod)
        return pod

    def forget(self, key: str) -> None:
        """Drop the record of a call that was checked, so that memory stays bounded."""
        for pod in self.pods_of_key.pop(key, ()):
            self.pods.pop(pod.id, None)
        self.requests.pop(key, None)
        self.scripts.pop(key, None)
        self.errors_sent.pop(key, None)

    def serial(self, request: Request, *, unasked: bool = False) -> str:
        """Return the next serial number, recorded for this request."""
        serial = str(next(self._serials))
        self.responses[serial] = SentResponse(request.key, request.operation, request.pod_id, unasked)
        return serial

    def process(self, request: Request) -> tuple[int, Any]:
        """Act on the request, and return code and data of the response."""
        request.was_processed = True
        if request.operation == "create":
            variables = {item["key"]: item["value"] for item in json.loads(request.body).get("environmentVars", ())}
            return SUCCESS, int(self.add_pod(request.key, token=variables.get("YOTTA_CLIENT_TOKEN")).id)
        if request.operation == "list":
            serial = self.serial(request)
            return SUCCESS, [self._to_json(pod, serial) for pod in self.pods_of_key[request.key]]
        pod = self.pods.get(request.pod_id)
        if pod is None:
            return NOT_FOUND, None
        if request.operation == "get":
            return SUCCESS, self._to_json(pod, self.serial(request))
        allowed, following = {
            "pause": ({"RUNNING"}, "PAUSED"),
            "resume": ({"PAUSED"}, "RUNNING"),
            "delete": ({"RUNNING", "PAUSED"}, "TERMINATING"),
        }[request.operation]
        if pod.status not in allowed:
            return INVALID_STATE, None
        pod.status = following
        return SUCCESS, None

    @staticmethod
    def _to_json(pod: ServerPod, serial: str) -> dict[str, Any]:
        variables = [{"key": "YOTTA_CLIENT_TOKEN", "value": pod.token}] if pod.token else []
        return {"id": pod.id, "podName": serial, "status": pod.status, "environmentVars": variables}


class Connection(asyncio.Protocol):
    """One connection: requests are answered in order, each with the next fault of its call."""

    transport: asyncio.Transport
    task: asyncio.Task[None]

    def __init__(self, server: Server) -> None:
        self.server = server
        self.number = 0
        self.buffer = bytearray()
        self.arrived = asyncio.Event()
        self.lost = asyncio.Event()
        self.is_used = False  # a request was answered on it
        self.is_poisoned = False  # an unasked response was sent: whatever the client asks now, it must not take it
        self.idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve, or drop the connection at once."""
        assert isinstance(transport, asyncio.Transport)
        server, self.transport = self.server, transport
        server.accepted += 1
        self.number = server.accepted
        server.open.add(self)
        self.task = asyncio.get_running_loop().create_task(self.serve())
        if server.drop_share and server.rng.random() < server.drop_share:
            self.end(resets=server.rng.random() < 0.5)

    def data_received(self, data: bytes) -> None:
        """Take what arrives."""
        if self.idle is not None:
            self.idle.cancel()
        self.buffer += data
        self.arrived.set()

    def connection_lost(self, _: Exception | None) -> None:
        """Stop serving, and note the request that did not arrive in full."""
        self.server.open.discard(self)
        if self.idle is not None:
            self.idle.cancel()
        if key := _KEY.search(self.buffer):
            self.server.partial_keys.add(key[1].decode())
        self.lost.set()
        self.arrived.set()

    def end(self, *, resets: bool) -> None:
        """Close gracefully after what was written, or with RST."""
        if resets:
            tcp = self.transport.get_extra_info("socket")
            if tcp is not None:
                with suppress(OSError):  # it is closed
                    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()

    def write(self, data: bytes) -> None:
        """Write, unless the connection is gone."""
        if not self.transport.is_closing():
            self.transport.write(data)

    async def until_buffered(self, is_complete: Callable[[], bool]) -> bool:
        """Wait for more bytes; return whether they came before the connection was lost."""
        while not is_complete():
            if self.lost.is_set():
                return False
            self.arrived.clear()
            await self.arrived.wait()
        return True

    async def serve(self) -> None:
        """Answer one request after the other."""
        while await self.until_buffered(lambda: b"\r\n\r\n" in self.buffer):
            end = self.buffer.index(b"\r\n\r\n") + 4
            head = bytes(self.buffer[:end])
            key, length = _KEY.search(head), _LENGTH.search(head)
            assert key is not None
            if self.server.race_share and self.is_used and self.server.rng.random() < self.server.race_share:
                self.server.partial_keys.add(key[1].decode())
                self.end_idle()
                return
            method, path, _ = head.partition(b"\r\n")[0].decode().split(" ")
            request = Request(key[1].decode(), method, path, self.number)
            self.server.requests[request.key].append(request)
            script = self.server.scripts.get(request.key)
            fault = script.popleft() if script else Fault()
            size = end + (int(length[1]) if length else 0)
            try:
                if fault.kind.startswith("early"):
                    await self.refuse_early(request, fault)
                    return
                if not await self.until_buffered(lambda size=size: len(self.buffer) >= size):  # type: ignore[misc]
                    return
                request.body = bytes(self.buffer[end:size])
                del self.buffer[:size]
                await self.answer(request, Fault("silence", processes=False) if self.is_poisoned else fault)
            finally:
                request.is_pending = False
                self.is_used = True
            if self.server.idle_s is not None and not self.transport.is_closing() and not self.buffer:
                self.idle = asyncio.get_running_loop().call_later(self.server.idle_s(), self.end_idle)

    def end_idle(self) -> None:
        """End an idle connection in one of three ways."""
        way = self.server.rng.choice(("close", "reset", "408"))
        if way == "408":
            envelope = self.server.rng.choice((b"", {"message": "idle", "code": 408, "data": None}))
            self.write(b"".join(encode(408, envelope, headers=(("Connection", "close"),))))
        self.end(resets=way == "reset")

    async def refuse_early(self, request: Request, fault: Fault) -> None:
        """Answer 413 before the body was read, then close, read nothing more, or read on."""
        self.server.errors_sent[request.key].add((413, 10001))
        if fault.kind != "early and read":
            self.transport.pause_reading()
        self.write(b"".join(encode(413, {"message": "too large", "code": 10001, "data": None})))
        if fault.kind == "early and close":
            self.end(resets=fault.resets)
        elif fault.kind == "early and deaf":
            await asyncio.sleep(fault.delay_s)
            self.end(resets=True)
        await self.lost.wait()

    async def answer(self, request: Request, fault: Fault) -> None:
        """Act on the request or not, and send what the fault says."""
        server, kind = self.server, fault.kind
        code, data = server.process(request) if fault.processes else (SUCCESS, None)
        if fault.delay_s and kind != "later":
            await asyncio.sleep(fault.delay_s)
            if kind == "late" and not fault.processes:
                code, data = server.process(request)
        if kind == "silence":
            await self.lost.wait()
        elif kind in ("reset", "close"):
            self.end(resets=kind == "reset")
        elif kind == "garbage":
            self.write(server.rng.choice(GARBAGE))
            self.end(resets=False)
        elif kind == "barrier":
            await self.wait_at_barrier()
            self.send(request, fault, 200, code, data)
        elif kind == "429":
            request.was_rejected = not self.transport.is_closing()
            self.send(request, fault, 429, None, b"slow down", (("Retry-After", "0"),))
        elif kind == "500":
            self.send(request, fault, 500, SYSTEM_ERROR, None)
        elif kind == "10002":
            self.send(request, fault, 200, SYSTEM_ERROR, None)
        elif kind == "502":
            self.send(request, fault, 502, None, b"<html>Bad Gateway</html>")
        elif kind == "bad json":
            self.send(request, fault, 200, None, b'{"message": "success", "code": 10000, "data": ')
        elif kind == "wrong code":
            wrong = server.rng.choice(["10000", True, None, 10000.0])
            self.send(request, fault, 200, None, json.dumps({"message": "", "code": wrong, "data": data}).encode())
        elif kind == "wrong pod":
            other = {"id": str(FIRST_ID - 1), "podName": server.serial(request, unasked=True)}
            self.send(request, fault, 200, None, json.dumps({"message": "", "code": SUCCESS, "data": other}).encode())
        else:
            if kind == "announced":
                for _ in range(1 + fault.turns):
                    self.write(server.rng.choice(INFORMATIONAL))
                    await asyncio.sleep(server.rng.choice((0, 0.001)))
            self.send(request, fault, 200, code, data)
            if kind == "extra later":
                await self.send_unasked_later(request, fault)

    def send(
        self,
        request: Request,
        fault: Fault,
        status: int,
        code: int | None,
        data: Any,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Send a response, or as much of it as the fault allows. Without a code, `data` is the body as it is."""
        if status != 200 or code not in (None, SUCCESS):
            self.server.errors_sent[request.key].add((status, code))
        envelope = data if code is None else {"message": "success", "code": code, "data": data}
        head, body = encode(status, envelope, framing=fault.framing, headers=headers + fault.headers)
        whole = head + body
        request.head_size, request.whole_size = len(head), len(whole)
        request.sent_size = len(whole)
        is_last = fault.framing == "close"
        if fault.kind == "cut":
            at = fault.cut_at if fault.cut_share is None else int(fault.cut_share * len(whole))
            request.sent_size, is_last = min(at, len(whole)), True
        elif fault.kind == "extra":
            whole += self.unasked(request)
            request.sent_size = len(whole)
        self.write(whole[: request.sent_size])
        if is_last:
            self.end(resets=fault.resets)

    def unasked(self, request: Request) -> bytes:
        """Return a success that any get, pause, resume or delete would take for its own."""
        data = {"podName": self.server.serial(request, unasked=True), "status": "RUNNING"}
        return b"".join(encode(200, {"message": "success", "code": SUCCESS, "data": data}))

    async def send_unasked_later(self, request: Request, fault: Fault) -> None:
        """Send an unasked response, if no further request is here: what was sent before it cannot tell them apart."""
        for _ in range(fault.turns):
            await asyncio.sleep(0)
        await asyncio.sleep(fault.delay_s)
        if not self.transport.is_closing() and not self.buffer and not _is_readable(self.transport):
            self.is_poisoned = True
            self.write(self.unasked(request))

    async def wait_at_barrier(self) -> None:
        """Return when as many requests wait here as the barrier is large, or when the connection is lost."""
        server = self.server
        server.at_barrier += 1
        while server.at_barrier < server.barrier_size and not self.lost.is_set():  # noqa: ASYNC110  # two conditions
            await asyncio.sleep(0.001)


def _is_readable(transport: asyncio.Transport) -> bool:
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
