"""Traces: spans of requests, by the SDK's own exporter in memory and to a real receiver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="it needs the extra otel")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="it needs the extra otel")

from flask.testing import FlaskClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.observability.record import RequestRecord
from extensions.openai.observability.tracing import OPERATIONS, Tracing, operation_of
from extensions.openai.settings import Settings
from extensions.openai.web.app import ROUTES, create_app
from tests.support.otlp_receiver import OTLPReceiver
from tests.support.paced import PacedEngine
from tests.support.process import ServerProcess
from tests.support.wire import Wire

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "the secret"}]}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traced:
    """An application whose spans are kept in memory."""

    def __init__(self, engine: Any = None, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        app = create_app(Settings(store="memory", **options), engine or EchoEngine())
        services = app.extensions["openai"]
        services.tracing = Tracing(provider)
        services.observers.append(services.tracing.observe)
        self.client: FlaskClient = app.test_client()

    def ask(self, body: Any = BODY, headers: Any = None) -> Any:
        """The answer, which has been sent."""
        answer = self.client.post(CHAT, json=body, headers=headers)
        assert answer.data
        answer.close()
        return answer

    @property
    def spans(self) -> dict[str, Any]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def traced() -> Iterator[Callable[..., Traced]]:
    yield Traced


@pytest.mark.parametrize("stream", [False, True])
def test_the_spans_of_a_chat(traced: Callable[..., Traced], stream: bool) -> None:
    here = traced()
    answer = here.ask({**BODY, "stream": stream})
    assert answer.status_code == 200
    spans = here.spans
    assert list(spans) == ["queue", "prompt", "generation", f"POST {CHAT}"]
    whole = spans[f"POST {CHAT}"]
    found = dict(whole.attributes)
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.request.model"] == found["gen_ai.response.model"] == "echo"
    assert found["gen_ai.request.stream"] is stream
    assert found["gen_ai.response.id"].startswith("chatcmpl-")
    assert found["gen_ai.usage.input_tokens"] > 0 and found["gen_ai.usage.output_tokens"] > 0
    assert found["gen_ai.usage.cache_read.input_tokens"] == 0
    assert found["http.request.method"] == "POST" and found["http.route"] == CHAT
    assert found["http.response.status_code"] == 200
    assert found["openedai.request.id"] == answer.headers["x-request-id"]
    assert ("gen_ai.response.time_to_first_chunk" in found) is stream
    assert whole.kind.name == "SERVER" and whole.status.is_ok and whole.parent is None
    order = [whole.start_time]
    for name in ("queue", "prompt", "generation"):
        assert spans[name].parent.span_id == whole.context.span_id
        assert spans[name].context.trace_id == whole.context.trace_id
        order += [spans[name].start_time, spans[name].end_time]
    assert sorted(order) == order
    # Both clocks are read once, so they agree to a rounding.
    assert order[0] == order[1] and order[-1] <= whole.end_time


def test_there_is_nothing_of_what_was_said(traced: Callable[..., Traced]) -> None:
    here = traced()
    here.ask({**BODY, "user": "ann"}, {"Authorization": "Bearer hush"})
    text = "".join(span.to_json() for span in here.exporter.get_finished_spans())
    assert "secret" not in text and "hush" not in text and "ann" not in text


def test_the_trace_of_the_client_goes_on(traced: Callable[..., Traced]) -> None:
    here = traced()
    parent = f"00-{TRACE}-{SPAN}-01"
    here.ask(headers={"traceparent": parent})
    for span in here.exporter.get_finished_spans():
        assert format(span.context.trace_id, "032x") == TRACE
    assert format(here.spans[f"POST {CHAT}"].parent.span_id, "016x") == SPAN


def test_a_trace_that_the_client_does_not_sample_is_not_sent(
    traced: Callable[..., Traced],
) -> None:
    here = traced()
    here.ask(headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert not here.spans


@pytest.mark.parametrize("header", ["", "00", "x" * 5000, f"00-{'0' * 32}-{SPAN}-01", "00-é-1-1"])
def test_a_header_that_is_none_begins_a_trace(traced: Callable[..., Traced], header: str) -> None:
    here = traced()
    sent = {"traceparent": header.encode().decode("latin-1")}
    assert here.ask(headers=sent).status_code == 200
    assert here.spans[f"POST {CHAT}"].parent is None


def test_errors(traced: Callable[..., Traced]) -> None:
    here = traced(PacedEngine(fail_after=0))
    here.ask()
    failed = here.spans[f"POST {CHAT}"]
    assert not failed.status.is_ok and failed.attributes["error.type"] == "internal_error"
    assert failed.attributes["http.response.status_code"] == 500
    assert "generation" not in here.spans
    here.exporter.clear()
    here.ask({**BODY, "temperature": "x"})
    refused = here.spans[f"POST {CHAT}"]
    assert refused.status.is_unset and refused.attributes["error.type"] == "invalid_type"
    assert list(here.spans) == [f"POST {CHAT}"]  # it had no slot
    here.exporter.clear()
    here.client.get("/v1/nothing").close()
    assert "gen_ai.request.model" not in next(iter(here.spans.values())).attributes


def test_an_error_of_a_stream(traced: Callable[..., Traced]) -> None:
    here = traced(PacedEngine(fail_after=2))
    assert "error" in here.ask({**BODY, "stream": True}).text
    assert not here.spans[f"POST {CHAT}"].status.is_ok


def test_what_writes_has_anoperation_of() -> None:
    writing = [route for route in ROUTES if route.generates and "check" not in route.path]
    assert len(writing) > 5
    for route in writing:
        assert operation_of(route.name.partition(" ")[2]) in ("chat", "text_completion"), route.name
    assert operation_of("/v1/models") is None and set(OPERATIONS.values()) == {
        *("chat", "text_completion", "embeddings")
    }


def test_a_record_of_nothing() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    record = RequestRecord()
    record.ended = record.started
    Tracing(provider).observe(record)
    (span,) = exporter.get_finished_spans()
    assert span.name == "request"


def test_a_server_sends_them_to_a_collector() -> None:
    with OTLPReceiver() as receiver:
        process = ServerProcess("--loader", "echo", "--otel-endpoint", receiver.url)
        try:
            process.wait_until_ready()
            with Wire(process.port) as wire:
                wire.request("POST", CHAT, BODY, {"traceparent": f"00-{TRACE}-{SPAN}-01"})
                assert wire.answer().status == 200
        finally:
            process.stop()
        span = receiver.wait_for(f"POST {CHAT}")  # the end of the server sends what is left
        values = {pair.key: pair.value for pair in span.attributes}
        assert values["gen_ai.request.model"].string_value == "echo"
        assert values["gen_ai.usage.input_tokens"].int_value > 0
        assert span.trace_id.hex() == TRACE and span.parent_span_id.hex() == SPAN
        assert {"queue", "prompt", "generation"} <= {each.name for each in receiver.spans}
        assert {each["service.name"] for each in receiver.resources} == {"openedai"}
        assert b"secret" not in b"".join(each.SerializeToString() for each in receiver.spans)


def test_it_is_not_loaded_unless_it_is_wanted() -> None:
    code = (
        "import sys\n"
        "from extensions.openai.engines.echo import EchoEngine\n"
        "from extensions.openai.settings import Settings\n"
        "from extensions.openai.web.app import create_app\n"
        "app = create_app(Settings(store='memory'), EchoEngine())\n"
        f"assert app.test_client().post({CHAT!r}, json={BODY!r}).status_code == 200\n"
        "found = [name for name in sys.modules if 'opentelemetry' in name or 'tracing' in name]\n"
        "print(found)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
