"""Conversations: through the official client, strict about types, and on the wire."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from flask.testing import FlaskClient

from extensions.openai.dialects.responses.encrypted_content import ContentSeal
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.state.keyring import keyring_of
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope, fold_response, response_events

HELLO: dict[str, Any] = {"type": "message", "role": "user", "content": "Hello"}


def made(client: FlaskClient, path: str = "/v1/conversations", **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.json


def texts(client: FlaskClient, id: str) -> list[str]:
    listed = client.get(f"/v1/conversations/{id}/items?order=asc&limit=100").json["data"]
    return [item["content"][0]["text"] for item in listed]


# Through the client.


def test_a_conversation(sdk: openai.OpenAI) -> None:
    created = sdk.conversations.create(items=[HELLO], metadata={"topic": "greeting"})  # type: ignore[list-item]
    assert created.object == "conversation" and created.id.startswith("conv_")
    assert sdk.conversations.retrieve(created.id) == created
    changed = sdk.conversations.update(created.id, metadata={"k": "v"})
    assert changed.metadata == {"k": "v"} and changed.created_at == created.created_at
    deleted = sdk.conversations.delete(created.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (
        created.id,
        "conversation.deleted",
        True,
    )
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.retrieve(created.id)


def test_its_items(sdk: openai.OpenAI) -> None:
    id = sdk.conversations.create().id
    said: list[Any] = [{**HELLO, "content": str(at)} for at in range(5)]
    added = sdk.conversations.items.create(id, items=said)
    assert len(added.data) == 5 and added.has_more is False
    first = added.data[0]
    # Pages of two, each of which begins behind `last_id` of the one before.
    listed = [item.id for item in sdk.conversations.items.list(id, limit=2)]
    assert listed == [item.id for item in reversed(added.data)]
    assert sdk.conversations.items.retrieve(first.id, conversation_id=id) == first  # type: ignore[arg-type]
    assert sdk.conversations.items.delete(first.id, conversation_id=id).id == id  # type: ignore[arg-type]
    assert len(list(sdk.conversations.items.list(id))) == 4
    with pytest.raises(openai.NotFoundError):
        sdk.conversations.items.retrieve(first.id, conversation_id=id)  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [False, True])
def test_responses_go_on_from_it_and_are_added_to_it(client: FlaskClient, stream: bool) -> None:
    id = made(client, items=[HELLO])["id"]
    body = {"model": "echo", "input": "Again", "conversation": {"id": id}, "stream": stream}
    answer = client.post("/v1/responses", json=body)
    response = fold_response(response_events(answer.data)) if stream else answer.json
    assert response["conversation"] == {"id": id} and response["store"] is True
    alone = client.post("/v1/responses", json={"model": "echo", "input": "Again"}).json
    assert response["usage"]["input_tokens"] > alone["usage"]["input_tokens"]
    assert texts(client, id) == ["Hello", "Again", "Again"]
    assert client.get(f"/v1/responses/{response['id']}").json == response
    client.post("/v1/responses", json={"model": "echo", "input": "More", "conversation": id})
    assert texts(client, id)[3:] == ["More", "More"]
    counted = client.post(
        "/v1/responses/input_tokens", json={"model": "echo", "conversation": id}
    ).json
    assert counted["input_tokens"] > response["usage"]["input_tokens"]


# On the wire.


def test_a_response_that_is_not_stored_is_added_nevertheless(client: FlaskClient) -> None:
    """As the reference says of all responses."""
    id = made(client)["id"]
    body = {"model": "echo", "input": "x", "conversation": id, "store": False}
    response = made(client, "/v1/responses", **body)
    assert response["store"] is False
    assert client.get(f"/v1/responses/{response['id']}").status_code == 404
    assert texts(client, id) == ["x", "x"]


def test_what_is_taken_out_of_it_is_not_said_again(client: FlaskClient) -> None:
    id = made(client, items=[{**HELLO, "content": "x" * 100, "id": "msg_long"}])["id"]
    before = made(client, "/v1/responses/input_tokens", model="echo", conversation=id)[
        "input_tokens"
    ]
    client.delete(f"/v1/conversations/{id}/items/msg_long")
    made(client, f"/v1/conversations/{id}/items", items=[HELLO])
    assert (
        made(client, "/v1/responses/input_tokens", model="echo", conversation=id)["input_tokens"]
        < before
    )


def test_the_list_of_conversations() -> None:
    """Not OpenAI's."""
    client = create_app(Settings(store="memory"), EchoEngine()).test_client()
    ids = [made(client, metadata={"n": str(at)})["id"] for at in range(5)]

    def page(**query: Any) -> Any:
        answer = client.get("/v1/conversations", query_string=query)
        assert answer.status_code == 200, answer.text
        listed = answer.json
        shown = [each["id"] for each in listed["data"]]
        assert (listed["object"], listed["first_id"], listed["last_id"]) == (
            *("list", shown[0] if shown else ""),
            shown[-1] if shown else "",
        )
        return shown, listed["has_more"]

    assert page() == (ids[::-1], False)
    assert page(order="asc", limit=2) == (ids[:2], True)
    assert page(order="asc", limit=2, after=ids[1]) == (ids[2:4], True)
    assert client.get("/v1/conversations").json["data"][0] == (
        client.get(f"/v1/conversations/{ids[4]}").json
    )
    # A page goes on behind a conversation that was deleted meanwhile.
    client.delete(f"/v1/conversations/{ids[1]}")
    assert page(order="asc", after=ids[1]) == (ids[2:], False)
    assert client.get("/v1/conversations?after=conv_none").status_code == 404
    assert client.get("/v1/conversations?limit=101").json["error"]["param"] == "limit"


