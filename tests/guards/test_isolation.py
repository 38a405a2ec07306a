"""What one key has stored is to another as what never was: each id, in each place of each endpoint."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import ROUTES, create_app
from extensions.openai.web.routing.routes import MODEL, Route
from tests.support.batches import chat_line, file_of, line_of, result_of
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope
from tests.test_stored_completions import CHATS, body

GENERATED = re.compile(
    r"\b(?:[a-z]+[-_])+[0-9a-f]{12,}" r'|(?<="encrypted_content":")[^"]*'  # sealed with a new nonce
)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
FORMS: tuple[Callable[[str], Any], ...] = (
    str,
    lambda id: [id],
    lambda id: {"id": id},
    lambda id: [{"id": id}],
)
"""How a field may hold an id."""


@dataclass(frozen=True)
class Two:
    """A server with two keys, and the ids of what alice has stored."""

    client: FlaskClient
    headers: Mapping[str, Mapping[str, str]]
    ids: tuple[str, ...]

    def ask(self, method: str, path: str, who: str = "bob", **more: Any) -> tuple[int, str]:
        answer = self.client.open(path, method=method, headers=self.headers[who], **more)
        return answer.status_code, answer.text


@pytest.fixture
def two(where: str, tmp_path: Path) -> Iterator[Two]:
    agents = tmp_path / "agents.yaml"
    agents.write_text("agents: {companion: {memory: true}, secret: {memory: true, keys: [alice]}}")
    options = Settings(
        store=where, data_folder=str(tmp_path), rpm=0, agents=str(agents), ollama_api=True
    )
    headers = headers_of(options, "alice", "bob")
    client = create_app(options, EchoEngine()).test_client()
    sent = {**headers["alice"], "Idempotency-Key": "k"}
    made = client.post(CHATS, json=body("secret", metadata={"k": "v"}), headers=sent).json["id"]
    figure = {"figure": {"data": [{"y": [1]}], "layout": {"title": "secret"}}}
    path = f"{CHATS}/{made}/messages/{made}-1/plots"
    plot = client.post(path, json=figure, headers=headers["alice"]).json["id"]
    sent = {"model": "echo", "input": "secret"}
    answered = client.post("/v1/responses", json=sent, headers=headers["alice"]).json
    items = [each["id"] for each in answered["output"]]
    begin = {"items": [{"role": "user", "content": "secret"}]}
    begun = client.post("/v1/conversations", json=begin, headers=headers["alice"]).json["id"]
    path = f"/v1/conversations/{begun}/items"
    items.append(client.get(path, headers=headers["alice"]).json["first_id"])
    said = {**headers["alice"], "x-openedai-session-key": "s"}
    client.post(CHATS, json=body("secret"), headers=said)
    session = client.get("/v1/sessions", headers=headers["alice"]).json["first_id"]
    fact = {"agent": "secret", "user": "ann", "text": "secret"}
    memory = client.post("/v1/memories", json=fact, headers=headers["alice"]).json["id"]
    stream = f"stream-{'5ec7' * 8}"
    left = {**headers["alice"], "x-openedai-stream-id": stream}
    assert client.post(CHATS, json={**body("secret"), "stream": True}, headers=left).text
    form = {"purpose": "vision", "file": (io.BytesIO(b"secret"), "secret.txt")}
    file = client.post("/v1/files", data=form, headers=headers["alice"], buffered=True).json["id"]
    new = {"filename": "secret", "purpose": "vision", "bytes": 6, "mime_type": "text/plain"}
    upload = client.post("/v1/uploads", json=new, headers=headers["alice"]).json["id"]
    line = chat_line("secret", "secret") + chat_line("wrong", "secret", temperature="hot")
    batch = result_of(client, line, headers=headers["alice"])
    of_batch = (batch["id"], *(batch[f"{name}_file_id"] for name in ("input", "output", "error")))
    stored = (session, plot, memory, file, upload, stream, *of_batch)
    ids = (made, f"{made}-1", answered["id"], begun, *stored, *items)
    yield Two(client, headers, ids)
    client.application.extensions["openai"].store.close()


def never(id: str) -> str:
    """An id of the same form that nothing ever had."""
    return id[:12] + "".join("0" if c != "0" else "1" for c in id[12:44]) + id[44:]


def shown(answer: tuple[int, str], id: str) -> tuple[int, str]:
    """An answer without what differs in every one."""
    status, text = answer
    text = text.replace(id, "ID").replace(never(id), "ID")
    return status, NUMBER.sub("0", GENERATED.sub("X", text))


@dataclass(frozen=True)
class Place:
    """Where a request may hold an id."""

    route: Route
    query: str | None = None
    field: str | None = None
    form: Callable[[str], Any] = str

    def ask(self, two: Two, id: str) -> tuple[int, str]:
        path = f"{self.route.addresses.value[0]}{self.route.path}"
        is_path = self.query is None and self.field is None
        path = re.sub(r"<[^>]*>", quote(id, safe="") if is_path else "echo", path)
        sent = {k: "echo" if v is MODEL else v for k, v in (self.route.example or {}).items()}
        if self.field is not None:
            sent[self.field] = self.form(id)
        query = {} if self.query is None else {self.query: id}
        json = sent if self.route.has_body else None
        return two.ask(self.route.method, path, query_string=query, json=json)


def places(route: Route) -> Iterator[Place]:
    if "<" in route.path:
        yield Place(route)
    for name in route.query.model_fields if route.query else ():
        yield Place(route, query=name)
        yield Place(route, query=f"{name}[k]")
    for name in route.body.model_fields if route.body else ():
        for form in FORMS:
            yield Place(route, field=name, form=form)


OPEN_TO_BOTH = sorted(
    (each for each in ROUTES if each.scope in ("read", "write") and "internal" not in each.path),
    key=lambda route: route.method != "GET",
)
"""First those that list what is bob's own: batches that he makes in other places here go on meanwhile."""


