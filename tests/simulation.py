"""A world for the create protocol: virtual time, a network and a server with seeded faults, processes that crash.

The client is the real one from `YottaClient` down to the bytes of requests and answers. Simulated are the transport's
one attempt (`Transport.send`), the journal's disk, and the server, whose own record is what the invariants are checked
on. One seed is one world; the same seed gives the same world again.

The model: a create that was received commits at once or up to 20 minutes later, or not at all; lists lag by up to 40 s;
any answer can be lost, cut, garbled or an error, before or after it took effect; a delete may be answered and have no
effect; a process can be cancelled or crash at any moment, and loses what it had not fsynced.

A server of API v2 answers a create with the pod. In some worlds it shows the environment of pods, in others only their
names, and some callers name their pods themselves: such a pod cannot be found by its token where nothing shows that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias, cast
from unittest.mock import patch

import attrs
import looptime

from tests.calls import is_v2, name_call
from yotta_async import CreateOutcomeUnknownError, PodHandle, YottaClient, YottaError
from yotta_async.creation import journal_file
from yotta_async.creation.journal import parse_open_intents
from yotta_async.errors import ConnectError, ConnectionLostError, ProtocolError, RequestTimeoutError
from yotta_async.models.spec import PodFields
from yotta_async.support.secrets import Secret
from yotta_async.transport.messages import Request, Response, SendState

logger = logging.getLogger("yotta_async")

KEY = "simulated-key"
# What a client is made of instead: classes by their names in `yotta_async.client`, a "Folder", and "options".
Change: TypeAlias = Mapping[str, Any]
CALLER: ContextVar[object] = ContextVar("CALLER", default=None)  # inherited by the tasks that the client makes for it
EPOCH = 1_767_225_600.0
SETTLE = 60.0
HOLD = 30.0
SUCCESS = {"message": "success", "code": 10000}

# What can happen to a request, and how often in a hundred. The rest succeeds.
CREATE_FAULTS = {
    "not sent": 5, "request lost": 5, "answer lost": 8, "cut": 2, "garbled": 2, "html": 2, "5xx before": 3,
    "5xx after": 3, "timeout": 5, "slow commit": 5, "429": 4, "refused": 2,
}  # fmt: skip
OTHER_FAULTS = {
    "not sent": 4, "request lost": 4, "answer lost": 4, "cut": 1, "garbled": 1, "html": 2, "5xx before": 3,
    "5xx after": 3, "timeout": 2, "429": 3, "no effect": 2,
}  # fmt: skip


class Violation(AssertionError):  # noqa: N818  # what it is
    """The server's record shows what must not be."""


class Clock:
    """The loop's virtual time."""

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> float:
        return EPOCH + self.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call(self, limit: object = None, seconds: float = 0) -> AbstractContextManager[object]:
        return nullcontext()


@attrs.define
class ServerPod:
    """A pod as the server has it."""

    pod_id: str
    token: str | None
    made: float
    going: bool = False
    name: str | None = None


@attrs.define
class Disk:
    """The journal's directory. A file is locked by a process that lives."""

    files: list[DiskFile] = attrs.field(factory=list)

    def of(self, process: Process) -> Folder:
        return Folder(self, process)

    def knows(self, token: str) -> bool:
        return any(token.encode() in file.data for file in self.files)

    def is_open(self, token: str) -> bool:
        return any(intent.token == token for file in self.files for intent in parse_open_intents(file.data))


@attrs.define(eq=False)
class DiskFile(journal_file.DiskFile):
    """A file of the journal. What a dead process would write does not arrive."""

    disk: Disk
    holder: Process | None
    data: bytes = b""

    def read(self) -> bytes:
        return self.data

    def exists(self) -> bool:
        return True

    def append(self, data: bytes) -> None:
        if self.holder is not None and self.holder.lives:
            self.data += data

    def replace(self, data: bytes) -> None:
        if self.holder is not None and self.holder.lives:
            self.data = data

    def close(self, *, remove: bool) -> None:
        if self.holder is not None and self.holder.lives:
            self.holder = None
            if remove:
                self.disk.files.remove(self)


@attrs.define
class Folder(journal_file.DiskFolder):
    """The journal's directory as one process sees it."""

    disk: Disk
    process: Process

    def create(self) -> DiskFile:
        file = DiskFile(self.disk, self.process)
        self.disk.files.append(file)
        return file

    def open_abandoned(self) -> Iterator[DiskFile]:
        for file in tuple(self.disk.files):
            if file.holder is None or not file.holder.lives:
                file.holder = self.process
                yield file


