"""A fuzz of the transport through public names.

`python -m benchmarks.fuzz [--seed N] [--count N] [--only NAME] [--tls]` runs these attacks:

- cuts: responses to every endpoint, cut at every byte, in four framings, then closed or reset
- faults: random operations, many in flight, under faults drawn from a list
- keepalive: a server that ends idle connections after 0-20 ms, by close, reset or an unasked 408
- cancels: operations that are cancelled after a random number of event loop iterations or milliseconds
- early: 413 before the body was read, headers of up to 64 KiB, 1xx responses

Prints one line of counts for each attack, then its violations, and exits 1 if there are any. The server
(`benchmarks/fuzz_server.py`) runs in the same process and event loop, and keeps the truth that calls are compared with.
The seed fixes what is drawn, not the timing of sockets. `--tls` needs `cryptography`, which the extra `test` has.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import itertools
import logging
import os
import random
import ssl
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fuzz_server import FRAMINGS, Fault, Request, SentResponse, Server, ServerPod
from yotta_async import (
    APIError,
    ConnectError,
    ConnectionLostError,
    CreateOutcomeUnknownError,
    Pod,
    PodHandle,
    ProtocolError,
    RequestTimeoutError,
    RetryPolicy,
    SessionPool,
    TransportError,
    YottaClient,
    YottaError,
)

OPERATIONS = ("create", "list", "get", "pause", "resume", "delete")
DEFAULT_COUNTS = {"cuts": 40_000, "faults": 10_000, "keepalive": 10_000, "cancels": 5_000, "early": 600}
POOL_LIMIT = 10
HANG_S = 60.0  # no call of the fuzz may take longer
LONGEST_S = 300.0  # nor an attack
ENOUGH = 100  # violations, after which an attack begins no more calls
CLOSE_POLLS = 1_000  # of 1 ms, after which the server has seen the end of all connections of a closed pool
TAKES_SSL = "ssl" in inspect.signature(SessionPool).parameters
# The request lines and headers that aiohttp accepts by default. Before SessionPool(ssl=) the package kept that limit.
OLD_HEADER_LIMIT = 8190
# What a fault may make of an operation that is tried once, beside a timeout or a lost connection.
SUCCESSFUL = ("none", "extra", "extra later", "announced")
CLASS_OF_FAULT: dict[str, tuple[type[YottaError], ...]] = {
    "garbage": (ProtocolError,),
    "502": (ProtocolError,),
    "bad json": (ProtocolError,),
    "wrong code": (ProtocolError,),
    "wrong pod": (ProtocolError,),
    "cut": (ProtocolError,),
    "500": (APIError,),
    "10002": (APIError,),
    "429": (APIError,),
}
# Whether the server acts on a request is drawn for these; it never does before 429 and always before the others.
AMBIGUOUS = ("reset", "close", "silence", "garbage", "500", "502", "10002", "late")
FAULT_KINDS = (
    "none",
    "none",
    "announced",
    "extra",
    "extra later",
    "reset",
    "close",
    "silence",
    "late",
    "429",
    *CLASS_OF_FAULT,
)


class FastClock:
    """A clock that runs faster than real time, so that the pauses between retries cost little."""

    def __init__(self, speed: float) -> None:
        self._speed = speed

    def time(self) -> float:
        """Return seconds of this clock."""
        return time.monotonic() * self._speed

    def now(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep for seconds of this clock."""
        await asyncio.sleep(seconds / self._speed)

    def call(self, *_: object, **__: object) -> AbstractContextManager[object]:
        """Return nothing of note: time goes on by itself."""
        return nullcontext()


