"""Stored chats: what the reference's pages answer, and that they are the same however they came."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from flask.testing import FlaskClient
from PIL import Image

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import StoreUnavailable
from extensions.openai.settings import Settings
from extensions.openai.web import storing
from extensions.openai.web.app import create_app
from tests.conftest import sdk_on
from tests.support.api import Api
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope, sse_chunks

CHATS = "/v1/chat/completions"
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def client_of(**options: Any) -> FlaskClient:
    return create_app(Settings(**{"store": "memory", **options}), EchoEngine()).test_client()


@pytest.fixture
def client(where: str, tmp_path: Path) -> Iterator[FlaskClient]:
    made = client_of(store=where, data_folder=str(tmp_path))
    yield made
    made.application.extensions["openai"].store.close()


@pytest.fixture
def sdk(client: FlaskClient) -> Iterator[openai.OpenAI]:
    """Strict about what it is answered."""
    with sdk_on(client.application) as made:
        yield made


def body(text: str = "Hi", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "echo", "messages": messages, "store": True, **more}


def create(client: FlaskClient, text: str = "Hi", **more: Any) -> Any:
    answer = client.post(CHATS, json=body(text, **more))
    assert answer.status_code == 200, answer.text
    if more.get("stream"):
        return sse_chunks(answer.data)[0]
    return answer.json


def listed(client: FlaskClient, query: str = "") -> list[str]:
    answer = client.get(f"{CHATS}{query}")
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json["data"]]


def test_all_routes_by_the_official_client(sdk: openai.OpenAI) -> None:
    chats = sdk.chat.completions
    made = [
        chats.create(
            model="echo",
            messages=[{"role": "user", "content": f"Number {n}"}],
            store=True,
            metadata={"n": str(n), "half": str(n % 2)},
        )
        for n in range(5)
    ]
    ids = [each.id for each in made]
    assert [each.id for each in chats.list(limit=2)] == ids  # all pages
    assert [each.id for each in chats.list(order="desc")] == ids[::-1]
    assert [each.id for each in chats.list(metadata={"half": "1"})] == [ids[1], ids[3]]
    assert [each.id for each in chats.list(model=made[0].model, after=ids[3])] == [ids[4]]
    assert list(chats.list(model="another")) == []
    found = chats.retrieve(ids[2])
    assert found.choices == made[2].choices and found.usage == made[2].usage
    assert found.to_dict()["metadata"] == {"n": "2", "half": "0"}
    changed = chats.update(ids[2], metadata={"new": "1"})
    assert changed.to_dict()["metadata"] == {"new": "1"}
    assert [each.id for each in chats.list(metadata={"new": "1"})] == [ids[2]]
    chats.update(ids[2], metadata=None)
    assert chats.retrieve(ids[2]).to_dict()["metadata"] == {}
    gone = chats.delete(ids[2])
    assert gone.to_dict() == {"object": "chat.completion.deleted", "id": ids[2], "deleted": True}
    with pytest.raises(openai.NotFoundError):
        chats.retrieve(ids[2])
    assert [each.id for each in chats.list()] == [*ids[:2], *ids[3:]]


def test_the_official_client_deletes_all_that_it_lists(sdk: openai.OpenAI) -> None:
    """It asks for the page behind what it has deleted."""
    for _ in range(7):
        sdk.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "x"}], store=True
        )
    for each in sdk.chat.completions.list(limit=3):
        sdk.chat.completions.delete(each.id)
    assert list(sdk.chat.completions.list()) == []


def test_messages_by_the_official_client(client: FlaskClient) -> None:
    """Not strictly: its type knows no messages but the assistant's, against the reference's own example."""
    made = create(client, "Hi", n=2)
    with openai.OpenAI(
        api_key="unused",
        base_url="http://127.0.0.1/v1",
        http_client=sdk_on(client.application)._client,
    ) as sdk:
        pages = sdk.chat.completions.messages.list(made["id"], limit=1)
        found = [(each.id, each.role, each.content) for each in pages]
    answers = [choice["message"]["content"] for choice in made["choices"]]
    assert found == [
        (f"{made['id']}-0", "user", "Hi"),
        (f"{made['id']}-1", "assistant", answers[0]),
        (f"{made['id']}-2", "assistant", answers[1]),
    ]


def test_only_what_was_asked_for_is_stored(client: FlaskClient) -> None:
    for store in (None, False):
        create(client, store=store)
    assert client.get(CHATS).json == {
        "object": "list",
        "data": [],
        "first_id": "",
        "last_id": "",
        "has_more": False,
    }


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_chat_is_its_answer_and_what_was_asked_for(
    client: FlaskClient, stream: bool
) -> None:
    answer = create(
        client,
        stream=stream,
        seed=7,
        temperature=0.5,
        user="u",
        tools=[WEATHER],
        tool_choice="none",
        response_format={"type": "text"},
        service_tier="flex",
    )
    stored = client.get(f"{CHATS}/{answer['id']}").json
    assert stored.pop("request_id").startswith("req_")
    asked = {
        "seed": 7,
        "temperature": 0.5,
        "top_p": None,
        "presence_penalty": None,
        "frequency_penalty": None,
        "input_user": "u",
        "tools": [WEATHER],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "metadata": {},
    }
    assert {name: stored.pop(name) for name in asked} == asked
    if not stream:
        assert stored == answer


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 3},
        {"logprobs": True, "top_logprobs": 2},
        {"tools": [WEATHER], "tool_choice": "required"},
        {"stream_options": {"include_usage": True}},
        {"metadata": {"k": "v"}},
        {"max_tokens": 1},
        {"stop": "e"},
    ],
)
def test_the_same_is_stored_streamed_or_not(tiny: Api, more: dict[str, Any]) -> None:
    client, found = tiny.client, []
    for stream in (False, True):
        options = {k: v for k, v in more.items() if stream or k != "stream_options"}
        id = create(client, stream=stream, model="tiny", seed=3, **options)["id"]
        stored = client.get(f"{CHATS}/{id}").text
        messages = client.get(f"{CHATS}/{id}/messages").text
        for page in (stored, messages):
            value = json.loads(page.replace(id, "ID"))
            for unequal in ("created", "request_id"):
                value.pop(unequal, None)
            for each in value.get("choices", value.get("data")):
                for call in each.get("message", each).get("tool_calls", ()):
                    call["id"] = "ID"
            found.append(value)
    assert found[:2] == found[2:]


def test_messages_as_they_were_sent(client: FlaskClient) -> None:
    picture = {"type": "image_url", "image_url": {"url": "http://a.example/b.png"}}
    parts = [{"type": "text", "text": "Look"}, {"type": "text", "text": "here"}]
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief", "name": "d"},
        {"role": "user", "content": parts},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "assistant", "refusal": "no", "content": "", "mine": 1},
        {"role": "user", "content": "So?"},
    ]
    id = create(client, messages=messages)["id"]
    found = client.get(f"{CHATS}/{id}/messages").json["data"]
    empty = {"name": None, "content_parts": None, "refusal": None}
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"a":1}'},
    }
    assert found[:6] == [
        empty | {"id": f"{id}-0", "role": "developer", "content": "Be brief", "name": "d"},
        empty | {"id": f"{id}-1", "role": "user", "content": None, "content_parts": parts},
        empty | {"id": f"{id}-2", "role": "assistant", "content": None, "tool_calls": [call]},
        empty | {"id": f"{id}-3", "role": "tool", "content": "rain", "tool_call_id": "c1"},
        empty | {"id": f"{id}-4", "role": "assistant", "content": "", "refusal": "no"},
        empty | {"id": f"{id}-5", "role": "user", "content": "So?"},
    ]
    assert found[6]["role"] == "assistant" and len(found) == 7
    assert picture  # pictures are in the test below


def test_pages_of_messages(client: FlaskClient) -> None:
    messages = [{"role": "user", "content": str(n)} for n in range(5)]
    id = create(client, messages=messages)["id"]
    path = f"{CHATS}/{id}/messages"
    all = [f"{id}-{n}" for n in range(6)]

    def page(query: str) -> tuple[list[str], bool]:
        answer = client.get(f"{path}?{query}").json
        ids = [each["id"] for each in answer["data"]]
        assert (answer["first_id"], answer["last_id"]) == (ids[0], ids[-1])
        return ids, answer["has_more"]

    assert page("") == (all, False)
    assert page("limit=2") == (all[:2], True)
    assert page(f"limit=4&after={all[1]}") == (all[2:], False)
    assert page("order=desc&limit=2") == (all[:3:-1], True)
    refused = client.get(f"{path}?after=other-0")
    assert assert_envelope(refused.json, status=404)["param"] == "after"


def test_large_media_is_left_out(seeing: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is stored, not of what the model sees."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    data = file.getvalue()
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    request = body(messages=[{"role": "user", "content": parts}], model="seeing", max_tokens=2)
    assert storing.MAX_MEDIA_BYTES == 8_000_000
    for most, kept in ((len(data), parts), (len(data) - 1, parts[:1])):
        monkeypatch.setattr(storing, "MAX_MEDIA_BYTES", most)
        answer = seeing.client.post(CHATS, json=request)
        assert answer.status_code == 200, answer.text
        messages = seeing.client.get(f"{CHATS}/{answer.json['id']}/messages").json["data"]
        assert messages[0]["content_parts"] == kept


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "integer_below_min_value"),
        ("limit=101", "integer_above_max_value"),
        ("limit=x", "invalid_type"),
        ("order=up", "invalid_value"),
        ("metadata[k]=" + "x" * 513, "string_above_max_length"),
    ],
)
def test_wrong_queries(client: FlaskClient, query: str, code: str) -> None:
    refused = client.get(f"{CHATS}?{query}")
    assert assert_envelope(refused.json, status=400)["code"] == code


def test_wrong_updates(client: FlaskClient) -> None:
    id = create(client, metadata={"k": "v"})["id"]
    for wrong in ({}, {"metadata": {"k": 1}}, {"metadata": {str(n): "v" for n in range(17)}}):
        assert client.post(f"{CHATS}/{id}", json=wrong).status_code == 400
    assert client.get(f"{CHATS}/{id}").json["metadata"] == {"k": "v"}


def test_filters_of_metadata(client: FlaskClient) -> None:
    first = create(client, metadata={"a b": "ü&=", "x": "1"})["id"]
    create(client, metadata={"x": "1"})
    assert listed(client, "?metadata[a%20b]=%C3%BC%26%3D&metadata[x]=1") == [first]


def keyed(tmp_path: Path) -> tuple[FlaskClient, dict[str, dict[str, str]]]:
    """A server with the keys of alice and bob, and their headers."""
    headers = headers_of(Settings(data_folder=str(tmp_path)), "alice", "bob")
    return client_of(data_folder=str(tmp_path), rpm=0), headers


def test_another_keys_chat_is_as_one_that_never_was(tmp_path: Path) -> None:
    """In every route and every place for an id, byte for byte."""
    client, headers = keyed(tmp_path)
    made = client.post(CHATS, json=body(metadata={"k": "v"}), headers=headers["alice"]).json["id"]
    never = "chatcmpl-" + "0" * 32

    def answers(id: str) -> list[tuple[int, str]]:
        found = []
        for method, path, sent in (
            ("GET", f"{CHATS}/{id}", None),
            ("POST", f"{CHATS}/{id}", {"metadata": {"mine": "1"}}),
            ("DELETE", f"{CHATS}/{id}", None),
            ("GET", f"{CHATS}/{id}/messages", None),
            ("GET", f"{CHATS}/{id}/messages?after={id}-0", None),
            ("GET", f"{CHATS}?after={id}", None),
        ):
            answer = client.open(path, method=method, json=sent, headers=headers["bob"])
            found.append((answer.status_code, answer.text.replace(id, "ID")))
        return found

    assert answers(made) == answers(never)
    assert {status for status, _ in answers(made)} == {404}
    assert client.get(f"{CHATS}?metadata[k]=v", headers=headers["bob"]).json["data"] == []
    kept = client.get(f"{CHATS}/{made}", headers=headers["alice"]).json
    assert kept["metadata"] == {"k": "v"}


def test_scopes(tmp_path: Path) -> None:
    client, headers = keyed(tmp_path)
    id = client.post(CHATS, json=body(), headers=headers["alice"]).json["id"]
    mine = headers_of(Settings(data_folder=str(tmp_path)), "r", scopes=frozenset({"read"}))["r"]
    assert client.get(CHATS, headers=mine).status_code == 200
    assert client.delete(f"{CHATS}/{id}", headers=mine).status_code == 403
    assert client.post(f"{CHATS}/{id}", json={"metadata": {}}, headers=mine).status_code == 403


@pytest.mark.parametrize("stream", [False, True])
def test_off(stream: bool) -> None:
    client = client_of(store="off")
    answer = client.post(CHATS, json=body(stream=stream))
    assert answer.status_code == 200 and answer.headers["x-openedai-ignored"] == "store"
    if stream:
        *others, last = sse_chunks(answer.data)
        assert last["store"] is False and last["choices"][0]["finish_reason"]
        assert not [each for each in others if "store" in each]
    else:
        assert answer.json["store"] is False
    for method, path in (
        ("GET", CHATS),
        ("GET", f"{CHATS}/x"),
        ("POST", f"{CHATS}/x"),
        ("DELETE", f"{CHATS}/x"),
        ("GET", f"{CHATS}/x/messages"),
    ):
        refused = client.open(
            path, method=method, json={"metadata": {}} if method == "POST" else None
        )
        error = assert_envelope(refused.json, status=404)
        assert error["code"] == "store_off" and "--store" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_be_stored_goes_out(
    client: FlaskClient, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = client.application.extensions["openai"].store

    def full(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("full")

    with monkeypatch.context() as patch:
        patch.setattr(store.chat_completions, "add", full)
        answer = client.post(CHATS, json=body(stream=stream))
        assert answer.status_code == 200
        last = sse_chunks(answer.data)[-1] if stream else answer.json
        assert last["store"] is False
        if not stream:
            assert answer.headers["x-openedai-ignored"] == "store"
    create(client)
    assert len(listed(client)) == 1


def test_an_answer_that_fails_or_is_left_is_not_stored(client: FlaskClient) -> None:
    assert client.post(CHATS, json=body(n=0)).status_code == 400
    response = client.post(CHATS, json=body(stream=True), buffered=False)
    next(iter(response.response))
    response.close()
    assert listed(client) == []


def test_it_is_stored_before_the_client_can_know(client: FlaskClient) -> None:
    """Which it can by the reason to end, before `[DONE]`."""
    response = client.post(CHATS, json=body(stream=True), buffered=False)
    for event in response.response:
        is_last = b'"finish_reason":"' in event
        assert len(listed(client)) == is_last
        if is_last:
            break
    response.close()
    assert len(listed(client)) == 1