class World:
    """One seed: the server, the disk, and what each caller was given."""

    def __init__(self, seed: int, api_version: str) -> None:
        self.random = random.Random(seed)
        self.api_version = api_version
        self.shows_environment = api_version == "v1" or self.random.random() < 0.4
        self.disk = Disk()
        self.pods: dict[str, ServerPod] = {}
        self.received: Counter[str] = Counter()  # creates that may have taken effect, by token
        self.makers: dict[str, Process] = {}  # by token
        self.callers: dict[str, object] = {}  # by token
        self.held: set[str] = set()  # pods whose handle a caller got
        self.fired: Counter[str] = Counter()
        self.intents = 0
        self.violations: list[Violation] = []
        self.log: list[str] = []
        self.trouble = self.random.choice([0.3, 1.0, 1.0, 2.0])  # how many faults there are, relative to the tables
        for token, name in ((None, "mine"), ("f" * 32, f"yotta-async-{'f' * 32}")):
            self.make(token, name)  # other people's

    def violation(self, text: str) -> Violation:
        self.violations.append(Violation(text))
        return self.violations[-1]

    def make(self, token: str | None, name: str | None) -> str:
        pod_id = str(331864222263676900 + len(self.pods))
        self.pods[pod_id] = ServerPod(pod_id, token, asyncio.get_running_loop().time(), name=name)
        return pod_id

    def shows_token(self, pod: ServerPod) -> bool:
        """Say whether responses show the token of a pod of ours."""
        return self.shows_environment or (pod.token or "") in (pod.name or "")

    def of(self, token: str) -> list[ServerPod]:
        return [pod for pod in self.pods.values() if pod.token == token]

    def fault(self, faults: dict[str, int]) -> str:
        at = self.random.uniform(0, 100) / self.trouble
        for kind, share in faults.items():
            at -= share
            if at < 0:
                self.fired[kind] += 1
                return kind
        return "none"

    async def exchange(self, process: Process, request: Request, send_state: SendState) -> Response:
        """Carry one request to the server and its answer back, or not."""
        action = name_call(request)
        fault = self.fault(CREATE_FAULTS if action == "create" else OTHER_FAULTS)
        await self.trip(process)
        if fault == "not sent":
            raise ConnectError("refused", method=request.method, path=request.path)
        send_state.request_sent = True
        acts = fault not in ("request lost", "5xx before", "429", "refused", "no effect")
        result: dict[str, Any] = SUCCESS | {"data": None}
        if action == "create":
            result = self.create(process, request, fault, acts=acts)
        elif acts or fault == "no effect":
            result = self.answer(process, request, acts=acts)
        if fault in ("timeout", "slow commit"):
            await asyncio.sleep(30)
            raise RequestTimeoutError("no answer", method=request.method, path=request.path)
        await self.trip(process)
        if fault in ("request lost", "answer lost"):
            raise ConnectionLostError("reset", method=request.method, path=request.path)
        if fault == "cut":
            raise ProtocolError("cut", method=request.method, path=request.path)
        status = {"html": 502, "429": 429, "refused": 400}.get(fault, 500 if fault.startswith("5xx") else 200)
        body = json.dumps(result).encode()
        if status != 200:
            body = json.dumps({"message": fault, "code": 10001 if fault == "refused" else 10002, "data": None}).encode()
        body = {"html": b"<html>", "garbled": body[:-3], "429": b""}.get(fault, body)
        return Response(status, {}, [body], process.secret)

    async def trip(self, process: Process) -> None:
        await asyncio.sleep(self.random.choice([0.01, 0.05, 0.5]))
        if not process.lives:
            await asyncio.Event().wait()  # the process is dead

    def create(self, process: Process, request: Request, fault: str, *, acts: bool) -> dict[str, Any]:
        assert request.body is not None
        body = json.loads(request.body.reveal())
        variables = body.get("environmentVars", [])
        token = next((item["value"] for item in variables if item["key"] == "YOTTA_CLIENT_TOKEN"), None)
        if token is None or not self.disk.knows(token):
            raise self.violation("a create was sent whose token no journal knows")
        self.makers[token] = process
        self.callers[token] = CALLER.get()
        if fault not in ("429", "refused"):
            self.received[token] += 1
            if self.received[token] > 1:
                raise self.violation("a create was sent again that may have been received")
        if not acts:
            return SUCCESS
        if fault == "slow commit":
            asyncio.get_running_loop().call_later(
                self.random.choice([1, 20, 50, 100, 1200]), self.make, token, body.get("name")
            )
            return SUCCESS
        pod_id = self.make(token, body.get("name"))
        return SUCCESS | {"data": self.shown(self.pods[pod_id]) if is_v2(request) else int(pod_id)}

    def answer(self, process: Process, request: Request, *, acts: bool) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        if name_call(request) == "list":
            until = now - self.random.choice([0, 0, 1, 10, 40])
            return SUCCESS | {"data": [self.shown(pod) for pod in reversed(self.pods.values()) if pod.made <= until]}
        pod = self.pods.get(request.path.rpartition("/")[2])
        if pod is None:
            return {"message": "no such pod", "code": 13000}
        if request.method == "DELETE":
            self.may_delete(process, pod)
            if pod.going:
                return {"message": "on its way out", "code": 12001}
            pod.going = acts
            return SUCCESS | {"data": is_v2(request) or None}
        return SUCCESS | {"data": self.shown(pod)}

    def may_delete(self, process: Process, pod: ServerPod) -> None:
        maker = self.makers.get(pod.token or "")
        if maker is None:
            raise self.violation("a delete was sent for a pod that is not ours")
        if maker is not process and maker.lives:
            raise self.violation("a pod was reaped whose process lives")
        if pod.pod_id in self.held:
            raise self.violation("a pod was deleted that a caller holds")

    def shown(self, pod: ServerPod) -> dict[str, Any]:
        marks = [{"key": "YOTTA_CLIENT_TOKEN", "value": pod.token}] if pod.token else []
        name = {} if self.api_version == "v1" else {"name": pod.name}
        environment = {"environmentVars": [{"key": "A", "value": "1"}, *marks]} if self.shows_environment else {}
        return {"id": pod.pod_id, "status": "TERMINATING" if pod.going else "RUNNING", **name, **environment}