@dataclass(frozen=True)
class Certificates:
    """Where the files of the server's certificate and of its CA are."""

    ca: Path
    server: Path

    def server_context(self) -> ssl.SSLContext:
        """Return the server's side of TLS."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server)
        return context


def make_certificates(folder: Path) -> Certificates:
    """Write a self-signed CA and a certificate for 127.0.0.1 that it signed."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def make(subject: str, issuer: str, key: Any, signer: Any, extension: Any, *, critical: bool) -> Any:
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
        builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=critical)
        now = datetime.now(UTC)
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    basic = x509.BasicConstraints(ca=True, path_length=None)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    files = Certificates(folder / "ca.pem", folder / "server.pem")
    files.ca.write_bytes(make("Fuzz CA", "Fuzz CA", ca_key, ca_key, basic, critical=True))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files.server.write_bytes(private + make("127.0.0.1", "Fuzz CA", key, ca_key, names, critical=False))
    return files


@dataclass
class Outcome:
    """What came out of one call."""

    key: str
    operation: str
    pod: ServerPod
    attempts: int
    faults: Sequence[Fault] = ()
    result: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        kinds = ", ".join(f"{fault.kind}{'' if fault.processes else ' unprocessed'}" for fault in self.faults)
        return f"{self.key} {self.operation} of {self.pod.id} (attempts {self.attempts}; faults: {kinds})"


