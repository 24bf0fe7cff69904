"""What watches or mocks aiohttp's sessions works with ours, unmodified: OpenTelemetry, Sentry, aioresponses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
import sentry_sdk
from aioresponses import aioresponses
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor, create_trace_config
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sentry_sdk.integrations.aiohttp import AioHttpIntegration
from yarl import URL

from tests.conftest import KEY, SPEC
from tests.connect_proxy import connect_proxy
from tests.exposure import catch
from tests.pod_server import PodServer
from tests.raw_server import RawServer, envelope, reset
from yotta_async import (
    ConnectError,
    ConnectionLostError,
    CreateOutcomeUnknownError,
    NotFoundError,
    PodStatus,
    RetryPolicy,
    SessionPool,
    TransportError,
    YottaClient,
)
from yotta_async.emulator.clock import make_clock

ONCE = RetryPolicy(max_attempts=1)
PODS_URL = "https://api.yotta.test/openapi/v1/pods"


def make_client(base_url: str, **options: Any) -> YottaClient:
    """Return a client whose pauses take no time."""
    return YottaClient(KEY, base_url=base_url, clock=make_clock("auto"), **options)


# OpenTelemetry


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider
    provider.shutdown()


@pytest.fixture
def exporter(provider: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def instrumented(provider: TracerProvider) -> Iterator[None]:
    AioHttpClientInstrumentor().instrument(tracer_provider=provider)
    yield
    AioHttpClientInstrumentor().uninstrument()


def calls_of(exporter: InMemorySpanExporter) -> list[tuple[str, str, int | None]]:
    """Return method, path and status of every span."""
    calls = []
    for span in exporter.get_finished_spans():
        attributes = dict(span.attributes or {})
        url = str(attributes.get("http.url") or attributes.get("url.full"))
        status = attributes.get("http.status_code") or attributes.get("http.response.status_code")
        calls.append((span.name, URL(url).path, int(str(status)) if status else None))
    return calls


def assert_no_key(spans: tuple[ReadableSpan, ...]) -> None:
    for span in spans:
        assert KEY not in span.to_json()


@pytest.mark.usefixtures("instrumented")
async def test_opentelemetry_has_a_span_of_each_request(api: PodServer, exporter: InMemorySpanExporter) -> None:
    async with make_client(api.url) as yotta:
        handle = await yotta.pods.create(**SPEC)
        await yotta.pods.get(handle.id)
        await yotta.pods.list()
        await yotta.pods.delete(handle.id)
    assert calls_of(exporter)[:2] == [
        ("POST", "/openapi/v1/pods/create", 200),
        ("GET", f"/openapi/v1/pods/{handle.id}", 200),
    ]
    assert [name for name, _, _ in calls_of(exporter)].count("DELETE") == 1
    assert_no_key(exporter.get_finished_spans())


@pytest.mark.usefixtures("instrumented")
async def test_opentelemetry_spans_are_children_of_the_callers_span(
    server: RawServer, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    server.answers(envelope({"id": "7", "status": "RUNNING"}), envelope(8))
    with provider.get_tracer("test").start_as_current_span("deploy") as parent:
        async with make_client(server.url) as yotta:
            await yotta.pods.get(7)
            await yotta.pods.create(**SPEC)
    get, create, deploy = exporter.get_finished_spans()
    context = parent.get_span_context()
    assert deploy.name == "deploy"
    for span, request in zip((get, create), server.received, strict=True):
        assert span.parent is not None
        assert span.parent.span_id == context.span_id
        # What the server received names this very span.
        assert span.context is not None
        ids = f"{context.trace_id:032x}-{span.context.span_id:016x}"
        assert request.headers["traceparent"].startswith(f"00-{ids}-")


@pytest.mark.usefixtures("instrumented")
async def test_opentelemetry_has_a_span_of_each_retry(server: RawServer, exporter: InMemorySpanExporter) -> None:
    server.answers(envelope(code=10002, status=503), envelope({"id": "7", "status": "RUNNING"}))
    async with make_client(server.url) as yotta:
        await yotta.pods.get(7)
    assert calls_of(exporter) == [("GET", "/openapi/v1/pods/7", 503), ("GET", "/openapi/v1/pods/7", 200)]
    assert exporter.get_finished_spans()[0].status.status_code is StatusCode.ERROR


@pytest.mark.usefixtures("instrumented")
async def test_opentelemetry_has_the_failures_without_the_key(
    server: RawServer, unused_tcp_port: int, exporter: InMemorySpanExporter
) -> None:
    server.answers(reset)
    async with make_client(server.url, retry=ONCE, settle_timeout=1) as yotta:
        await catch(ConnectionLostError, yotta.pods.get(7))
        await catch(CreateOutcomeUnknownError, yotta.pods.create(**SPEC))
    async with make_client(f"http://127.0.0.1:{unused_tcp_port}", retry=ONCE) as yotta:
        await catch(ConnectError, yotta.pods.get(7))
    spans = exporter.get_finished_spans()
    assert len(spans) >= 3
    for span in spans:
        assert span.status.status_code is StatusCode.ERROR
        assert [event.name for event in span.events] == ["exception"]
    assert_no_key(spans)


@pytest.mark.usefixtures("instrumented")
async def test_opentelemetry_has_no_proxy_password(server: RawServer, exporter: InMemorySpanExporter) -> None:
    server.answers(envelope({"id": "7", "status": "RUNNING"}))
    async with (
        connect_proxy(credentials=("me", "proxy-password")) as proxy,
        SessionPool(proxy=proxy.url_with_password) as pool,
        make_client(server.url, session_pool=pool, retry=ONCE) as yotta,
    ):
        await yotta.pods.get(7)
        proxy.closes = 100
        await catch(TransportError, yotta.pods.list())
    assert len(exporter.get_finished_spans()) == 2
    for span in exporter.get_finished_spans():
        assert "proxy-password" not in span.to_json()
    assert_no_key(exporter.get_finished_spans())


async def test_trace_configs_are_called_for_every_request(
    api: PodServer, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    ended: list[tuple[str, int]] = []

    async def on_request_end(_: Any, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        ended.append((params.method, params.response.status))

    own = aiohttp.TraceConfig()
    own.on_request_end.append(on_request_end)
    configs = [own, create_trace_config(tracer_provider=provider)]
    async with SessionPool(trace_configs=configs) as pool:
        for _ in range(2):  # the second client has sessions of its own
            async with make_client(api.url, session_pool=pool) as yotta:
                handle = await yotta.pods.create(**SPEC)
                await yotta.pods.get(handle.id)
                await catch(NotFoundError, yotta.pods.get(9))
    assert ended == [("POST", 200), ("GET", 200), ("GET", 200)] * 2
    assert [name for name, _, _ in calls_of(exporter)] == ["POST", "GET", "GET"] * 2
    assert_no_key(exporter.get_finished_spans())


async def test_a_trace_config_that_fails_does_not_repeat_a_create(api: PodServer) -> None:
    async def fail(*_: Any) -> None:
        raise LookupError("the fault of a trace config")

    config = aiohttp.TraceConfig()
    config.on_request_end.append(fail)
    async with (
        SessionPool(trace_configs=[config]) as pool,
        make_client(api.url, session_pool=pool, settle_timeout=1) as yotta,
    ):
        await catch(Exception, yotta.pods.create(**SPEC))
    assert sum(api.posts.values()) == 1


# Sentry


class SentryTransport(sentry_sdk.transport.Transport):
    """Keeps what would be sent."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.sent: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.sent += [item.payload.json for item in envelope.items if item.payload.json is not None]