# This takes ten seconds each: what differs is in these two.
@pytest.mark.parametrize("where", ["sqlite", "encrypted postgresql"], indirect=True)
@pytest.mark.timeout(240)
def test_each_place_of_each_endpoint(two: Two) -> None:
    found = [place for route in OPEN_TO_BOTH for place in places(route)]
    assert len(found) > 150
    for place in found:
        # In the rarer forms, an id of each of two kinds: all of them there would take half of the time.
        for id in two.ids if place.form is str else two.ids[:3:2]:
            assert shown(place.ask(two, id), id) == shown(place.ask(two, never(id)), id), place
    status, text = two.ask("GET", CHATS)
    assert status == 200 and "secret" not in text
    kept = two.client.get(f"{CHATS}/{two.ids[0]}", headers=two.headers["alice"])
    assert kept.status_code == 200 and kept.json["metadata"] == {"k": "v"}
    kept = two.client.get(f"/v1/responses/{two.ids[2]}", headers=two.headers["alice"])
    assert kept.status_code == 200 and "secret" in kept.text


def chat_part(id: str) -> tuple[str, dict[str, Any]]:
    part = {"type": "file", "file": {"file_id": id}}
    return CHATS, {"messages": [{"role": "user", "content": [part]}]}


def response_part(id: str) -> tuple[str, dict[str, Any]]:
    part = {"type": "input_file", "file_id": id}
    return "/v1/responses", {"input": [{"role": "user", "content": [part]}]}


def counted_part(id: str) -> tuple[str, dict[str, Any]]:
    path, body = response_part(id)
    return f"{path}/input_tokens", body


def result_part(id: str) -> tuple[str, dict[str, Any]]:
    output = [{"type": "input_file", "file_id": id}]
    item = {"type": "function_call_output", "call_id": "c", "output": output}
    return "/v1/responses", {"input": [item]}


def message_part(id: str) -> tuple[str, dict[str, Any]]:
    part = {"type": "document", "source": {"type": "file", "file_id": id}}
    return "/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}


PARTS = (chat_part, response_part, counted_part, result_part, message_part)
"""Places deep in a body that name a file."""


@pytest.mark.parametrize("where", ["sqlite", "encrypted postgresql"], indirect=True)
@pytest.mark.timeout(240)
def test_files_that_messages_name(two: Two) -> None:
    files = [id for id in two.ids if id.startswith("file-")]
    assert len(files) == 4
    for place in PARTS:
        for id in (*files, two.ids[0]):
            answers = []
            for each in (id, never(id)):
                path, body = place(each)
                answers.append(shown(two.ask("POST", path, json={"model": "echo", **body}), id))
            assert answers[0] == answers[1] and answers[0][0] == 404, (place, id)


@pytest.mark.parametrize("where", ["memory"], indirect=True)
@pytest.mark.timeout(240)
def test_files_that_batches_and_their_lines_name(two: Two) -> None:
    def ended(file: str) -> Any:
        headers = two.headers["bob"]
        done = result_of(two.client, b"", input_file_id=file, headers=headers)
        files = (done["output_file_id"], done["error_file_id"])
        read = [two.ask("GET", f"/v1/files/{id}/content") for id in files if id is not None]
        kept = {name: done[name] for name in ("status", "errors", "request_counts", "model")}
        return kept, [(status, text) for status, text in read]

    def same(one: str, other: str, id: str) -> bool:
        found = [shown((200, str(ended(file))), id) for file in (one, other)]
        return found[0] == found[1]

    for id in two.ids:
        assert same(id, never(id), id), id
        lines = []
        for each in (id, never(id)):
            path, body = chat_part(each)
            line = line_of("a", {"model": "echo", **body}, path)
            lines.append(file_of(two.client, line, headers=two.headers["bob"]))
        assert same(lines[0], lines[1], id), id