@dataclass
class Fuzz:
    """One attack's run: its server, its random numbers, its counts and the violations that it found."""

    name: str
    seed: int
    count: int
    certificates: Certificates | None = None
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.name} {self.seed}")
        self.server = Server(self.seed, self.certificates.server_context() if self.certificates else None)
        self._keys = itertools.count(1)

    def violate(self, what: object, why: str) -> None:
        """Note a broken invariant."""
        self.counts["VIOLATIONS"] += 1
        self.violations.append(f"{self.name}: {what}: {why}")

    def expect(self, condition: object, what: object, why: str) -> None:
        """Note a broken invariant unless the condition holds."""
        if not condition:
            self.violate(what, why)

    @asynccontextmanager
    async def pool(self) -> AsyncIterator[SessionPool]:
        """Open a pool; once it is closed the server must see the end of every connection."""
        options: dict[str, Any] = {}
        if TAKES_SSL and self.certificates:
            options["ssl"] = ssl.create_default_context(cafile=str(self.certificates.ca))
        async with SessionPool(POOL_LIMIT, **options) as pool:
            yield pool
        for _ in range(CLOSE_POLLS):  # counted, as a busy machine may stop the process for longer than any deadline
            if not self.server.open:
                break
            await asyncio.sleep(0.001)
        self.expect(not self.server.open, "the closed pool", f"{len(self.server.open)} connections are still open")

    def client(self, pool: SessionPool, key: str, *, attempts: int = 4, **options: Any) -> YottaClient:
        """Return a client with this key. Its clock is fast; the timeout of an attempt is real time."""
        settings: dict[str, Any] = {
            "timeout": 20.0,
            "settle_timeout": 20.0,
            "poll_interval": 1.0,
            "clock": FastClock(options.pop("speed", 100.0)),
            "base_url": self.server.url,
            "retry": RetryPolicy(max_attempts=attempts),
        }
        return YottaClient(key, session_pool=pool, **(settings | options))

    def prepare(self, operation: str, faults: Sequence[Fault] = (), *, attempts: int = 4) -> Outcome:
        """Give a call a key, a pod and its faults."""
        key = f"call-{next(self._keys)}"
        self.server.scripts[key] = deque(faults)
        if operation == "create":
            pod = ServerPod("none", key)  # the pod that is to come
        else:
            pod = self.server.add_pod(key, "PAUSED" if operation == "resume" else "RUNNING")
        return Outcome(key, operation, pod, attempts, faults)

    async def call(self, pool: SessionPool, outcome: Outcome, **options: Any) -> Outcome:
        """Run one prepared call to its end, and check what came out."""
        async with self.client(pool, outcome.key, attempts=outcome.attempts, **options) as client:
            try:
                async with asyncio.timeout(HANG_S):
                    outcome.result = await perform(client, outcome)
            except YottaError as error:
                outcome.error = error
            except Exception as error:  # noqa: BLE001  # whatever else comes out is a violation
                outcome.error = error
                self.violate(outcome, f"raised {error!r}")
            # The server may have yet to process a request whose response is late.
            while any(request.is_pending for request in self.server.requests[outcome.key]):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await self.check(outcome)
        self.counts["calls"] += 1
        self.counts["succeeded" if outcome.error is None else type(outcome.error).__name__] += 1
        return outcome

    async def check(self, outcome: Outcome) -> None:
        """Compare what came out of a call with the server's record."""
        key, error = outcome.key, outcome.error
        requests = self.server.requests[key]
        if outcome.operation == "create":
            await self.check_create(outcome, requests)
        elif error is None:
            self.check_success(outcome, requests)
        asked = [request for request in requests if request.operation == outcome.operation]
        limit = outcome.attempts if outcome.operation != "delete" or outcome.attempts != 4 else 8
        self.expect(len(asked) <= limit, outcome, f"{len(asked)} requests, more than {limit} attempts")
        if isinstance(error, APIError) and error.http_status != 408:  # which belongs to no call
            sent = self.server.errors_sent[key]
            self.expect((error.http_status, error.code) in sent, outcome, f"raised {error!r}, server sent only {sent}")
        if isinstance(error, ConnectError) and (outcome.attempts == 1 or outcome.operation not in ("get", "list")):
            seen = [request for request in requests if not request.was_rejected]
            is_unseen = not seen and key not in self.server.partial_keys
            self.expect(is_unseen, outcome, f"raised {error!r}, but the server saw the request")

    def took_unasked(self, serial: str | None) -> bool:
        """Count a read that took a response which the server had sent unasked on a kept connection.

        Only one that the event loop had not read before the request is taken: aiohttp does not look at an idle
        connection before it uses it again, and has no documented way to do so. A get still refuses another pod; a
        change, or a read on which a change depends, has a connection of its own.
        """
        sent = self.server.responses.get(serial or "")
        if sent is None or not sent.unasked:
            return False
        self.counts["known limit: reads that took an unasked response"] += 1
        return True

    def check_success(self, outcome: Outcome, requests: Sequence[Request]) -> None:
        """Check a result of anything but a create."""
        pod = outcome.pod
        if outcome.operation == "get":
            self.expect(outcome.result.id == pod.id, outcome, f"returned pod {outcome.result.id}")
            self.check_serial(outcome, outcome.result.pod_name, pod.id)
        elif outcome.operation == "list":
            if any(self.took_unasked(item.pod_name) for item in outcome.result):
                return
            ids = [item.id for item in outcome.result]
            self.expect(ids == [pod.id], outcome, f"returned pods {ids}")
            for item in outcome.result:
                self.check_serial(outcome, item.pod_name, "list")
        else:
            done = {"pause": "PAUSED", "resume": "RUNNING", "delete": "TERMINATING"}[outcome.operation]
            acted = any(request.operation == outcome.operation and request.was_processed for request in requests)
            self.expect(acted and pod.status == done, outcome, f"succeeded, but the pod is {pod.status}")

    def check_serial(self, outcome: Outcome, serial: str | None, pod_id: str) -> None:
        """Check that a response was the one to a request of this call."""
        if self.took_unasked(serial):
            return
        sent = self.server.responses.get(serial or "")
        expected = SentResponse(outcome.key, outcome.operation, pod_id)
        self.expect(sent == expected, outcome, f"took the response {serial}, which was sent for {sent}")

    async def check_create(self, outcome: Outcome, requests: Sequence[Request]) -> None:
        """Check that one POST at most may have been processed, and that the result is its pod."""
        posts = [request for request in requests if request.operation == "create"]
        for post in posts[:-1]:
            self.expect(post.was_rejected, outcome, "a create that may have been processed was sent again")
        self.expect(len({post.body for post in posts}) <= 1, outcome, "a repeated create is not the same")
        pods = self.server.pods_of_key[outcome.key]
        self.expect(len(pods) <= 1, outcome, f"{len(pods)} pods")
        error, handle = outcome.error, outcome.result
        if isinstance(error, CreateOutcomeUnknownError):
            self.expect(isinstance(error.__cause__, YottaError), outcome, f"cause {error.__cause__!r}")
            self.server.scripts[outcome.key].clear()
            try:
                handle = await error.resolve()
            except YottaError as problem:  # a drop of connections
                self.expect(isinstance(problem, TransportError), outcome, f"resolve() raised {problem!r}")
                return
            self.counts["resolved to a pod" if handle else "resolved to none"] += 1
            found = [handle.id] if handle else []
        else:
            found = [handle.id] if isinstance(handle, PodHandle) else []
        self.expect(found == [pod.id for pod in pods], outcome, f"gave {found} and {error!r}, pods: {pods}")

    async def check_capacity(self, pool: SessionPool) -> None:
        """Check that the pool still carries `limit` calls at a time, on kept connections and on those of creates."""
        for operation in ("get", "create"):
            self.server.barrier_size, self.server.at_barrier = POOL_LIMIT, 0
            # A get may lose a race against a server that closes idle connections, and is then sent again.
            attempts = 4 if operation == "get" else 1
            outcomes = [self.prepare(operation, [Fault("barrier")], attempts=attempts) for _ in range(POOL_LIMIT)]
            async with asyncio.TaskGroup() as group:
                for outcome in outcomes:
                    group.create_task(self.call(pool, outcome, timeout=10.0))
            failed = [outcome for outcome in outcomes if outcome.error is not None]
            self.expect(
                not failed, "the pool", f"only {POOL_LIMIT - len(failed)} of {POOL_LIMIT} {operation}s at a time"
            )

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Run the server, and note what asyncio, `gc` and `warnings` complain of meanwhile."""
        loop = asyncio.get_running_loop()
        unraisable, sys.unraisablehook = sys.unraisablehook, lambda what: self.violate("unraisable", repr(what))
        loop.set_exception_handler(lambda _, context: self.violate("event loop", repr(context)))
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                async with self.server:
                    yield
                gc.collect()
                await asyncio.sleep(0)
                gc.collect()
            for warning in caught:
                self.violate("warning", str(warning.message))
        finally:
            sys.unraisablehook = unraisable
            loop.set_exception_handler(None)


async def perform(client: YottaClient, outcome: Outcome) -> Any:
    """Do what the outcome is of."""
    pods, pod_id = client.pods, outcome.pod.id
    if outcome.operation == "create":
        return await pods.create(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G", pod_name=outcome.key)
    if outcome.operation == "list":
        return await pods.list()
    calls: dict[str, Callable[[str], Awaitable[Any]]] = {
        "get": pods.get,
        "pause": pods.pause,
        "resume": pods.resume,
        "delete": pods.delete,
    }
    return await calls[outcome.operation](pod_id)


async def run_all(fuzz: Fuzz, jobs: Iterable[Callable[[], Awaitable[None]]], in_flight: int) -> None:
    """Run the jobs, some at a time, until there are enough violations."""
    waiting = iter(jobs)

    async def work() -> None:
        for job in waiting:
            if len(fuzz.violations) >= ENOUGH:
                return
            await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())


# The attacks.


class Cut(NamedTuple):
    """Which response is cut where, then closed or reset, and whether the call may try again."""

    operation: str
    framing: str
    resets: bool
    at: int
    on_used_connection: bool
    attempts: int


async def cuts(fuzz: Fuzz) -> None:
    """Cut each endpoint's response at every byte."""
    rng = fuzz.rng
    async with fuzz.watched(), fuzz.pool() as pool:
        cases: list[Cut] = []
        for operation, framing in itertools.product(OPERATIONS, FRAMINGS):
            outcome = await fuzz.call(pool, fuzz.prepare(operation, [Fault(framing=framing)], attempts=1))
            fuzz.expect(outcome.error is None, outcome, f"a whole response in framing {framing} gave {outcome.error!r}")
            positions = range(fuzz.server.requests[outcome.key][0].whole_size + 1)
            choices = itertools.product((False, True), positions, (False, True), (1, 4))
            cases += [Cut(operation, framing, *choice) for choice in choices]
        if len(cases) > fuzz.count:
            cases = rng.sample(cases, fuzz.count)

        async def cut(case: Cut) -> None:
            if case.on_used_connection:
                await fuzz.call(pool, fuzz.prepare("get"))
            processes = case.operation != "create" or rng.random() < 0.8
            fault = Fault("cut", processes, framing=case.framing, resets=case.resets, cut_at=case.at)
            outcome = fuzz.prepare(case.operation, [fault], attempts=case.attempts)
            await fuzz.call(pool, outcome, settle_timeout=2.0 if processes else 0.5)
            check_cut(fuzz, outcome, fuzz.server.requests[outcome.key][0], fault)
            fuzz.server.forget(outcome.key)

        await run_all(fuzz, ((lambda case=case: cut(case)) for case in cases), 8)  # type: ignore[misc]