def test_the_list_is_the_callers() -> None:
    client = create_app(
        Settings(store="memory", api_key="a", admin_key="b"), EchoEngine()
    ).test_client()
    for key in "ab":
        client.post("/v1/conversations", headers={"Authorization": f"Bearer {key}"})
    for key in "ab":
        listed = client.get("/v1/conversations", headers={"Authorization": f"Bearer {key}"}).json
        assert len(listed["data"]) == 1


def test_a_deleted_conversation_leaves_its_responses(client: FlaskClient) -> None:
    id = made(client)["id"]
    response = made(client, "/v1/responses", model="echo", input="x", conversation=id)
    client.delete(f"/v1/conversations/{id}")
    assert client.get(f"/v1/responses/{response['id']}").status_code == 200
    answer = client.post("/v1/responses", json={"model": "echo", "input": "x", "conversation": id})
    error = assert_envelope(answer.json, status=404)
    assert (answer.status_code, error["param"]) == (404, "conversation") and id in error["message"]


def test_what_one_key_keeps_another_cannot_see() -> None:
    app = create_app(Settings(api_key="a", admin_key="b", store="memory"), EchoEngine())
    client = app.test_client()
    mine, other = {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}
    created = client.post("/v1/conversations", json={"items": [HELLO]}, headers=mine).json
    id = created["id"]
    item = client.get(f"/v1/conversations/{id}/items", headers=mine).json["first_id"]
    one, items = f"/v1/conversations/{id}", f"/v1/conversations/{id}/items"
    for method, path, body in (
        ("GET", one, None),
        ("POST", one, {"metadata": {}}),
        ("DELETE", one, None),
        ("GET", items, None),
        ("POST", items, {"items": [HELLO]}),
        ("GET", f"{items}/{item}", None),
        ("DELETE", f"{items}/{item}", None),
        ("POST", "/v1/responses", {"model": "echo", "input": "x", "conversation": id}),
    ):
        answer = client.open(path, method=method, json=body, headers=other)
        assert answer.status_code == 404, (method, path)
    assert len(client.get(items, headers=mine).json["data"]) == 1


def test_where_nothing_may_be_stored_there_are_none() -> None:
    client = create_app(Settings(store="off"), EchoEngine()).test_client()
    assert client.post("/v1/conversations", json={}).json["error"]["code"] == "store_off"
    body = {"model": "echo", "input": "x", "conversation": "conv_1"}
    assert client.post("/v1/responses", json=body).json["error"]["code"] == "store_off"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"items": [HELLO] * 21}, "items"),
        ("", {"items": [{"type": "x"}]}, "items[0].type"),
        ("", {"items": [{"type": "item_reference", "id": "msg_1"}]}, "items[0]"),
        ("", {"metadata": {"a": 1}}, "metadata.a"),
        ("/{id}", {}, "metadata"),
        ("/{id}/items", {"items": []}, "items"),
        ("/{id}/items", {}, "items"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    client: FlaskClient, path: str, body: dict[str, Any], param: str
) -> None:
    id = made(client)["id"]
    answer = client.post("/v1/conversations" + path.format(id=id), json=body)
    assert assert_envelope(answer.json, status=400)["param"] == param


def test_a_conversation_needs_no_body(client: FlaskClient) -> None:
    answer = client.post("/v1/conversations")
    assert answer.status_code == 200 and answer.json["metadata"] == {}


def test_a_sealed_thought_is_opened_for_its_key_only(tmp_path: Path) -> None:
    settings = Settings(data_folder=str(tmp_path))
    seal = ContentSeal(lambda: keyring_of(settings), "local")
    thought = {"type": "reasoning", "summary": [], "encrypted_content": seal.thought("Hm.")}
    client = create_app(settings, EchoEngine()).test_client()
    id = made(client, items=[HELLO, thought])["id"]
    _, item = client.get(f"/v1/conversations/{id}/items?order=asc").json["data"]
    assert item["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert "encrypted_content" not in item
    good = {"model": "echo", "input": [HELLO, thought, HELLO]}
    answer = client.post("/v1/responses", json=good)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    foreign = thought | {"encrypted_content": replace(seal, owner="alice").thought("Hm.")}
    for path, body, place in (
        ("/v1/conversations", {"items": [HELLO, foreign]}, "items[1]"),
        (f"/v1/conversations/{id}/items", {"items": [foreign]}, "items[0]"),
        ("/v1/responses", {"model": "echo", "input": [HELLO, foreign]}, "input[1]"),
        ("/v1/responses/input_tokens", {"input": [HELLO, foreign]}, "input[1]"),
    ):
        answer = client.post(path, json=body)
        error = assert_envelope(answer.json)
        assert (answer.status_code, error["code"], error["param"]) == (
            *(400, "invalid_encrypted_content"),
            f"{place}.encrypted_content",
        )
    listed = client.get(f"/v1/conversations/{id}/items").json["data"]
    assert len(listed) == 2, "all items or none"