@pytest.fixture
def sentry(monkeypatch: pytest.MonkeyPatch) -> Iterator[SentryTransport]:
    """Run Sentry with its aiohttp integration, and take its patches out of aiohttp again."""
    for owner, name in (
        (aiohttp.ClientSession, "__init__"),
        (aiohttp.web.Application, "_handle"),
        (aiohttp.web.UrlDispatcher, "resolve"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr("sentry_sdk.integrations._installed_integrations", set())
    monkeypatch.setattr("sentry_sdk.integrations._processed_integrations", set())
    transport = SentryTransport()
    client = sentry_sdk.Client(
        dsn="https://public@127.0.0.1/1",
        transport=transport,
        traces_sample_rate=1.0,
        integrations=[AioHttpIntegration()],
        default_integrations=False,
        auto_enabling_integrations=False,
        send_client_reports=False,
    )
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        yield transport
    client.close()


async def test_sentry_has_a_span_and_a_breadcrumb_of_each_request(server: RawServer, sentry: SentryTransport) -> None:
    server.answers(envelope({"id": "7", "status": "RUNNING"}), envelope(8), envelope(code=13000, status=404))
    with sentry_sdk.start_transaction(name="deploy"):
        async with make_client(server.url) as yotta:
            await yotta.pods.get(7)
            await yotta.pods.create(**SPEC)
            error = await catch(NotFoundError, yotta.pods.get(9))
        sentry_sdk.capture_exception(error)
    event, transaction = sentry.sent
    spans = [
        (span["op"], span["description"], span["data"]["http.response.status_code"]) for span in transaction["spans"]
    ]
    assert spans == [
        ("http.client", f"GET {server.url}/openapi/v1/pods/7", 200),
        ("http.client", f"POST {server.url}/openapi/v1/pods/create", 200),
        ("http.client", f"GET {server.url}/openapi/v1/pods/9", 404),
    ]
    crumbs = [crumb["data"] for crumb in event["breadcrumbs"]["values"] if crumb["type"] == "http"]
    assert [
        (crumb["http.method"], crumb["status_code" if "status_code" in crumb else "http.response.status_code"])
        for crumb in crumbs
    ] == [
        ("GET", 200),
        ("POST", 200),
        ("GET", 404),
    ]
    assert KEY not in json.dumps(sentry.sent, default=repr)


async def test_sentry_propagates_the_trace(server: RawServer, sentry: SentryTransport) -> None:
    server.answers(envelope({"id": "7", "status": "RUNNING"}), envelope(8))
    with sentry_sdk.start_transaction(name="deploy") as transaction:
        async with make_client(server.url) as yotta:
            await yotta.pods.get(7)
            await yotta.pods.create(**SPEC)
    for request in server.received:
        assert request.headers["sentry-trace"].startswith(transaction.trace_id)
        assert f"sentry-trace_id={transaction.trace_id}" in request.headers["baggage"]
        assert request.headers["x-api-key"] == KEY


async def test_sentry_shows_no_key_of_an_error_with_its_local_variables(
    server: RawServer, sentry: SentryTransport
) -> None:
    server.answers(reset)
    async with make_client(server.url, retry=ONCE) as yotta:
        error = await catch(ConnectionLostError, yotta.pods.get(7))
    sentry_sdk.capture_exception(error)
    (event,) = sentry.sent
    kinds = [value["type"] for value in event["exception"]["values"]]
    assert kinds[-1] == "ConnectionLostError"
    assert len(kinds) > 1, "the cause is there too"
    assert KEY not in json.dumps(event, default=repr)


# aioresponses


class MockedResponse(aiohttp.ClientResponse):
    """What aioresponses 0.7.9 makes with aiohttp 3.14.

    aiohttp 3.14 demands a `stream_writer`, which aioresponses does not pass:
    https://github.com/pnuckowski/aioresponses/issues/289. Until it does, give `response_class=MockedResponse`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


def reply(data: Any, *, code: int = 10000, status: int = 200) -> dict[str, Any]:
    """Return the arguments of a mocked response with the documented envelope."""
    payload = {"message": "success", "code": code, "data": data}
    return {"payload": payload, "status": status, "response_class": MockedResponse}


async def test_aioresponses_mocks_every_call() -> None:
    with aioresponses() as mocked:
        mocked.get(f"{PODS_URL}/7", **reply({"id": "7", "status": "RUNNING"}))
        mocked.post(f"{PODS_URL}/create", **reply(8))
        mocked.get(re.compile(rf"{PODS_URL}/list.*"), **reply([{"id": "8", "status": "PENDING"}]))
        mocked.get(f"{PODS_URL}/9", **reply(None, code=13000, status=404))
        async with make_client("https://api.yotta.test") as yotta:
            assert (await yotta.pods.get(7)).status is PodStatus.RUNNING
            assert (await yotta.pods.create(**SPEC)).id == "8"
            assert [pod.id for pod in await yotta.pods.list()] == ["8"]
            await catch(NotFoundError, yotta.pods.get(9))
        (create,) = mocked.requests["POST", URL(f"{PODS_URL}/create")]
    assert create.kwargs["headers"]["x-api-key"] == KEY


async def test_aioresponses_mocks_failures() -> None:
    with aioresponses() as mocked:
        mocked.get(f"{PODS_URL}/7", exception=aiohttp.ServerDisconnectedError())
        mocked.get(f"{PODS_URL}/7", **reply({"id": "7", "status": "RUNNING"}))
        async with make_client("https://api.yotta.test") as yotta:
            assert (await yotta.pods.get(7)).id == "7"
            await catch(ConnectionLostError, yotta.pods.get(8))  # nothing is mocked for it


async def test_mocked_calls_can_run_at_the_same_time() -> None:
    with aioresponses() as mocked:
        mocked.get(f"{PODS_URL}/7", **reply({"id": "7", "status": "RUNNING"}), repeat=True)
        async with make_client("https://api.yotta.test") as yotta:
            pods = await asyncio.gather(*(yotta.pods.get(7) for _ in range(20)))
    assert {pod.id for pod in pods} == {"7"}