def check_cut(fuzz: Fuzz, outcome: Outcome, request: Request, fault: Fault) -> None:
    """Check that a cut response is an error of the right class, and a whole one the right result."""
    error = outcome.error
    what = f"{outcome}, {fault.framing}, cut at {request.sent_size} of {request.whole_size}, resets {fault.resets}"
    if isinstance(error, CreateOutcomeUnknownError):
        error = error.__cause__
    elif outcome.operation == "create" and error is None:
        fuzz.counts["creates found by their token"] += request.sent_size < request.whole_size
        return
    elif outcome.attempts > 1:
        fuzz.counts["cut, then whole"] += 1
        fuzz.expect(error is None, what, f"gave {error!r} although the next response was whole")
        return
    if request.sent_size == request.whole_size:
        fuzz.counts["whole"] += 1
        may_be_lost = fault.resets and isinstance(error, TransportError)
        is_lie = outcome.operation == "create" and not fault.processes
        fuzz.expect(error is None or may_be_lost or is_lie, what, f"a whole response gave {error!r}")
        return
    fuzz.counts["cut"] += 1
    expected: tuple[type[BaseException], ...] = (ProtocolError,)
    if request.sent_size == 0:
        expected = (ConnectionLostError,)
    elif request.sent_size < request.head_size:
        expected = (ConnectionLostError, ProtocolError)
    elif fault.resets:
        expected = (ProtocolError, ConnectionLostError)
    fuzz.expect(isinstance(error, expected), what, f"gave {error!r}, result {outcome.result!r}")


