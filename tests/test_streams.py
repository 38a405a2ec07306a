"""Streams that their client leaves and comes back to."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import Piece, Pieces, PromptUsage
from extensions.openai.observability.record import RequestRecord
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings
from extensions.openai.web import resumable_stream
from extensions.openai.web.app import create_app
from extensions.openai.web.context import IGNORED_HEADER, STREAM_HEADER, RequestContext
from tests.conftest import Serve, sdk_on
from tests.support.keys import headers_of
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope, named_events, sse_chunks
from tests.support.wire import Wire

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Hello"}],
    "stream": True,
}
MANY = tuple(f" word{number}" for number in range(40))
EVENT = re.compile(r"id: (\d+)\n((?:event: .*\n)?data: .*\n\n)")


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@dataclass
class Here:
    """A server in this process, whose engine says a word each time that its gate is open."""

    engine: PacedEngine
    port: int
    services: Any
    ended: list[RequestRecord] = field(default_factory=list)

    def ask(self, id: str | None, body: Any = BODY, path: str = CHAT) -> Wire:
        """A connection on which a stream is asked for."""
        wire = Wire(self.port)
        wire.request("POST", path, body, {} if id is None else {STREAM_HEADER: id})
        return wire

    def get(self, id: str, last: str | None = None, query: str = "") -> Wire:
        wire = Wire(self.port)
        headers = {} if last is None else {"Last-Event-ID": last}
        wire.request("GET", f"/v1/streams/{id}{query}", headers=headers)
        return wire

    def whole(self, wire: Wire) -> str:
        with wire:
            answer = wire.answer()
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        return answer.body.decode()

    def json(self, method: str, path: str) -> tuple[int, Any]:
        with Wire(self.port) as wire:
            wire.request(method, path)
            answer = wire.answer()
        return answer.status, answer.json()


Start = Callable[..., Here]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as after:

        def make(engine: PacedEngine | None = None, **options: Any) -> Here:
            engine = engine or PacedEngine()
            asked: dict[str, Any] = {"api_port": 0, "drain_timeout": 0.0, "store": "memory"}
            settings = Settings(**{**asked, **options})
            app = create_app(settings, engine)
            server = APIServer(app, settings)
            server.start()
            after.callback(server.stop, 5.0)
            services = app.extensions["openai"]
            here = Here(engine, server.port, services)
            services.observers.append(here.ended.append)
            after.callback(engine.gate.set)
            return here

        yield make


def events(text: str) -> list[tuple[int, str]]:
    """The number and the rest of each event, comments left out; nothing else is there."""
    text = re.sub(r"^:.*\n\n", "", text, flags=re.MULTILINE)
    found = EVENT.findall(text)
    assert "".join(f"id: {number}\n{rest}" for number, rest in found) == text
    return [(int(number), rest) for number, rest in found]


def bare(text: str) -> bytes:
    return "".join(rest for _, rest in events(text)).encode()


def text_of(stream: str) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in sse_chunks(bare(stream))
        for choice in chunk["choices"]
    )


def read_until(wire: Wire, word: bytes) -> bytes:
    wire.head()
    data = b""
    for chunk in wire.chunks():
        data += chunk
        if word in data:
            break
    return data


# One that is not left.


def test_it_is_the_stream_with_numbers(start: Start) -> None:
    here = start(PacedEngine(MANY))
    numbered = here.whole(here.ask("s"))
    plain = here.whole(here.ask(None))
    found = events(numbered)
    assert [number for number, _ in found] == list(range(len(found)))
    differs = re.compile(r'"(id|created)":("[^"]*"|\d+)')
    assert differs.sub("", bare(numbered).decode()) == differs.sub("", plain)
    assert "id: " not in plain and text_of(numbered) == "".join(MANY)


def test_the_answer_names_it(start: Start) -> None:
    here = start()
    with here.ask("s") as wire:
        assert wire.answer().headers[STREAM_HEADER] == "s"
    with here.ask(None) as wire:
        assert STREAM_HEADER not in wire.answer().headers


def test_the_official_client_reads_it() -> None:
    app = create_app(Settings(store="memory"), EchoEngine())
    with sdk_on(app) as sdk:
        stream = sdk.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            extra_headers={STREAM_HEADER: "s"},
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hello"
        kind = openai.Stream[Any]
        again = sdk.get("/streams/s", cast_to=kind, stream=True, stream_cls=kind)
        assert len(list(again)) > 2


# One that is left.


def test_it_goes_on_and_is_resumed_behind_an_event(start: Start) -> None:
    here = start(PacedEngine(MANY))
    here.engine.gate.clear()
    with here.ask("s") as wire:
        wire.head()  # comes with the first event, so it has begun
        here.engine.gate.set()
        first = b""
        for chunk in wire.chunks():
            first += chunk
            if b"word3" in first:
                break
    assert here.engine.wait_for_active(0)
    until(lambda: here.ended)
    record = here.ended[0]
    assert (record.cancelled, record.completion_tokens, record.status) == (False, 41, 200)
    seen = [int(number) for number, _ in EVENT.findall(first.decode())]
    rest = events(here.whole(here.get("s", last=str(seen[-1]))))
    everything = events(here.whole(here.get("s")))
    assert rest == everything[seen[-1] + 1 :] and rest
    assert text_of(here.whole(here.get("s"))) == "".join(MANY)
    assert events(here.whole(here.get("s", query=f"?starting_after={seen[-1]}"))) == rest


def test_several_follow_while_it_is_made(start: Start) -> None:
    here = start(PacedEngine(MANY))
    here.engine.gate.clear()
    with here.ask("s"):
        until(lambda: here.json("GET", "/v1/streams")[1]["data"])
    found: list[str] = []
    readers = [
        threading.Thread(target=lambda: found.append(here.whole(here.get("s")))) for _ in range(3)
    ]
    for each in readers:
        each.start()
    here.engine.gate.set()
    for each in readers:
        each.join()
    assert found[0] == found[1] == found[2] and text_of(found[0]) == "".join(MANY)


def test_without_the_header_a_client_that_leaves_stops_the_work(start: Start) -> None:
    here = start(PacedEngine(endless=True, pace=0.01))
    with here.ask(None) as wire:
        read_until(wire, b"three")
    assert here.engine.wait_for_active(0)
    until(lambda: here.ended)
    assert here.ended[0].cancelled


# Stopped.


def test_it_is_stopped(start: Start) -> None:
    here = start(PacedEngine(endless=True, pace=0.01))
    with here.ask("s") as wire:
        read_until(wire, b"three")
    follower = here.get("s")
    status, answer = here.json("DELETE", "/v1/streams/s")
    assert (status, answer) == (200, {"id": "s", "object": "stream.deleted", "deleted": True})
    assert here.engine.wait_for_active(0)
    chunks = sse_chunks(bare(here.whole(follower)))
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert here.json("GET", "/v1/streams/s")[0] == 404
    assert here.json("DELETE", "/v1/streams/s")[0] == 404
    until(lambda: any(each.route.startswith("POST") for each in here.ended))
    assert not here.ended[0].cancelled and here.ended[0].error is None


def test_time_and_the_servers_end_hold_for_it(start: Start) -> None:
    here = start(PacedEngine(endless=True, pace=0.01), request_timeout=0.5)
    found = here.whole(here.ask("s"))
    assert "request_timeout" in events(found)[-1][1]
    assert here.engine.wait_for_active(0)
    here.services.reload(here.services.settings.model_copy(update={"request_timeout": 0.0}))
    with here.ask("t") as wire:
        read_until(wire, b"three")
        here.services.active_requests.drain(0.0, 30.0)
        rest = b"".join(wire.chunks())
    assert b"shutting down" in rest and rest.count(b'"error"') == 1
    assert here.engine.wait_for_active(0)


# What goes wrong.


def test_an_error_before_the_first_event_keeps_its_status(start: Start) -> None:
    here = start(PacedEngine(fail_after=0))
    with here.ask("s") as wire:
        answer = wire.answer()
    assert answer.status == 500 and "secret" not in answer.body.decode()
    assert_envelope(answer.json(), status=500)
    assert here.json("GET", "/v1/streams/s")[0] == 404
    until(lambda: here.ended)
    assert (here.ended[0].status, here.ended[0].error) == (500, "internal_error")


def test_an_error_later_on_is_kept_as_an_event(start: Start) -> None:
    here = start(PacedEngine(fail_after=2))
    first = here.whole(here.ask("s"))
    assert '"error"' in events(first)[-1][1]
    assert here.whole(here.get("s")) == first


def test_one_under_way_keeps_its_name(start: Start) -> None:
    here = start(PacedEngine(endless=True, pace=0.01))
    with here.ask("s") as wire:
        read_until(wire, b"one")
        with here.ask("s") as second:
            answer = second.answer()
        assert answer.status == 409 and answer.json()["error"]["code"] == "stream_in_use"
        assert_envelope(answer.json(), status=409)
    here.json("DELETE", "/v1/streams/s")
    assert here.engine.wait_for_active(0)


def test_an_ended_one_gives_its_name_away(start: Start) -> None:
    here = start()
    first = here.whole(here.ask("s"))
    second = here.whole(here.ask("s"))
    assert here.whole(here.get("s")) == second != first


@pytest.mark.parametrize("id", ["a/b", "x" * 129, "a b", "ä"])
def test_an_id_that_is_none(client: FlaskClient, id: str) -> None:
    answer = client.post(CHAT, json=BODY, headers={STREAM_HEADER: id})
    assert answer.status_code == 400 and answer.json["error"]["param"] == STREAM_HEADER
    assert_envelope(answer.json, status=400)


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "\xb2"])
def test_an_event_that_is_none(client: FlaskClient, last: str) -> None:
    assert client.post(CHAT, json=BODY, headers={STREAM_HEADER: "s"}).status_code == 200
    answer = client.get("/v1/streams/s", headers={"Last-Event-ID": last})
    assert answer.status_code == 400 and answer.json["error"]["param"] == "Last-Event-ID"
    assert client.get("/v1/streams/s", headers={"Last-Event-ID": ""}).status_code == 200


def test_behind_the_last_event_there_is_nothing(client: FlaskClient) -> None:
    client.post(CHAT, json=BODY, headers={STREAM_HEADER: "s"})
    answer = client.get("/v1/streams/s", headers={"Last-Event-ID": "9999"})
    assert answer.status_code == 200 and answer.data == b""


# Bounds.


def test_what_is_kept_is_bounded(start: Start) -> None:
    here = start(PacedEngine(["x" * 50_000] * 30), stream_replay_mb=1)
    first = here.whole(here.ask("s"))
    status, found = here.json("GET", "/v1/streams")
    (one,) = found["data"]
    assert status == 200 and 10 < one["first_event"] < one["next_event"] == len(events(first))
    status, answer = here.json("GET", "/v1/streams/s")
    assert (status, answer["error"]["code"]) == (400, "events_gone")
    assert_envelope(answer, status=400)
    rest = here.whole(here.get("s", last=str(one["first_event"] - 1)))
    assert events(rest) == events(first)[one["first_event"] :]


def test_those_under_way_are_bounded(start: Start) -> None:
    here = start(PacedEngine(endless=True, pace=0.01, parallel=4), background_answers=2)
    with here.ask("a") as first, here.ask("b") as second:
        read_until(first, b"one")
        read_until(second, b"one")
        with here.ask("c") as third:
            answer = third.answer()
        assert answer.status == 429 and here.json("GET", "/v1/streams/c")[0] == 404
    for id in "ab":
        assert here.json("DELETE", f"/v1/streams/{id}")[0] == 200
    until(lambda: not here.json("GET", "/v1/streams")[1]["data"])
    assert here.whole(here.ask(None, {**BODY, "max_tokens": 2}))


class DeafEngine(PacedEngine):
    """It notices nothing while its gate is shut, as if it read a long prompt."""

    def _say(self, prompt_tokens: int, max_tokens: int | None) -> Pieces:
        with self._working():
            self.gate.wait()
            yield Piece("one", tokens=1, prompt=PromptUsage(prompt_tokens), finish="stop")


def test_one_that_still_ends_counts_beside_the_next_of_its_name(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable_stream, "STOP_S", 0.0)
    here = start(DeafEngine(parallel=4), background_answers=2)
    here.engine.gate.clear()
    with here.ask("s"):
        assert here.engine.wait_for_active(1)
        assert here.json("DELETE", "/v1/streams/s")[0] == 200
        with here.ask("s"):
            assert here.engine.wait_for_active(2)
            with here.ask("t") as third:
                assert third.answer().status == 429
            here.engine.gate.set()
            assert here.engine.wait_for_active(0)
    assert here.whole(here.ask("t"))


def test_of_an_ended_one_the_events_alone_are_kept(start: Start) -> None:
    here = start()
    with Wire(here.port) as wire:
        wire.request("POST", CHAT, BODY, {STREAM_HEADER: "s", "x-request-id": "the-one"})
        assert wire.answer().status == 200
    (shown,) = here.json("GET", "/v1/streams")[1]["data"]
    assert shown["request"] == "the-one" and shown["answer"].startswith("chatcmpl-")

    def is_there() -> bool:
        gc.collect()
        everything = gc.get_objects()
        contexts = [each for each in everything if isinstance(each, RequestContext)]
        return any(each.record.id == "the-one" for each in contexts)

    until(lambda: not is_there())
    assert here.whole(here.get("s"))


def test_the_limit_of_requests_at_once_counts_it(tmp_path: Any, serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01, parallel=4)
    options: dict[str, Any] = {
        "store": "memory",
        "data_folder": str(tmp_path),
        "concurrent": 1,
        "rpm": 0,
    }
    headers = headers_of(Settings(**options), "alice")["alice"]
    port = serve(engine, **options).port
    with Wire(port) as wire:
        wire.request("POST", CHAT, BODY, {**headers, STREAM_HEADER: "s"})
        read_until(wire, b"one")
    with Wire(port) as wire:
        wire.request("POST", CHAT, BODY, headers)
        assert wire.answer().status == 429
    with Wire(port) as wire:
        wire.request("GET", "/v1/streams/s", headers=headers)
        read_until(wire, b"two")
    with Wire(port) as wire:
        wire.request("DELETE", "/v1/streams/s", headers=headers)
        assert wire.answer().status == 200
        wire.request("POST", CHAT, {**BODY, "max_tokens": 1}, headers)
        assert wire.answer().status == 200


def test_the_operator_turns_it_off() -> None:
    client = create_app(Settings(store="memory", stream_replay_mb=0), EchoEngine()).test_client()
    answer = client.post(CHAT, json=BODY, headers={STREAM_HEADER: "s"})
    assert answer.headers[IGNORED_HEADER] == STREAM_HEADER and b"id: 0" not in answer.data
    assert client.get("/v1/streams/s").status_code == 404


def test_a_whole_answer_is_no_stream(client: FlaskClient) -> None:
    answer = client.post(CHAT, json={**BODY, "stream": False}, headers={STREAM_HEADER: "s"})
    assert answer.status_code == 200 and answer.headers[IGNORED_HEADER] == STREAM_HEADER


# Other endpoints.


def test_completions(client: FlaskClient) -> None:
    body = {"model": "m", "prompt": "Hello", "stream": True}
    first = client.post("/v1/completions", json=body, headers={STREAM_HEADER: "s"}).text
    assert sse_chunks(bare(first))
    assert client.get("/v1/streams/s").text == first


def test_messages_and_responses_have_names(client: FlaskClient) -> None:
    asked = {**BODY, "max_tokens": 9}
    first = client.post("/v1/messages", json=asked, headers={STREAM_HEADER: "m"}).text
    assert named_events(bare(first))[-1]["type"] == "message_stop"
    assert client.get("/v1/streams/m").text == first
    body = {"model": "m", "input": "Hello", "stream": True}
    first = client.post("/v1/responses", json=body, headers={STREAM_HEADER: "r"}).text
    assert events(first)[0][1].startswith("event: response.created\n")
    assert client.get("/v1/streams/r").text == first


def test_a_response_in_the_background_has_its_own_way(client: FlaskClient) -> None:
    body = {"model": "m", "input": "Hello", "stream": True, "background": True}
    answer = client.post("/v1/responses", json=body, headers={STREAM_HEADER: "r"})
    assert answer.status_code == 200 and "response.completed" in answer.text
    assert client.get("/v1/streams/r").status_code == 404


def test_a_turn_of_a_session_is_kept_though_the_client_left(start: Start) -> None:
    here = start(PacedEngine(MANY, context_length=10_000))
    wire = Wire(here.port)
    headers = {STREAM_HEADER: "s", "x-openedai-session-key": "k"}
    wire.request("POST", CHAT, BODY, headers)
    read_until(wire, b"word1")
    wire.close()
    until(lambda: here.json("GET", "/v1/streams")[1]["data"][0]["status"] == "ended")
    _, sessions = here.json("GET", "/v1/sessions")
    assert len(sessions["data"]) == 1
