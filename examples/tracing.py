"""A trace of a fan-out: which requests it sends, how often, and with which status.

Runs on the emulator. OpenTelemetry's instrumentation of aiohttp is unmodified, and the client needs no setting for it.
"""

import asyncio
from collections import Counter, defaultdict

from yotta_async import PodSpec
from yotta_async.emulator import Emulator

try:
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
except ImportError:
    print("This example needs: pip install opentelemetry-sdk opentelemetry-instrumentation-aiohttp-client")
    raise SystemExit from None


async def deploy(provider: TracerProvider) -> None:
    """Start three pods, wait until they run, and delete them."""
    tracer = provider.get_tracer("examples.tracing")
    spec = PodSpec(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G")
    with tracer.start_as_current_span("deploy"):
        async with Emulator(clock="auto") as emulator, emulator.client() as yotta:
            with tracer.start_as_current_span("create three pods, wait until they run"):
                report = await yotta.pods.create_many([spec] * 3, until="RUNNING")
            with tracer.start_as_current_span("delete them"):
                await yotta.pods.delete_many([item.pod_id for item in report.succeeded if item.pod_id])


def label(span: ReadableSpan) -> str:
    """Return a span's name and, for a request, its path and status. The ids of pods are left out."""
    attributes = span.attributes or {}
    url = str(attributes.get("http.url") or attributes.get("url.full") or "")
    if not url:
        return span.name
    path = "/" + "/".join("{id}" if part.isdigit() else part for part in url.split("/")[3:])
    status = (
        attributes.get("http.status_code") or attributes.get("http.response.status_code") or span.status.status_code
    )
    return f"{span.name} {path} -> {status}"


def print_tree(spans: tuple[ReadableSpan, ...]) -> None:
    """Print the spans below their parents, equal ones once with their number."""
    children: defaultdict[int | None, list[ReadableSpan]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        children[span.parent.span_id if span.parent else None].append(span)

    def print_below(parent: int | None, indent: str) -> None:
        labels = Counter(label(span) for span in children[parent])
        for span in children[parent]:
            if count := labels.pop(label(span), 0):
                print(indent + label(span) + (f"  x{count}" if count > 1 else ""))
            print_below(span.context.span_id if span.context else 0, indent + "   ")

    print_below(None, "")


def main() -> None:
    """Trace the fan-out, and print the trace."""
    exporter = InMemorySpanExporter()  # in its place, an exporter to Jaeger, Honeycomb, Datadog and the like
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    AioHttpClientInstrumentor().instrument(tracer_provider=provider)
    asyncio.run(deploy(provider))
    print_tree(exporter.get_finished_spans())


if __name__ == "__main__":
    main()