def draw_fault(rng: random.Random, operation: str) -> Fault:
    """Draw what happens to one request."""
    kind = rng.choice([kind for kind in FAULT_KINDS if kind != "wrong pod" or operation == "get"])
    framings = ("length", "chunked", "gzip") if kind.startswith("extra") else FRAMINGS
    return Fault(
        kind,
        processes=kind != "429" and (kind not in AMBIGUOUS or rng.random() < 0.5),
        framing=rng.choice(framings),
        resets=rng.random() < 0.3,
        cut_share=rng.random() if kind == "cut" else None,
        delay_s={"late": 0.25, "extra later": rng.choice((0, 0, 0.001))}.get(kind, rng.choice((0, 0, 0, 0.002))),
        turns=rng.randrange(4),
    )


async def faults(fuzz: Fuzz) -> None:
    """Run random operations under random faults, 20 in flight over 10 connections."""
    rng = fuzz.rng
    fuzz.server.drop_share = 0.02
    async with fuzz.watched(), fuzz.pool() as pool:

        async def attack() -> None:
            operation = rng.choice(OPERATIONS)
            attempts = rng.choice((1, 4))
            drawn = [draw_fault(rng, operation) for _ in range(rng.choice((1, 1, 2, 3, 6)))]
            outcome = fuzz.prepare(operation, drawn, attempts=attempts)
            base_url = fuzz.server.url if rng.random() > 0.02 else f"{fuzz.server.url.rpartition(':')[0]}:1"
            await fuzz.call(pool, outcome, timeout=0.15, base_url=base_url)
            if base_url != fuzz.server.url:
                fuzz.counts["refused connections"] += 1
                fuzz.expect(isinstance(outcome.error, ConnectError), outcome, f"port 1 gave {outcome.error!r}")
            elif attempts == 1:
                check_single(fuzz, outcome, drawn[0])
            fuzz.counts["requests"] += len(fuzz.server.requests[outcome.key])
            fuzz.server.forget(outcome.key)

        await run_all(fuzz, itertools.repeat(attack, fuzz.count), 2 * POOL_LIMIT)
        fuzz.counts["unasked responses"] = sum(sent.unasked for sent in fuzz.server.responses.values())
        fuzz.server.drop_share = 0.0
        await fuzz.check_capacity(pool)


