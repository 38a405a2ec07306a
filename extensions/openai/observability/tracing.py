"""Traces in OpenTelemetry's form, sent to a collector over OTLP/HTTP: `--otel-endpoint`, the extra `otel`.

Spans are made of a request's record once it has ended, so that nothing is done for them meanwhile. They have
the names of OpenTelemetry's semantic conventions (HTTP, and generative AI), and nothing of what was said.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.util.types import AttributeValue

    from .record import RequestRecord

log = logging.getLogger("openedai")

TRACES_PATH = "/v1/traces"
EXPORT_S = 5.0
"""How long the collector may take for a batch of spans."""
CLOSE_S = 3.0
OPERATIONS = {
    "chat/completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "chat": "chat",
    "message": "chat",
    "embeddings": "embeddings",
    "embed": "embeddings",
    "completions": "text_completion",
    "generate": "text_completion",
    "stream": "text_completion",
    "infill": "text_completion",
}
"""`gen_ai.operation.name` by the end of a route's path."""

_context = TraceContextTextMapPropagator()


class Tracing:
    """The traces of one server. Thread-safe."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("openedai", __version__)

    @classmethod
    def to(cls, endpoint: str) -> Tracing:
        """Send them to the collector with this base URL."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return cls.by(OTLPSpanExporter(endpoint.rstrip("/") + TRACES_PATH, timeout=EXPORT_S))

    @classmethod
    def by(cls, exporter: SpanExporter) -> Tracing:
        """Send them with this exporter, in batches and in a thread of its own."""
        names = {"service.name": "openedai", "service.version": __version__}
        # What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say wins.
        resource = Resource.create(names).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def observe(self, record: RequestRecord) -> None:
        """Make the spans of a request that has ended."""
        assert record.ended is not None
        now, wall = time.monotonic(), time.time_ns()

        def at(moment: float) -> int:
            """Nanoseconds since 1970, of a time of time.monotonic()."""
            return wall - round((now - moment) * 1e9)

        came_with = _context.extract({"traceparent": record.traceparent or ""})
        span = self._tracer.start_span(
            record.route or record.path or "request",
            came_with,
            SpanKind.SERVER,
            dict(_attributes(record)),
            start_time=at(record.started),
        )
        if record.status >= 500 or (record.streamed and record.error):
            span.set_status(Status(StatusCode.ERROR, record.error))
        within = set_span_in_context(span, came_with)
        for name, begin, end in _phases(record):
            self._tracer.start_span(name, within, start_time=at(begin)).end(at(end))
        span.end(at(record.ended))

    def close(self) -> None:
        """Send what is left, if the collector takes it in time."""
        closing = threading.Thread(
            target=self._provider.shutdown, name="openai-traces-end", daemon=True
        )
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            log.warning("the last traces could not be sent in time")


def _phases(record: RequestRecord) -> Iterator[tuple[str, float, float]]:
    """What a request was doing: name, begin, end."""
    admitted, first = record.admitted, record.first_token
    if admitted is None:
        return
    ended = record.started if record.ended is None else record.ended
    yield "queue", record.started, admitted
    yield "prompt", admitted, ended if first is None else first
    if first is not None:
        yield "generation", first, first if record.last_token is None else record.last_token


def _attributes(record: RequestRecord) -> Iterator[tuple[str, AttributeValue]]:
    method, _, route = (record.route or record.path).partition(" ")
    yield "http.request.method", method
    if record.route:
        yield "http.route", route
    yield "http.response.status_code", record.status
    yield "openedai.request.id", record.id
    yield "openedai.caller", record.caller.name
    if record.error:
        yield "error.type", record.error
    if record.cancelled:
        yield "openedai.cancelled", True
    if record.model is None:
        return
    operation = operation_of(route)
    if operation is not None:
        yield "gen_ai.operation.name", operation
    yield "gen_ai.provider.name", "openedai"
    yield "gen_ai.request.model", record.model
    yield "gen_ai.request.stream", record.streamed
    if not record.answered:
        return
    yield "gen_ai.response.model", record.model
    if record.answer is not None:
        yield "gen_ai.response.id", record.answer
    yield "gen_ai.usage.input_tokens", record.prompt_tokens
    yield "gen_ai.usage.cache_read.input_tokens", record.cached_tokens
    yield "gen_ai.usage.output_tokens", record.completion_tokens
    if record.streamed and record.first_token is not None:
        yield "gen_ai.response.time_to_first_chunk", record.first_token - record.started


def operation_of(route: str) -> str | None:
    """What a route does, by the longest end of its path that has a name."""
    parts = [part for part in route.split("/") if part]
    ends = ("/".join(parts[at:]) for at in range(len(parts)))
    return next((OPERATIONS[end] for end in ends if end in OPERATIONS), None)