@pytest.mark.parametrize("where", ["memory"], indirect=True)
def test_an_agent_of_another_key_in_each_place(two: Two) -> None:
    # These lists have what bob has sent to other places here.
    lists = ("GET /v1/conversations", "GET /v1/responses")
    routes = [route for route in OPEN_TO_BOTH if route.name not in lists]
    found = [place for route in routes for place in places(route)]
    for place in found:
        for form in ("agent:{}", "{}"):
            answers = []
            for name in ("secret", "nothin"):
                status, text = place.ask(two, form.format(name))
                text = GENERATED.sub("X", text.replace(name, "NAME"))
                answers.append((status, NUMBER.sub("0", text)))
            assert answers[0] == answers[1], place
    for name in ("secret", "nothin"):
        headers = {**two.headers["bob"], "x-openedai-agent-id": name}
        answer = two.client.post(CHATS, json=body("x"), headers=headers)
        assert answer.status_code == 404 and "agent:secret" not in answer.text.replace(name, "")


def test_the_same_idempotency_key_is_another_one(two: Two) -> None:
    sent = {**two.headers["bob"], "Idempotency-Key": "k"}
    for text in ("another", "another"):
        made = two.client.post(CHATS, json=body(text), headers=sent)
        assert made.status_code == 200 and made.json["id"] != two.ids[0]


def test_the_same_stream_id_is_another_one(two: Two) -> None:
    stream = two.ids[9]
    assert stream.startswith("stream-")
    left = {**two.headers["bob"], "x-openedai-stream-id": stream}
    made = two.client.post(CHATS, json={**body("mine"), "stream": True}, headers=left)
    assert made.status_code == 200
    for who, said in (("alice", "secret"), ("bob", "mine")):
        status, text = two.ask("GET", f"/v1/streams/{stream}", who)
        parts = re.findall(r'"content":"([^"]*)"', text)
        assert (status, "".join(parts)) == (200, said)


changes = st.sampled_from(
    [
        str.upper,
        str.title,
        lambda id: f" {id}",
        lambda id: f"{id}\0",
        lambda id: f"{id}%00",
        lambda id: f"{id}'--",
        lambda id: f"{id}\udcff".encode("utf-8", "surrogateescape"),
        lambda id: id[:-1] + "%",
        lambda id: id[:-1] + "_",
        lambda id: id[:20] + "\N{ZERO WIDTH SPACE}" + id[20:],
        lambda id: id.replace("chatcmpl-", ""),
    ]
)


others = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1)


@given(
    changes | others.map(lambda text: lambda id: text),
    st.integers(0, 2),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_nearly_an_id_is_none(two: Two, change: Any, which: int) -> None:
    asked = quote(change(two.ids[which]), safe="")
    for who in ("alice", "bob"):
        for method, path, sent in (
            ("GET", f"{CHATS}/{asked}", None),
            ("POST", f"{CHATS}/{asked}", {"metadata": {}}),
            ("DELETE", f"{CHATS}/{asked}", None),
            ("GET", f"{CHATS}/{asked}/messages", None),
            ("GET", f"{CHATS}?after={asked}", None),
            ("GET", f"{CHATS}/{two.ids[0]}/messages?after={asked}", None),
            ("GET", f"{CHATS}/{two.ids[0]}/messages/{asked}/plots", None),
            ("DELETE", f"{CHATS}/{asked}/messages/{two.ids[1]}/plots", None),
            ("GET", f"/v1/sessions/{asked}", None),
            ("DELETE", f"/v1/sessions/{asked}", None),
            ("GET", f"/v1/memories/{asked}", None),
            ("DELETE", f"/v1/memories/{asked}", None),
            ("GET", f"/v1/memories?after={asked}", None),
            ("GET", f"/v1/files/{asked}", None),
            ("GET", f"/v1/files/{asked}/content", None),
            ("DELETE", f"/v1/files/{asked}", None),
            ("GET", f"/v1/files?after={asked}", None),
            ("GET", f"/v1/streams/{asked}", None),
            ("DELETE", f"/v1/streams/{asked}", None),
            ("GET", f"/v1/batches/{asked}", None),
            ("POST", f"/v1/batches/{asked}/cancel", None),
            ("GET", f"/v1/batches?after={asked}", None),
            ("POST", f"/v1/uploads/{asked}/cancel", None),
            ("POST", f"/v1/uploads/{asked}/complete", {"part_ids": []}),
        ):
            answer = two.client.open(path, method=method, json=sent, headers=two.headers[who])
            assert answer.status_code in (404, 405), (method, path, answer.text)
            assert_envelope(answer.json, status=answer.status_code)