def check_single(fuzz: Fuzz, outcome: Outcome, fault: Fault) -> None:
    """Check the class of the error of a call that was tried once; a busy machine may add timeouts."""
    error = outcome.error
    if isinstance(error, CreateOutcomeUnknownError):
        error = error.__cause__
    elif outcome.operation == "create" and error is None:
        return  # `check_create` compared it with the truth; a lost response may have been recovered by the list
    if isinstance(error, RequestTimeoutError | ConnectionLostError | ConnectError):
        return
    if outcome.operation in ("get", "list") and isinstance(error, ProtocolError) and "data is not" in str(error):
        fuzz.counts["known limit: reads that refused an unasked response"] += 1
        return
    if error is None:
        results = outcome.result if outcome.operation == "list" else [outcome.result]
        if any(isinstance(pod, Pod) and fuzz.took_unasked(pod.pod_name) for pod in results):
            return
        whole = fault.kind in (*SUCCESSFUL, "late") or (fault.kind == "cut" and fault.cut_share == 1)
        fuzz.expect(whole, outcome, "succeeded with a response that was no success")
    else:
        expected = CLASS_OF_FAULT.get(fault.kind, ())
        fuzz.expect(isinstance(error, expected), outcome, f"raised {error!r}")


async def keepalive(fuzz: Fuzz) -> None:
    """Repeat calls with pauses of 0-20 ms over connections that end when they are idle for 0-20 ms."""
    rng = fuzz.rng
    fuzz.server.idle_s = lambda: rng.uniform(0, 0.02)
    fuzz.server.race_share = 0.1
    weighted = ("get", "get", "get", "list", "delete", "delete", "pause", "resume", "create")
    async with fuzz.watched(), fuzz.pool() as pool:

        async def attack() -> None:
            operation = rng.choice(weighted)
            await asyncio.sleep(rng.uniform(0, 0.02))
            outcome = fuzz.prepare(operation)
            for attempt in range(5):
                if attempt:
                    outcome = fuzz.prepare(operation)
                await fuzz.call(pool, outcome)
                fuzz.counts["requests"] += len(fuzz.server.requests[outcome.key])
                fuzz.server.forget(outcome.key)
                if outcome.error is None:
                    break
                fuzz.expect(operation != "create", outcome, f"a create on a new connection gave {outcome.error!r}")
            else:
                fuzz.violate(outcome, f"never succeeded, at last {outcome.error!r}")

        await run_all(fuzz, itertools.repeat(attack, fuzz.count), POOL_LIMIT)
        fuzz.counts["connections"] = fuzz.server.accepted
        fuzz.counts["lost races"] = len(fuzz.server.partial_keys)
        fuzz.server.idle_s, fuzz.server.race_share = None, 0.0
        await fuzz.check_capacity(pool)


async def cancels(fuzz: Fuzz) -> None:
    """Cancel calls at random points, and check that nothing is left of them."""
    batch = 250
    async with fuzz.watched():
        for first in range(0, fuzz.count, batch):
            async with fuzz.pool() as pool:
                jobs = itertools.repeat(lambda pool=pool: cancel_one(fuzz, pool), min(batch, fuzz.count - first))
                await run_all(fuzz, jobs, POOL_LIMIT + 6)
                await fuzz.check_capacity(pool)


