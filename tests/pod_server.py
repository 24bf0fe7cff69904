"""An API of pods over raw sockets, for the faults that only a raw server has: responses lost, cut and garbled."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.calls import is_v2, name_call
from tests.raw_server import RecordedRequest, Reply, envelope, http, raw, raw_server, reset

# What can happen to one request: whether it takes effect, and what is answered (None: what is due).
FAULTS: dict[str, tuple[bool, Reply | None]] = {
    "none": (True, None),
    "reset before": (False, reset),
    "reset after": (True, reset),
    "cut": (True, raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{")),
    "500 before": (False, envelope(code=10002, status=500)),
    "500 after": (True, envelope(code=10002, status=500)),
    "html": (True, http(b"<html>502</html>", 502)),
    "bad json": (True, http(b'{"message":"success","code":10000,"data":33')),
    "bad gzip": (True, http(b"not gzip", headers={"Content-Encoding": "gzip"})),
    "no http": (True, raw(b"HUH\r\n\r\n")),
    "empty": (True, http(b"")),
    "429": (False, http(b"", 429)),
}


class PodServer:
    """Pods that are `born` with a status (by `birth`: for each body, or refused) and keep it. `fault` says what happens to a request; `listed` which pods a list shows."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.posts: Counter[str] = Counter()  # creates that may have taken effect, by token
        self.requests: list[str] = []
        self.connections: set[asyncio.StreamWriter] = set()  # those by which requests came
        self.born = "RUNNING"
        self.birth: Callable[[dict[str, Any]], str] = lambda _: self.born
        self.fault: Callable[[str], str] = lambda _: "none"
        self.listed: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda pods: pods
        self.hidden_in_v2 = {"environmentVars"}  # fields that no response of v2 shows
        self.url = ""

    @property
    def alive(self) -> list[str]:
        return [pod["id"] for pod in self.pods.values() if pod["status"] != "TERMINATING"]

    def forget_requests(self) -> None:
        self.requests.clear()
        self.connections.clear()

    async def serve(self, request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        what = name_call(request)
        self.requests.append(what)
        self.connections.add(writer)
        fault = self.fault(what)
        acts, reply = FAULTS[fault]
        if what == "create" and fault != "429":
            self.posts[json.loads(request.body)["environmentVars"][-1]["value"]] += 1
        due = self.act(what, request) if acts else envelope()
        await (reply or due)(request, writer)

    def act(self, what: str, request: RecordedRequest) -> Reply:
        if what == "create":
            pod_id = str(331864222263676900 + len(self.pods))
            body = json.loads(request.body)
            status = self.birth(body)
            if status == "REFUSED":
                return envelope(code=10001, message="insufficient capacity for this GPU")
            self.pods[pod_id] = {**body, "id": pod_id, "status": status}
            return envelope(self.show(self.pods[pod_id], request) if is_v2(request) else int(pod_id))
        if what == "list":
            return envelope([self.show(pod, request) for pod in self.listed(list(reversed(self.pods.values())))])
        pod = self.pods.get(request.path.rpartition("/")[2])
        if pod is None:
            return envelope(code=13000)
        if what == "DELETE":
            if pod["status"] == "TERMINATING":
                return envelope(code=12001)
            pod["status"] = "TERMINATING"
            return envelope(is_v2(request) or None)
        return envelope(self.show(pod, request))

    def show(self, pod: Any, request: RecordedRequest) -> Any:
        """Return the pod as responses show it."""
        if not is_v2(request) or not isinstance(pod, dict):
            return pod
        return {name: value for name, value in pod.items() if name not in self.hidden_in_v2}


@asynccontextmanager
async def pod_server() -> AsyncIterator[PodServer]:
    """Serve on loopback until the block ends."""
    pods = PodServer()
    async with raw_server(pods.serve) as server:
        pods.url = server.url
        yield pods