class Network:
    """What stands for a client's transport: it carries one request to the server of the world."""

    def __init__(self, process: Process, *, key: Secret[str], **_: Any) -> None:
        self.process = process
        process.secret = key

    def check(self) -> None: ...

    async def aclose(self) -> None: ...

    async def send(self, request: Request, *, send_state: SendState | None = None, **_: Any) -> Response:
        send_state = send_state or SendState()
        send_state.request_sent = send_state.response_started = False
        return await self.process.world.exchange(self.process, request, send_state)


class Process:
    """A process with one client, until it ends or crashes."""

    def __init__(self, world: World, change: Change) -> None:
        self.world = world
        self.lives = True
        self.secret: Secret[str]
        self.said: set[str] = set()  # tokens and pods that a caller was informed of
        self.log = world.log
        parts: dict[str, Any] = {
            "Transport": partial(Network, self),
            "journal_folder": lambda _: change.get("Folder", Folder)(world.disk, self),
        }
        options: dict[str, Any] = {
            "settle_timeout": SETTLE, "api_version": world.api_version, **change.get("options", {})
        }  # fmt: skip
        changed = {name: part for name, part in change.items() if name not in ("Folder", "options")}
        with patch.multiple("yotta_async.client", **parts | changed):
            self.client = YottaClient(KEY, base_url="http://127.0.0.1:1", clock=Clock(), poll_interval=5, **options)

    async def run(self) -> None:
        """Make some pods, each in its way; then end well, or not."""
        draw = self.world.random
        count = draw.randint(1, 8)
        self.world.intents += count
        callers = [asyncio.ensure_future(self.caller()) for _ in range(count)]
        everything = asyncio.gather(*callers)
        ending = asyncio.ensure_future(self.end(everything))
        if draw.random() < 0.2:
            self.world.fired["crash"] += 1
            await asyncio.wait({ending}, timeout=draw.expovariate(1 / 20))
            self.lives = False
            if draw.random() < 0.5 and (files := [f for f in self.world.disk.files if f.holder is self]):
                files[0].data += b'{"intent": "torn'
            for task in (ending, *callers):
                task.cancel()
        with suppress(asyncio.CancelledError):
            await ending

    async def end(self, everything: asyncio.Future[Any]) -> None:
        await everything
        await self.client.aclose()
        if self.lives:
            self.check_left()
        self.lives = False

    def check_left(self) -> None:
        """After closing, every pod is held by a caller, or was reported to one."""
        self.check([token for token, maker in self.world.makers.items() if maker is self])

    def check(self, tokens: list[str]) -> None:
        for token in tokens:
            for pod in self.world.of(token):
                is_reported = self.said & {token, pod.pod_id} or any(
                    token in line or pod.pod_id in line for line in self.log
                )
                if not (pod.going or pod.pod_id in self.world.held or is_reported):
                    raise self.world.violation("a pod was left that is neither held nor reported")

    async def caller(self) -> None:
        draw = self.world.random
        CALLER.set(caller := object())
        await asyncio.sleep(draw.uniform(0, 30))
        work: Callable[[], Awaitable[None]] = self.plain if draw.random() < 0.6 else self.ephemeral
        task = asyncio.ensure_future(work())
        if draw.random() < 0.25:
            self.world.fired["cancel"] += 1
            await asyncio.wait({task}, timeout=draw.choice([0.0, 0.02, 0.2, 2, 20, 70]))
            for _ in range(draw.choice([1, 1, 3])):
                task.cancel()
                await asyncio.wait({task}, timeout=draw.choice([0, 0.3]))
            began = asyncio.get_running_loop().time()
            await asyncio.wait({task})
            took = asyncio.get_running_loop().time() - began
            if took > HOLD + 1 and self.lives:
                raise self.world.violation("a cancel was held back for too long")
            if took < HOLD - 1 and self.lives:
                self.check([token for token, its in self.world.callers.items() if its is caller])
        with suppress(asyncio.CancelledError):
            await task

    def fields(self) -> PodFields:
        """Return the fields of a new pod. In API v2 some callers give it a name."""
        fields = PodFields(image="i", gpu_type="g")
        if self.world.api_version == "v2" and self.world.random.random() < 0.3:
            fields["pod_name"] = "mine"
        return fields

    async def plain(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            self.wait_deferring_cancel(await self.client.pods.create(**self.fields()))
        except CreateOutcomeUnknownError as error:
            await self.unknown(error, began)
        except YottaError:
            pass  # there is no pod

    async def ephemeral(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            async with self.client.pods.ephemeral(**self.fields()) as handle:
                await asyncio.sleep(self.world.random.choice([0, 1, 30]))
                if self.lives and self.world.pods[handle.id].going:
                    raise self.world.violation("an ephemeral pod was deleted within its block")
            if self.lives and not self.world.pods[handle.id].going:
                raise self.world.violation("a block was left, and its pod was not")
        except CreateOutcomeUnknownError as error:
            await self.unknown(error, began)
        except YottaError as error:
            self.said |= {getattr(error, "pod_id", "")}

    async def unknown(self, error: CreateOutcomeUnknownError, began: float) -> None:
        """Take an unknown outcome, and search for its pod now and then, or leave it to `reap`."""
        token = error.client_token
        assert token is not None
        self.said.add(token)
        if self.lives and asyncio.get_running_loop().time() - began < SETTLE:
            raise self.world.violation("a create was given up too early")
        for _ in range(self.world.random.choice([0, 2])):
            await asyncio.sleep(45)
            with suppress(YottaError):
                if (handle := await error.resolve()) is not None:
                    self.wait_deferring_cancel(handle)
                    return

    def wait_deferring_cancel(self, handle: PodHandle) -> None:
        if self.lives:
            if handle.id in self.world.held:
                raise self.world.violation("one pod was given to two callers")
            self.world.held.add(handle.id)


async def reap(world: World, change: Change) -> None:
    """Clean up once, as a process of its own."""
    process = Process(world, change)
    with suppress(YottaError):
        await process.client.pods.reap()
    await process.client.aclose()
    process.lives = False


class Lines(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def live(world: World, change: Change) -> None:
    """Let a world go by, and check what is left of it."""
    processes = [asyncio.ensure_future(Process(world, change).run()) for _ in range(world.random.randint(1, 3))]
    for pause in (5, 20, 60):
        await asyncio.sleep(pause)
        await reap(world, change)
    await asyncio.gather(*processes)
    world.trouble = 0.2
    for _ in range(8):
        await asyncio.sleep(900)
        await reap(world, change)
    for token in world.makers:
        pods = world.of(token)
        if len(pods) > 1:
            raise world.violation("a create made two pods")
        left = [pod for pod in pods if not pod.going and pod.pod_id not in world.held]
        if any(world.shows_token(pod) for pod in left):
            raise world.violation("a pod is left that no caller holds")
        if left and not world.disk.is_open(token):
            raise world.violation("a pod is left that no caller holds, and whose token nothing shows")


class Loop(looptime.make_event_loop_class(asyncio.SelectorEventLoop)):  # type: ignore[misc]  # made at run time
    """Virtual time; what would go to a thread is done on the spot."""

    def run_in_executor(self, _: object, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001  # the caller's
            future.set_exception(error)
        return cast("asyncio.Future[Any]", future)


def simulate(seed: int, change: Change = MappingProxyType({}), *, api_version: str = "v1") -> World:
    """Run one world of a version of the API. Raises Violation."""
    random.seed(seed)
    logger.addHandler(logging.NullHandler())
    loop = Loop(start=0, end=1e6, idle_timeout=0, noop_cycles=0)

    loop.set_exception_handler(lambda *_: None)  # a crash leaves tasks behind

    async def main() -> World:
        world = World(seed, api_version)
        handler = Lines(world.log)
        logger.addHandler(handler)
        try:
            await live(world, change)
        finally:
            logger.removeHandler(handler)
            if world.violations:  # the first is the cause, and may have been raised in a task of the client's own
                raise world.violations[0]
        return world

    try:
        return cast("World", loop.run_until_complete(main()))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