async def cancel_one(fuzz: Fuzz, pool: SessionPool) -> None:
    """Begin one call, cancel it, close its client, and check what is left."""
    rng = fuzz.rng
    delays = [Fault(delay_s=rng.choice((0, 0.001, 0.003)), framing=rng.choice(FRAMINGS)) for _ in range(6)]
    outcome = fuzz.prepare(rng.choice(("create", *OPERATIONS)), delays)
    client = fuzz.client(pool, outcome.key, speed=2.0)
    task = asyncio.ensure_future(perform(client, outcome))
    if rng.random() < 0.7:
        for _ in range(rng.randrange(30)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(rng.uniform(0, 0.006))
    was_done = task.done()
    task.cancel()
    if rng.random() < 0.3:
        await asyncio.sleep(0)
        task.cancel()
    if rng.random() < 0.3:
        await client.aclose()
    done, _ = await asyncio.wait({task}, timeout=HANG_S)
    await client.aclose()
    fuzz.counts["cancelled" if not was_done else "done before"] += 1
    fuzz.counts["calls"] += 1
    requests = fuzz.server.requests[outcome.key]
    posts = [request for request in requests if request.operation == "create"]
    fuzz.counts["cancelled creates that were sent"] += bool(posts) and not was_done
    if not done:
        fuzz.violate(outcome, f"did not end within {HANG_S} s of its cancel")
        return
    fuzz.expect(was_done or task.cancelled(), outcome, f"swallowed its cancel: {task}")
    fuzz.expect(len(posts) <= 1, outcome, f"{len(posts)} creates were sent")
    left = [pod for pod in fuzz.server.pods_of_key[outcome.key] if not pod.is_deleted]
    if was_done and task.exception() is not None:
        fuzz.violate(outcome, f"raised {task.exception()!r}")
    elif outcome.operation == "create":
        expected = [task.result().id] if was_done else []
        fuzz.expect([pod.id for pod in left] == expected, outcome, f"left {left}, expected {expected}")
        fuzz.counts["deleted pods of cancelled creates"] += not was_done and len(fuzz.server.pods_of_key[outcome.key])
    elif was_done:
        outcome.result = task.result()
        fuzz.check_success(outcome, requests)
    fuzz.server.forget(outcome.key)


async def early(fuzz: Fuzz) -> None:
    """Responses before the request body was read, responses with large headers, and 1xx responses."""
    rng = fuzz.rng
    async with fuzz.watched(), fuzz.pool() as pool:

        async def attack() -> None:
            await rng.choice((refuse_large_create, send_large_headers, announce))(fuzz, pool)

        await run_all(fuzz, itertools.repeat(attack, fuzz.count), 6)
        await fuzz.check_capacity(pool)


async def refuse_large_create(fuzz: Fuzz, pool: SessionPool) -> None:
    """Answer 413 to a create whose body does not fit into the buffers of the sockets."""
    rng = fuzz.rng
    kind = rng.choice(("early and close", "early and deaf", "early and read"))
    outcome = fuzz.prepare("create", [Fault(kind, resets=rng.random() < 0.5, delay_s=0.5)], attempts=1)
    value = "x" * rng.choice((100, 2**16, 2**21, 2**23))
    async with fuzz.client(pool, outcome.key, attempts=1, settle_timeout=0.5) as client:
        try:
            outcome.result = await client.pods.create(image="ubuntu", gpu_type="L4", environment_vars={"LARGE": value})
        except YottaError as error:
            outcome.error = error
        await fuzz.check(outcome)
    fuzz.counts["calls"] += 1
    fuzz.counts[f"413 {kind}: {type(outcome.error).__name__}"] += 1
    is_lost = kind == "early and close" and isinstance(outcome.error, CreateOutcomeUnknownError)
    is_413 = isinstance(outcome.error, APIError) and outcome.error.http_status == 413
    fuzz.expect(is_413 or is_lost, f"{outcome}, {len(value)} bytes", f"{kind} gave {outcome.error!r}")
    fuzz.server.forget(outcome.key)


async def send_large_headers(fuzz: Fuzz, pool: SessionPool) -> None:
    """Send a response with up to 64 KiB of headers, in one or in many."""
    rng = fuzz.rng
    largest = rng.choice((500, 4_000, 8_000, 8_300, 20_000, 60_000))
    number = rng.randint(1, min(64_000 // largest, 100))
    headers = tuple((f"X-{index}", "v" * largest) for index in range(number))
    fault = Fault(headers=headers, framing=rng.choice(FRAMINGS))
    outcome = await fuzz.call(pool, fuzz.prepare(rng.choice(OPERATIONS), [fault], attempts=1))
    if outcome.error is not None and not TAKES_SSL and largest > OLD_HEADER_LIMIT:
        fuzz.counts[f"known difference: header over {OLD_HEADER_LIMIT} bytes refused"] += 1
    else:
        fuzz.counts["large headers"] += 1
        fuzz.expect(outcome.error is None, outcome, f"{number} headers of {largest} bytes gave {outcome.error!r}")
    fuzz.server.forget(outcome.key)


async def announce(fuzz: Fuzz, pool: SessionPool) -> None:
    """Send up to 20 responses with 1xx before the real one, which may be cut."""
    rng = fuzz.rng
    fault = Fault("announced", turns=rng.randrange(20), framing=rng.choice(FRAMINGS), delay_s=rng.choice((0, 0.002)))
    outcome = await fuzz.call(pool, fuzz.prepare(rng.choice(OPERATIONS), [fault], attempts=1))
    fuzz.counts["announced"] += 1
    fuzz.expect(outcome.error is None, outcome, f"{1 + fault.turns} 1xx responses gave {outcome.error!r}")
    fuzz.server.forget(outcome.key)


ATTACKS: dict[str, Callable[[Fuzz], Awaitable[None]]] = {
    "cuts": cuts,
    "faults": faults,
    "keepalive": keepalive,
    "cancels": cancels,
    "early": early,
}


async def attack(name: str, *, seed: int, count: int, certificates: Certificates | None = None) -> Fuzz:
    """Run one attack, and return its counts and violations."""
    fuzz = Fuzz(name, seed, count, certificates)
    try:
        async with asyncio.timeout(LONGEST_S):
            await ATTACKS[name](fuzz)
    except TimeoutError:
        fuzz.violate("the attack", f"did not end within {LONGEST_S:g} s")
    return fuzz


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the attacks, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, help="how many calls each attack makes")
    parser.add_argument("--only", choices=ATTACKS, metavar="NAME", help=", ".join(ATTACKS))
    parser.add_argument("--tls", action="store_true", help="over TLS instead of plain http")
    options = parser.parse_args(arguments)
    logging.getLogger("yotta_async").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        certificates = None
        if options.tls:
            given = os.environ.get("YOTTA_FUZZ_CERTIFICATES")
            certificates = Certificates(Path(given) / "ca.pem", Path(given) / "server.pem") if given else None
            certificates = certificates or make_certificates(Path(folder))
            if not given and not TAKES_SSL:  # aiohttp reads SSL_CERT_FILE once, when it is imported
                environment = os.environ | {"SSL_CERT_FILE": str(certificates.ca), "YOTTA_FUZZ_CERTIFICATES": folder}
                command = [sys.executable, "-m", "benchmarks.fuzz", *(sys.argv[1:] if arguments is None else arguments)]
                return subprocess.run(command, env=environment, check=False).returncode
        has_failed = False
        for name in [options.only] if options.only else ATTACKS:
            began = time.perf_counter()
            count = DEFAULT_COUNTS[name] if options.count is None else options.count
            fuzz = asyncio.run(attack(name, seed=options.seed, count=count, certificates=certificates))
            counts = ", ".join(f"{what} {number:,}" for what, number in sorted(fuzz.counts.items()))
            seconds = time.perf_counter() - began
            print(f"{name} over {'TLS' if options.tls else 'http'} in {seconds:.0f} s: {counts}", flush=True)
            for violation in fuzz.violations[:20]:
                print(f"  VIOLATION {violation}", flush=True)
            has_failed = has_failed or bool(fuzz.violations)
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
