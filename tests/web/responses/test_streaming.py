"""One path to the client: the same chunks become events or one object."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from extensions.openai.engines.callback_bridge import Emit, iterate_callback
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.sampling.policy import Policy
from extensions.openai.limits.scheduler import Scheduler
from extensions.openai.settings import Settings
from extensions.openai.state.store import Store
from extensions.openai.web.context import ClientGone, RequestContext
from extensions.openai.web.responses.dialects import OPENAI, Dialect
from extensions.openai.web.responses.response import Response
from extensions.openai.web.responses.sse import NamedEvents
from extensions.openai.web.responses.streaming import respond
from extensions.openai.web.services import Services
from tests.support.reference import assert_envelope, sse_payloads

DISCONNECTED = "waitress.client_disconnected"
"""With it in the environment the server is one that pushes."""
Chunks = Generator["dict[str, Any] | None", None, None]


class Source:
    """Chunks that remember whether they were closed. An exception among them is raised."""

    def __init__(self, *items: dict[str, Any] | Exception | None) -> None:
        self.items = items
        self.closed = False

    def chunks(self) -> Chunks:
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed = True


def context(
    environ: dict[str, Any] | None = None,
    *,
    keep_alive: float = 10,
    dialect: Dialect = OPENAI,
) -> RequestContext:
    settings = Settings(keep_alive=keep_alive)
    scheduler = Scheduler(queue_limit=1)
    services = Services(settings, EchoEngine(), scheduler, Policy(), Store(settings))
    return RequestContext.of(services, environ or {}, dialect)


class Folded:
    """All chunks, as they are; one with `end` is that of the last choice."""

    def __init__(self) -> None:
        self._chunks: list[Any] = []

    @property
    def has_ended(self) -> bool:
        return "end" in self._chunks[-1]

    def add(self, chunk: Any) -> None:
        self._chunks.append(chunk)

    def whole(self) -> dict[str, Any]:
        return {"all": self._chunks}


def answer(source: Source, *, stream: bool, **options: Any) -> Response:
    return respond(context(**options), source.chunks(), stream=stream, fold=Folded())


def data_of(response: Response) -> bytes:
    return b"".join(response)


def test_whole_and_streamed_are_made_of_the_same_chunks() -> None:
    items: list[Any] = [None, {"a": 1}, None, {"b": "é\n"}]
    source = Source(*items)
    assert json.loads(answer(source, stream=False).data) == {"all": [{"a": 1}, {"b": "é\n"}]}
    assert source.closed
    source = Source(*items)
    data = data_of(answer(source, stream=True))
    assert data == 'data: {"a":1}\n\ndata: {"b":"é\\n"}\n\ndata: [DONE]\n\n'.encode()
    assert source.closed


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_chunk_is_raised(stream: bool) -> None:
    source = Source(None, InvalidRequest("no", param="prompt"))
    with pytest.raises(InvalidRequest):
        answer(source, stream=stream)
    assert source.closed


@pytest.mark.parametrize("error", [InvalidRequest("no"), RuntimeError("the secret reason")])
def test_an_error_after_it_is_the_last_event(error: Exception) -> None:
    source = Source({"a": 1}, error)
    payloads = sse_payloads(data_of(answer(source, stream=True)))
    assert len(payloads) == 2
    assert "secret" not in payloads[1]
    assert_envelope(json.loads(payloads[1]))
    assert source.closed


def test_the_work_ends_when_the_client_is_gone() -> None:
    source = Source({"a": 1}, {"b": 2})
    with pytest.raises(ClientGone):
        answer(source, stream=False, environ={DISCONNECTED: lambda: True})
    assert source.closed


def test_a_stream_ends_when_the_client_is_gone() -> None:
    source, written = Source({"a": 1}, {"b": 2}), list[bytes]()
    asked = context({DISCONNECTED: lambda: True})
    assert statuses(pushed(source, written.append, asked=asked)) == ["499 Unknown"]
    assert asked.record.cancelled and source.closed and not any(written)


def test_closing_the_response_closes_the_chunks() -> None:
    source = Source({"a": 1}, {"b": 2})
    response = answer(source, stream=True)
    assert not source.closed
    response.close()
    assert source.closed


def test_a_server_that_ends_says_so_in_the_last_event() -> None:
    asked, source = context(), Source({"a": 1}, None, {"b": 2})
    asked.begin()
    response = respond(asked, source.chunks(), stream=True, fold=Folded())
    events = iter(response)
    assert b'{"a":1}' in next(events)
    assert not asked.services.active_requests.drain(0, 0)
    rest = b"".join(events)
    (payload,) = sse_payloads(rest)
    assert assert_envelope(json.loads(payload))["code"] == "shutting_down"
    response.close()
    assert source.closed


def test_silence_becomes_comments_and_speech_does_not() -> None:
    source = Source({"a": 1}, *[None] * 5, {"b": 2})
    lines = data_of(answer(source, stream=True, keep_alive=1e-9)).split(b"\n\n")
    assert sum(line.startswith(b":") for line in lines) == 5
    source = Source({"a": 1}, *[None] * 5, {"b": 2})
    lines = data_of(answer(source, stream=True, keep_alive=60)).split(b"\n\n")
    assert not any(line.startswith(b":") for line in lines)


def test_a_long_silence_before_the_first_chunk_opens_the_stream() -> None:
    source = Source(None, None, {"a": 1})
    response = answer(source, stream=True, keep_alive=1e-9)
    first = next(iter(response))
    assert first.startswith(b":")
    response.close()


def pushed(
    source: Source,
    write: Callable[[bytes], None],
    headers: Mapping[str, str] | None = None,
    asked: RequestContext | None = None,
) -> list[tuple[str, dict[str, str]]]:
    """Have a stream pushed to `write`; the heads that were begun."""
    begun: list[tuple[str, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]]) -> Callable[[bytes], None]:
        begun.append((status, dict(headers)))
        return write

    asked = asked or context({DISCONNECTED: lambda: False})
    response = respond(asked, source.chunks(), stream=True, fold=Folded())
    response.headers.update(headers or {})
    assert not begun  # the view answers before the first chunk is there
    for part in response({}, start_response):  # type: ignore[arg-type]
        write(part)
    response.close()
    return begun


def statuses(begun: list[tuple[str, dict[str, str]]]) -> list[str]:
    return [status for status, _ in begun]


def test_pushed_events_are_those_that_are_pulled() -> None:
    items: list[Any] = [None, {"a": 1}, None, {"b": "é\n"}]
    written: list[bytes] = []
    source = Source(*items)
    assert statuses(pushed(source, written.append)) == ["200 OK"]
    assert len(written) == 3
    assert b"".join(written) == data_of(answer(Source(*items), stream=True))
    assert source.closed


def test_what_one_callback_brings_goes_out_together() -> None:
    written: list[bytes] = []
    counts: list[int] = []

    def produce(emit: Emit[int]) -> None:
        for number in range(3):
            emit(number)
            counts.append(len(written))  # nothing waits for the next callback

    class Pumped(Source):
        def chunks(self) -> Chunks:
            for number in iterate_callback(produce):
                if number is None:
                    yield None
                else:
                    yield {"first": number}
                    yield {"second": number}

    assert statuses(pushed(Pumped(), written.append)) == ["200 OK"]
    assert [part.count(b"data: ") for part in written] == [2, 2, 2, 1]
    assert counts == [1, 2, 3]


def test_an_error_before_the_first_pushed_event_has_its_status() -> None:
    written: list[bytes] = []
    source = Source(None, InvalidRequest("no", param="prompt"))
    allowed = {"Access-Control-Allow-Origin": "http://localhost:3000", "Vary": "Origin"}
    ((status, headers),) = pushed(source, written.append, allowed)
    assert status == "400 Bad Request"
    assert headers["Content-Type"] == "application/json" and "Cache-Control" not in headers
    assert headers.items() >= allowed.items()  # a page in a browser may read it
    assert_envelope(json.loads(b"".join(written)), status=400)
    assert source.closed


def test_a_client_that_cannot_be_written_to_ends_the_work() -> None:
    def write(_: bytes) -> None:
        raise ConnectionError("hung up")

    source = Source({"a": 1}, {"b": 2})
    with pytest.raises(ConnectionError):
        pushed(source, write)
    assert source.closed


@pytest.mark.parametrize("stream", [False, True])
def test_the_whole_is_handed_over_once_before_the_client_can_know(stream: bool) -> None:
    items: list[Any] = [None, {"a": 1}, None, {"end": 2}, {"usage": 3}]
    kept: list[Any] = []

    def keep(whole: dict[str, Any]) -> dict[str, Any]:
        kept.append(dict(whole, all=list(whole["all"])))
        return {"kept": 1}

    reply = respond(
        context(), Source(*items).chunks(), stream=stream, fold=Folded(), on_complete=keep
    )
    if stream:
        events = [b'{"a":1}', b'{"end":2,"kept":1}', b'{"usage":3}', b"[DONE]"]
        for event, expected in zip(reply, events, strict=True):
            assert event == b"data: " + expected + b"\n\n"
            assert bool(kept) == (expected != events[0])
        assert kept == [{"all": [{"a": 1}, {"end": 2}]}]
    else:
        assert kept == [{"all": [{"a": 1}, {"end": 2}, {"usage": 3}]}]
        assert json.loads(reply.data) == {**kept[0], "kept": 1}


def test_where_a_chunk_is_the_end_the_whole_is_handed_over_before_it() -> None:
    """A dialect without [DONE]: nothing comes after the chunk that says that the answer is complete."""
    items: list[Any] = [{"type": "text"}, None, {"type": "stop"}, None]
    kept: list[Any] = []
    named = replace(OPENAI, events=NamedEvents(frozenset({"stop"})))
    response = respond(
        context(dialect=named),
        Source(*items).chunks(),
        stream=True,
        fold=Folded(),
        on_complete=kept.append,
    )
    seen = [(event, len(kept)) for event in response]
    assert seen == [
        (b'event: text\ndata: {"type":"text"}\n\n', 0),
        (b'event: stop\ndata: {"type":"stop"}\n\n', 1),
    ]
    assert kept == [{"all": [{"type": "text"}, {"type": "stop"}]}]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_fails_is_not_handed_over(stream: bool) -> None:
    kept: list[Any] = []

    def keeping(source: Source) -> Response:
        return respond(
            context(), source.chunks(), stream=stream, fold=Folded(), on_complete=kept.append
        )

    with pytest.raises(InvalidRequest):
        keeping(Source(InvalidRequest("no")))
    failing = Source({"a": 1}, InvalidRequest("no"))
    if stream:
        assert b"[DONE]" not in data_of(keeping(failing))
        keeping(Source({"a": 1})).close()  # the client has left
    else:
        with pytest.raises(InvalidRequest):
            keeping(failing)
    assert kept == []


def test_what_cannot_be_kept_is_an_error() -> None:
    def refuse(whole: object) -> None:
        raise RuntimeError("the disk is full")

    def kept(stream: bool) -> Response:
        chunks = Source({"a": 1}, {"end": 1}).chunks()
        return respond(context(), chunks, stream=stream, fold=Folded(), on_complete=refuse)

    with pytest.raises(RuntimeError):
        kept(stream=False)
    *_, last = sse_payloads(data_of(kept(stream=True)))
    assert "disk" not in last
    assert_envelope(json.loads(last))
