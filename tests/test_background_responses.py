"""Responses in the background: they go on without their client, and end once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from flask.testing import FlaskClient

from extensions.openai.dialects.responses.event_record import EventRecord
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import StoreUnavailable
from extensions.openai.observability.record import RequestRecord
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings
from extensions.openai.state.responses import Responses
from extensions.openai.state.stored_response import StoredResponse
from extensions.openai.web.app import create_app
from extensions.openai.web.services import Services
from tests.conftest import Serve
from tests.support.keys import headers_of
from tests.support.paced import PacedEngine
from tests.support.reference import (
    assert_envelope,
    fold_response,
    named_events,
    response_events,
)
from tests.support.wire import Wire, ask

PATH = "/v1/responses"
GOOD: dict[str, Any] = {"model": "echo", "input": "Hello", "background": True}
ENDED = ("completed", "incomplete", "failed", "cancelled")


@dataclass
class Background:
    """A server in this process, whose engine says a word each time that its gate is open."""

    engine: PacedEngine
    client: FlaskClient
    ended: list[RequestRecord] = field(default_factory=list)

    def make(self, **body: Any) -> Any:
        answer = self.client.post(PATH, json=GOOD | body)
        assert answer.status_code == 200, answer.text
        return answer.json

    def get(self, id: str) -> Any:
        return self.client.get(f"{PATH}/{id}").json

    def cancel(self, id: str) -> Any:
        return self.client.post(f"{PATH}/{id}/cancel").json

    def end_of(self, id: str) -> Any:
        until(lambda: self.get(id)["status"] in ENDED)
        return self.get(id)


Start = Callable[..., Background]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


@pytest.fixture
def start() -> Iterator[Start]:
    """Its gate is closed; `open=True` opens it."""
    begun: list[Background] = []

    def make(
        engine: PacedEngine | None = None, *, open: bool = False, **options: Any
    ) -> Background:
        engine = engine or PacedEngine()
        if not open:
            engine.gate.clear()
        app = create_app(Settings(**{"store": "memory", **options}), engine)
        found = Background(engine, app.test_client())
        app.extensions["openai"].observers.append(found.ended.append)
        begun.append(found)
        return found

    yield make
    for each in begun:
        each.engine.gate.set()
        assert each.engine.wait_for_active(0)


# One response.


def test_it_is_answered_at_once_and_made_later(start: Start) -> None:
    here = start()
    first = here.make()
    assert (first["status"], first["background"], first["store"]) == ("queued", True, True)
    assert (first["output"], first["usage"], first["completed_at"]) == ([], None, None)
    until(lambda: here.get(first["id"])["status"] == "in_progress")
    assert not here.ended  # its own request is under way
    here.engine.gate.set()
    whole = here.end_of(first["id"])
    assert whole["status"] == "completed" and whole["completed_at"] is not None
    assert whole["output"][0]["content"][0]["text"] == "one two three"
    assert whole["usage"]["output_tokens"] == 4
    changed = {"status", "output", "usage", "completed_at"}
    assert {name for name in whole if whole[name] != first[name]} == changed
    assert [item["content"][0]["text"] for item in _input(here, first["id"])] == ["Hello"]
    second = here.make(background=False, previous_response_id=first["id"])
    assert second["status"] == "completed"


def _input(here: Background, id: str) -> Any:
    return here.client.get(f"{PATH}/{id}/input_items").json["data"]


def test_it_counts_as_one_request_when_it_has_ended(start: Start) -> None:
    here = start(open=True)
    here.end_of(here.make()["id"])
    until(lambda: any(each.route.startswith("POST") for each in here.ended))
    (record,) = [each for each in here.ended if each.route.startswith("POST")]
    assert (record.completion_tokens, record.status, record.error) == (4, 200, None)
    assert not record.cancelled and record.answer is not None


def test_through_the_official_client(sdk: openai.OpenAI) -> None:
    made = sdk.responses.create(model="echo", input="Hello", background=True)
    assert made.status == "queued" and made.background is True
    until(lambda: sdk.responses.retrieve(made.id).status == "completed")
    assert sdk.responses.retrieve(made.id).output_text == "Hello"
    assert sdk.responses.cancel(made.id).status == "completed"
    kinds = [
        event.type
        for event in sdk.responses.create(model="echo", input="x", background=True, stream=True)
    ]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    with sdk.responses.stream(model="echo", input="Hello", background=True) as stream:
        final = stream.get_final_response()
    assert final.output_text == "Hello"
    with sdk.responses.stream(response_id=final.id, starting_after=2) as stream:
        assert [event.type for event in stream][-1] == "response.completed"


def test_what_fails_says_so(start: Start) -> None:
    here = start(PacedEngine(["a"], endless=True, fail_after=2), open=True)
    whole = here.end_of(here.make()["id"])
    assert whole["status"] == "failed" and whole["error"]["code"] == "server_error"
    assert "secret" not in str(whole)
    assert whole["output"][0]["content"][0]["text"] == "aa"
    until(lambda: any(each.error for each in here.ended))


def test_a_prompt_that_is_too_long(client: FlaskClient) -> None:
    here = Background(PacedEngine(), client)
    whole = here.end_of(here.make(input="x" * 9000)["id"])
    assert (whole["status"], whole["error"]["code"]) == ("failed", "context_length_exceeded")


def test_its_time_ends_it(start: Start) -> None:
    here = start()
    whole = here.end_of(here.make(timeout=0.3)["id"])
    assert whole["status"] == "failed" and "0.3 seconds" in whole["error"]["message"]


@pytest.mark.parametrize("options", [{"store": "off"}, {}])
def test_only_what_is_stored_is_made_in_the_background(start: Start, options: Any) -> None:
    here = start(open=True, **options)
    answer = here.client.post(PATH, json=GOOD | {"store": False})
    assert assert_envelope(answer.json, status=400)["param"] == "background"
    assert here.engine.started == 0


def test_a_store_that_fails(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """No response is promised that cannot be found."""
    here = start(open=True)

    def fail(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("full")

    with monkeypatch.context() as patch:
        patch.setattr(Responses, "add", fail)
        assert here.client.post(PATH, json=GOOD).status_code == 503
    assert here.engine.started == 0
    monkeypatch.setattr(Responses, "finish", fail)
    events = response_events(here.client.post(PATH, json=GOOD | {"stream": True}).data)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["store"] is False


def test_it_is_added_to_its_conversation(start: Start) -> None:
    here = start()
    conversation = here.client.post("/v1/conversations", json={}).json["id"]
    path = f"/v1/conversations/{conversation}/items"
    id = here.make(conversation=conversation)["id"]
    assert here.client.get(path).json["data"] == []
    here.engine.gate.set()
    assert here.end_of(id)["status"] == "completed"
    said = [item["content"][0]["text"] for item in here.client.get(path).json["data"]]
    assert said == ["one two three", "Hello"]
    gone = here.make(conversation=conversation)["id"]
    here.client.delete(f"/v1/conversations/{conversation}")
    assert here.end_of(gone)["status"] == "completed"


def test_what_is_not_complete_cannot_be_continued(start: Start) -> None:
    here = start()
    id = here.make()["id"]
    answer = here.client.post(PATH, json={"input": "x", "previous_response_id": id})
    error = assert_envelope(answer.json, status=400)
    assert error["param"] == "previous_response_id" and "still" in error["message"]


# Its client leaves, comes back, and others read along.


def test_it_goes_on_without_its_client(serve: Serve) -> None:
    engine = PacedEngine()
    engine.gate.clear()
    port = serve(engine, store="memory").port
    with Wire(port) as wire:
        wire.request("POST", PATH, GOOD | {"stream": True})
        assert wire.head()[1] == 200
        (created,) = named_events(next(wire.chunks()))[:1]
    time.sleep(0.5)  # a foreground answer would have ended by now
    assert engine.wait_for_active(1)
    engine.gate.set()
    path = f"{PATH}/{created['response']['id']}"
    until(lambda: ask(port, "GET", path).json()["status"] == "completed")


def test_its_events_can_be_followed_and_read_again(serve: Serve) -> None:
    engine = PacedEngine()
    engine.gate.clear()
    port = serve(engine, store="memory", keep_alive=0.1).port
    streams: dict[str, bytes] = {}

    def read(name: str, *request: Any) -> threading.Thread:
        def work() -> None:
            streams[name] = ask(port, *request).body

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    with Wire(port) as wire:
        wire.request("POST", PATH, GOOD | {"stream": True})
        wire.head()
        first = next(wire.chunks())
        id = named_events(first)[0]["response"]["id"]
        path = f"{PATH}/{id}?stream=true"
        others = [
            read("all", "GET", path),
            read("rest", "GET", f"{path}&starting_after=2"),
        ]
        threading.Timer(0.5, engine.gate.set).start()
        streams["first"] = first + b"".join(wire.chunks())
        for other in others:
            other.join(10)
    events = response_events(streams["first"])
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert kinds.count("response.in_progress") > 1  # into the silence
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    statuses = [event["response"]["status"] for event in events if "response" in event]
    assert statuses[:3] == ["queued", "queued", "in_progress"] and statuses[-1] == "completed"
    assert streams["all"] == streams["first"] and response_events(streams["rest"]) == events[3:]
    # The same from the store.
    assert ask(port, "GET", path).body == streams["first"]
    assert ask(port, "GET", f"{PATH}/{id}").json() == fold_response(events)


def test_while_it_waits_it_says_that_it_is_queued(serve: Serve) -> None:
    engine = PacedEngine()
    engine.gate.clear()
    port = serve(engine, store="memory", keep_alive=0.1).port
    ask(port, "POST", PATH, GOOD)
    assert engine.wait_for_active(1)
    threading.Timer(0.6, engine.gate.set).start()
    events = response_events(ask(port, "POST", PATH, GOOD | {"stream": True}).body)
    kinds = [event["type"] for event in events]
    assert kinds[:4] == ["response.created", *["response.queued"] * 3]
    assert kinds[-1] == "response.completed"


def test_one_that_was_not_streamed_has_no_events(start: Start) -> None:
    here = start()
    id = here.make()["id"]
    answer = here.client.get(f"{PATH}/{id}?stream=true")
    assert assert_envelope(answer.json, status=400)["param"] == "stream"


# It is cancelled.


def test_a_response_is_cancelled_once(start: Start) -> None:
    here = start(PacedEngine(["a"], endless=True, pace=0.02), open=True)
    id = here.make(stream=False)["id"]
    until(lambda: here.get(id)["status"] == "in_progress")
    time.sleep(0.2)
    cancelled = here.cancel(id)
    assert cancelled["status"] == "cancelled" and cancelled["error"] is None
    # What there was of it is kept.
    assert cancelled["output"][0]["status"] == "incomplete"
    assert set(cancelled["output"][0]["content"][0]["text"]) == {"a"}
    assert here.engine.wait_for_active(0)
    assert here.cancel(id) == here.get(id) == cancelled
    until(lambda: any(each.cancelled for each in here.ended))


def test_one_that_waits_is_cancelled(start: Start) -> None:
    here = start()
    here.make()
    assert here.engine.wait_for_active(1)
    waiting = here.make()["id"]
    assert here.get(waiting)["status"] == "queued"
    assert here.cancel(waiting)["status"] == "cancelled"
    here.engine.gate.set()
    assert here.engine.wait_for_active(0) and here.engine.started == 1


def test_what_has_ended_stays_as_it_is(start: Start) -> None:
    here = start(open=True)
    whole = here.end_of(here.make()["id"])
    assert whole["status"] == "completed" and here.cancel(whole["id"]) == whole


def test_readers_of_a_cancelled_response_are_told(serve: Serve) -> None:
    engine = PacedEngine(["a"], endless=True, pace=0.02)
    port = serve(engine, store="memory").port
    with Wire(port) as wire:
        wire.request("POST", PATH, GOOD | {"stream": True})
        wire.head()
        data = next(wire.chunks())
        id = named_events(data)[0]["response"]["id"]
        assert ask(port, "POST", f"{PATH}/{id}/cancel").json()["status"] == "cancelled"
        data += b"".join(wire.chunks())
    last = response_events(data)[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "cancelled")
    assert response_events(ask(port, "GET", f"{PATH}/{id}?stream=true").body)[-1] == last


def test_another_server_cancels_it(start: Start) -> None:
    """The store decides: what is made of it afterwards is not kept."""
    here = start()
    id = here.make(stream=False)["id"]
    services: Services = here.client.application.extensions["openai"]
    services.background.remove("local", id)  # as that server sees it
    assert here.cancel(id)["status"] == "cancelled"
    here.engine.gate.set()
    assert here.engine.wait_for_active(0)
    assert here.get(id)["status"] == "cancelled" and here.get(id)["output"] == []


def test_a_deleted_response_is_not_made_any_further(start: Start) -> None:
    here = start()
    id = here.make()["id"]
    assert here.engine.wait_for_active(1)
    assert here.client.delete(f"{PATH}/{id}").status_code == 200
    assert here.engine.wait_for_active(0)
    assert here.client.get(f"{PATH}/{id}").status_code == 404


# How many, and whose.


def test_how_many_a_key_may_have(start: Start, tmp_path: Path) -> None:
    here = start(background_answers=2, data_folder=str(tmp_path), rpm=0)
    services: Services = here.client.application.extensions["openai"]
    keys = headers_of(services.settings, "alice", "bob")

    def status(who: str) -> int:
        answer = here.client.post(PATH, json=GOOD, headers=keys[who])
        if answer.status_code != 200:
            assert answer.status_code == 429
            assert assert_envelope(answer.json)["code"] == "rate_limit_exceeded"
            assert "retry-after" in answer.headers
        return answer.status_code

    assert [status(who) for who in ("alice", "alice", "alice", "bob")] == [200, 200, 429, 200]
    here.engine.gate.set()
    until(lambda: status("alice") == 200)


def test_another_key_neither_sees_nor_ends_it(start: Start, tmp_path: Path) -> None:
    here = start(data_folder=str(tmp_path), rpm=0)
    services: Services = here.client.application.extensions["openai"]
    keys = headers_of(services.settings, "alice", "bob")
    id = here.client.post(PATH, json=GOOD, headers=keys["alice"]).json["id"]
    for method, more in (
        *(("GET", ""), ("GET", "?stream=true"), ("GET", "/input_items")),
        *(("POST", "/cancel"), ("DELETE", "")),
    ):
        theirs, none = (
            here.client.open(f"{PATH}/{each}{more}", method=method, headers=keys["bob"])
            for each in (id, "resp_none")
        )
        assert theirs.status_code == none.status_code == 404
        assert theirs.text.replace(id, "resp_none") == none.text
    here.engine.gate.set()
    path = f"{PATH}/{id}"
    until(lambda: here.client.get(path, headers=keys["alice"]).json["status"] == "completed")


def test_it_takes_its_place_among_concurrent_requests(start: Start) -> None:
    here = start(concurrent=1, api_key="k")
    headers = {"Authorization": "Bearer k"}
    assert here.client.post(PATH, json=GOOD, headers=headers).status_code == 200
    assert here.client.post(PATH, json=GOOD, headers=headers).status_code == 429
    here.engine.gate.set()
    until(lambda: here.client.post(PATH, json=GOOD, headers=headers).status_code == 200)


# The server ends.


def test_a_server_that_ends_waits_for_it_and_then_fails_it(tmp_path: Path) -> None:
    for patience, status in ((5.0, "completed"), (0.0, "failed")):
        engine = PacedEngine()
        engine.gate.clear()
        options: dict[str, Any] = {"store": "sqlite", "data_folder": str(tmp_path), "api_port": 0}
        settings = Settings(**options, drain_timeout=patience)
        app = create_app(settings, engine)
        server = APIServer(app, settings)
        server.start()
        id = ask(server.port, "POST", PATH, GOOD).json()["id"]
        assert engine.wait_for_active(1)
        threading.Timer(0.3, engine.gate.set).start()
        server.stop(10.0)
        app.extensions["openai"].store.close()
        engine.gate.set()
        again = create_app(settings, EchoEngine())
        found = again.test_client().get(f"{PATH}/{id}").json
        again.extensions["openai"].store.close()
        assert found["status"] == status
        if status == "failed":
            assert found["error"]["code"] == "server_error"
            assert "shutting down" in found["error"]["message"]


def test_a_server_that_was_killed_leaves_nothing_under_way(start: Start) -> None:
    here = start()
    store = here.client.application.extensions["openai"].store
    begun = here.make()
    for id, left in (("resp_here", 20), ("resp_lost", -1)):
        stored: StoredResponse = store.responses.get("local", begun["id"])
        stored = StoredResponse(
            *(id, stored.created, "m", None, b"[]"),
            stored.response.replace(begun["id"].encode(), id.encode()),
            until=int(time.time()) + left,
        )
        store.responses.add("local", stored)
    assert here.get("resp_here")["status"] == "queued"  # another server makes it
    lost = here.cancel("resp_lost")
    assert lost == here.get("resp_lost") and lost["status"] == "failed"
    assert lost["error"]["code"] == "server_error" and "ended" in lost["error"]["message"]


# Another server shares the store.


def test_another_server_follows_it_live(serve: Serve, tmp_path: Path) -> None:
    options: dict[str, Any] = {"store": "sqlite", "data_folder": str(tmp_path)}
    engine = PacedEngine()
    engine.gate.clear()
    port, other = (serve(each, **options).port for each in (engine, EchoEngine()))
    with Wire(port) as wire, Wire(other) as follower:
        wire.request("POST", PATH, GOOD | {"stream": True})
        wire.head()
        data = next(wire.chunks())
        path = f"{PATH}/{named_events(data)[0]['response']['id']}?stream=true"
        follower.request("GET", f"{path}&starting_after=0")
        assert follower.head()[1] == 200
        followed = next(follower.chunks())
        assert named_events(followed)[0]["sequence_number"] == 1
        assert engine.wait_for_active(1)
        engine.gate.set()
        events = response_events(data + b"".join(wire.chunks()))
        assert response_events(followed + b"".join(follower.chunks())) == events[1:]
    # And again, when it has ended, from the last one on.
    rest = ask(other, "GET", f"{path}&starting_after={len(events) - 2}").body
    assert response_events(rest) == events[-1:]
    none = ask(other, "GET", f"{path}&starting_after={len(events) - 1}").body
    assert none == b"data: [DONE]\n\n"


def test_another_server_cancels_what_is_made_here(serve: Serve, tmp_path: Path) -> None:
    options: dict[str, Any] = {"store": "sqlite", "data_folder": str(tmp_path)}
    engine = PacedEngine(["a"], endless=True, pace=0.02)
    port, other = (serve(each, **options).port for each in (engine, EchoEngine()))
    with Wire(port) as wire, Wire(other) as follower:
        wire.request("POST", PATH, GOOD | {"stream": True})
        wire.head()
        data = next(wire.chunks())
        path = f"{PATH}/{named_events(data)[0]['response']['id']}"
        follower.request("GET", f"{path}?stream=true")
        follower.head()
        seen = b""
        while b"output_text.delta" not in seen:
            seen += next(follower.chunks())
        cancelled = ask(other, "POST", f"{path}/cancel").json()
        assert cancelled["status"] == "cancelled"
        assert engine.wait_for_active(0)
        for bytes in (data + b"".join(wire.chunks()), seen + b"".join(follower.chunks())):
            last = response_events(bytes)[-1]
            assert (last["type"], last["response"]["status"]) == ("response.failed", "cancelled")
    for each in (port, other):
        assert ask(each, "GET", path).json() == cancelled
        again = response_events(ask(each, "GET", f"{path}?stream=true").body)
        assert again[-1]["response"] == cancelled


def test_readers_are_told_that_its_server_was_killed(start: Start) -> None:
    here = start(open=True)
    events = response_events(here.client.post(PATH, json=GOOD | {"stream": True}).data)
    record = EventRecord()
    for event in events[:4]:
        record.add(event)
    response = orjson.dumps(events[0]["response"] | {"id": "resp_lost"})
    lost = StoredResponse(
        "resp_lost", 1, "m", None, b"[]", response, events=record.whole(), until=1
    )
    here.client.application.extensions["openai"].store.responses.add("local", lost)
    for _ in range(2):
        *found, last = response_events(here.client.get(f"{PATH}/resp_lost?stream=true").data)
        assert found == events[:4]
        assert (last["type"], last["sequence_number"]) == ("response.failed", 4)
        assert last["response"]["error"]["code"] == "server_error"
