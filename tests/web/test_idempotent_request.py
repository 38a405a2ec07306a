"""Requests that store something and come again with their `Idempotency-Key`, on all stores.

Those of chats are in test_storing.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.state.sessions import Change, SessionKey
from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope, response_events
from tests.support.wire import ask
from tests.test_stored_completions import CHATS, client_of
from tests.test_stored_completions import body as chat

RESPONSES, CONVERSATIONS = "/v1/responses", "/v1/conversations"
GOOD: dict[str, Any] = {"model": "echo", "input": "Hello"}
HI = {"role": "user", "content": "Hi"}
FIGURE = {"figure": {"data": [{"y": [1]}], "layout": {}}}
FACT = {"agent": "friend", "user": "ann", "text": "Ann has a cat."}
HELLO: dict[str, Any] = {"type": "message", "role": "user", "content": "Hello"}


@pytest.fixture
def client(where: str, tmp_path: Path) -> Iterator[FlaskClient]:
    made = client_of(store=where, data_folder=str(tmp_path), message_endpoint=True)
    yield made
    made.application.extensions["openai"].store.close()


def post(client: FlaskClient, path: str, body: Any, key: str = "k") -> Any:
    """The whole answer, so that the request has ended."""
    return client.post(path, json=body, headers={"Idempotency-Key": key}, buffered=True)


def assert_sent_again(first: Any, again: Any) -> None:
    assert first.status_code == again.status_code == 200, again.text
    assert again.data == first.data
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"


def begun(client: FlaskClient) -> str:
    id: str = client.post(CONVERSATIONS, json={}).json["id"]
    return id


def sessions(client: FlaskClient) -> list[Any]:
    listed = client.get("/v1/sessions").json["data"]
    return [client.get(f"/v1/sessions/{each['id']}").json for each in listed]


def texts(client: FlaskClient, conversation: str) -> list[str]:
    listed = client.get(f"{CONVERSATIONS}/{conversation}/items?order=asc").json["data"]
    return [item["content"][0]["text"] for item in listed]


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_request_gets_the_same_response(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    calls: list[Any] = []
    generate = EchoEngine.generate

    def counted(*given: Any) -> Any:
        calls.append(given)
        return generate(*given)

    monkeypatch.setattr(EchoEngine, "generate", counted)
    body = {**GOOD, "stream": stream, "metadata": {"k": "v"}}
    first, again = post(client, RESPONSES, body), post(client, RESPONSES, body)
    assert_sent_again(first, again)
    assert len(calls) == 1
    response = response_events(again.data)[-1]["response"] if stream else again.json
    assert client.get(f"{RESPONSES}/{response['id']}").json == response


def test_the_response_before_may_be_gone_when_it_comes_again(client: FlaskClient) -> None:
    before = client.post(RESPONSES, json=GOOD).json["id"]
    body = {**GOOD, "previous_response_id": before}
    first = post(client, RESPONSES, body)
    client.delete(f"{RESPONSES}/{before}")
    assert_sent_again(first, post(client, RESPONSES, body))


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_gets_what_was_said_once(client: FlaskClient, stream: bool) -> None:
    id = begun(client)
    body = {**GOOD, "conversation": id, "stream": stream}
    assert_sent_again(post(client, RESPONSES, body), post(client, RESPONSES, body))
    assert texts(client, id) == ["Hello", "Hello"]  # what was said, and its echo


def test_what_is_added_without_a_response_is_named(client: FlaskClient) -> None:
    """There is no response that could be sent again."""
    body = {**GOOD, "conversation": begun(client), "store": False}
    answer = post(client, RESPONSES, body)
    assert answer.headers["x-openedai-ignored"] == "Idempotency-Key"


def test_a_response_that_is_not_stored_needs_no_key(client: FlaskClient) -> None:
    answers = [post(client, RESPONSES, {**GOOD, "store": False}) for _ in range(2)]
    assert answers[0].json["id"] != answers[1].json["id"]
    assert "x-openedai-ignored" not in answers[0].headers


@pytest.mark.parametrize("body", [{}, {"items": [HELLO], "metadata": {"topic": "greeting"}}])
def test_a_conversation_is_made_once(client: FlaskClient, body: Any) -> None:
    first, again = post(client, CONVERSATIONS, body), post(client, CONVERSATIONS, body)
    assert_sent_again(first, again)
    assert texts(client, again.json["id"]) == ["Hello"] * len(body.get("items", ()))


def test_a_conversation_without_a_body_is_made_once(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = (client.post(CONVERSATIONS, headers=headers) for _ in range(2))
    assert_sent_again(first, again)


def test_items_are_added_once(client: FlaskClient) -> None:
    path = f"{CONVERSATIONS}/{begun(client)}/items"
    body = {"items": [HELLO, {**HELLO, "id": "msg_mine"}]}
    first = post(client, path, body)
    assert client.post(path, json={"items": [HELLO]}).status_code == 200
    assert_sent_again(first, post(client, path, body))
    assert len(client.get(path).json["data"]) == 3
    # What was deleted since is not added again.
    client.delete(f"{path}/msg_mine")
    assert [item["id"] for item in post(client, path, body).json["data"]] == [
        first.json["data"][0]["id"]
    ]
    client.delete(path.removesuffix("/items"))
    assert post(client, path, body).status_code == 404


def test_a_figure_is_added_once(client: FlaskClient) -> None:
    id = client.post(CHATS, json=chat()).json["id"]
    path = f"{CHATS}/{id}/messages/{id}-1/plots"
    first, again = post(client, path, FIGURE), post(client, path, FIGURE)
    assert_sent_again(first, again)
    assert client.get(path).json["data"] == [first.json]
    of_another = post(client, f"{CHATS}/{id}/messages/{id}-0/plots", FIGURE)
    assert assert_envelope(of_another.json, status=422)["code"] == "idempotency_key_reused"
    client.delete(path)
    assert post(client, path, FIGURE).json["id"] != first.json["id"]
    client.delete(f"{CHATS}/{id}")
    assert post(client, path, FIGURE).status_code == 404


def test_a_fact_is_remembered_once(client: FlaskClient) -> None:
    client.put("/v1/internal/agents/friend", json={"memory": True})
    first, again = post(client, "/v1/memories", FACT), post(client, "/v1/memories", FACT)
    assert_sent_again(first, again)
    # It is deleted, and said again on purpose.
    client.delete(f"/v1/memories/{first.json['id']}")
    made = post(client, "/v1/memories", FACT)
    assert "Idempotent-Replayed" not in made.headers and made.json["id"] != first.json["id"]
    other = post(client, "/v1/memories", {**FACT, "user": "bob"})
    assert assert_envelope(other.json, status=422)["code"] == "idempotency_key_reused"


def test_a_text_is_said_once(client: FlaskClient) -> None:
    said = {"text": "Hello", "user_id": "ann"}
    first, again = post(client, "/message", said), post(client, "/message", said)
    assert_sent_again(first, again)
    assert [len(turn["messages"]) for turn in sessions(client)] == [2]
    refused = post(client, "/message", {**said, "text": "Ho"})
    assert assert_envelope(refused.json, status=422)["code"] == "idempotency_key_reused"
    (session,) = sessions(client)
    client.delete(f"/v1/sessions/{session['id']}")
    assert "Idempotent-Replayed" not in post(client, "/message", said).headers
    assert [len(turn["messages"]) for turn in sessions(client)] == [2]


def test_a_turn_that_a_summary_stands_for_is_no_answer(client: FlaskClient) -> None:
    """What was said before became too long for the context meanwhile."""
    said = {"text": "Hello", "user_id": "ann"}
    post(client, "/message", said)
    store = client.application.extensions["openai"].store
    key = SessionKey("local", "", "ann")
    (turn,) = store.sessions.turns(key)
    summary = {"role": "user", "content": "A summary"}
    change = Change([{"role": "user", "content": "Ho"}], behind=turn.seq, summary=summary)
    store.sessions.change(key, change, max_messages=100)
    again = post(client, "/message", said)
    assert "Idempotent-Replayed" not in again.headers and again.json["text"] == "Hello"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHATS, {"model": "echo", "messages": [HI]}),
        ("/v1/messages", {"model": "echo", "max_tokens": 9, "messages": [HI]}),
        (RESPONSES, {**GOOD, "store": False}),
    ],
)
def test_a_turn_without_a_stored_answer_names_the_key(path: str, body: Any) -> None:
    client = client_of()
    headers = {"Idempotency-Key": "k", "x-openedai-session-key": "s"}
    answer = client.post(path, json=body, headers=headers)
    assert answer.headers["x-openedai-ignored"] == "Idempotency-Key"
    del headers["x-openedai-session-key"]  # nothing is stored, and no key is needed
    assert "x-openedai-ignored" not in client.post(path, json=body, headers=headers).headers


def test_another_request_with_the_key_is_refused(client: FlaskClient) -> None:
    one, other = begun(client), begun(client)
    first = post(client, RESPONSES, GOOD)
    post(client, f"{CONVERSATIONS}/{one}/items", {"items": [HELLO]}, key="items")
    for path, body, key in (
        (RESPONSES, {**GOOD, "input": "Ho"}, "k"),
        (RESPONSES, {**GOOD, "stream": True}, "k"),
        (RESPONSES, {**GOOD, "metadata": {}}, "k"),
        (CONVERSATIONS, {}, "k"),
        (CHATS, chat(), "k"),
        (f"{CONVERSATIONS}/{one}/items", {"items": [HELLO, HELLO]}, "items"),
        (f"{CONVERSATIONS}/{other}/items", {"items": [HELLO]}, "items"),
    ):
        refused = post(client, path, body, key)
        assert assert_envelope(refused.json, status=422)["code"] == "idempotency_key_reused"
    assert_sent_again(first, post(client, RESPONSES, GOOD))
    # What does not change its meaning does not matter.
    turned = dict(reversed(GOOD.items()))
    assert_sent_again(first, post(client, RESPONSES, turned))


def test_items_of_all_kinds_are_compared(client: FlaskClient) -> None:
    first, other = (client.post(RESPONSES, json=GOOD).json["output"][0]["id"] for _ in range(2))

    def body(id: str, text: str = "Hi") -> dict[str, Any]:
        hosted = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
        said = {"role": "user", "content": [{"type": "input_text", "text": text}]}
        return {"model": "echo", "input": [hosted, {"id": id}, said]}

    assert_sent_again(post(client, RESPONSES, body(first)), post(client, RESPONSES, body(first)))
    for changed in (body(other), body(first, "Ho")):
        assert post(client, RESPONSES, changed).status_code == 422


@pytest.mark.parametrize("end", ["completed", "cancelled"])
def test_one_in_the_background_is_sent_as_it_is(serve: Serve, end: str) -> None:
    """From the moment at which it is queued, and whatever becomes of it."""
    engine = PacedEngine()
    engine.gate.clear()
    port = serve(engine, store="memory").port
    body = {**GOOD, "background": True}

    def repeat() -> Any:
        again = ask(port, "POST", RESPONSES, body, idempotency_key="k")
        assert again.status == 200 and again.headers["idempotent-replayed"] == "true"
        return again.json()

    first = ask(port, "POST", RESPONSES, body, idempotency_key="k").json()
    assert engine.wait_for_active(1)
    assert repeat() == {**first, "status": "in_progress"}
    other = ask(port, "POST", RESPONSES, {**body, "input": "Ho"}, idempotency_key="k")
    assert other.status == 422
    if end == "cancelled":
        ask(port, "POST", f"{RESPONSES}/{first['id']}/cancel")
    engine.gate.set()
    while (now := repeat())["status"] == "in_progress":
        time.sleep(0.02)
    assert now["id"] == first["id"] and now["status"] == end
    assert now == ask(port, "GET", f"{RESPONSES}/{first['id']}").json()
    assert ask(port, "DELETE", f"{RESPONSES}/{first['id']}").status == 200
    assert ask(port, "POST", RESPONSES, body, idempotency_key="k").json()["id"] != first["id"]


def test_one_in_the_background_that_was_streamed_is_streamed_again(client: FlaskClient) -> None:
    body = {**GOOD, "background": True, "stream": True}
    first, again = (response_events(post(client, RESPONSES, body).data) for _ in range(2))
    assert again == first and first[-1]["response"]["status"] == "completed"


@pytest.mark.parametrize("stream", [False, True])
def test_while_it_is_under_way(serve: Serve, stream: bool) -> None:
    engine = PacedEngine()
    engine.gate.clear()
    port = serve(engine, store="memory").port
    body = {**GOOD, "stream": stream}
    answers: list[Any] = []

    def first() -> None:
        answers.append(ask(port, "POST", RESPONSES, body, idempotency_key="k"))

    thread = threading.Thread(target=first)
    thread.start()
    assert engine.wait_for_active(1)
    refused = ask(port, "POST", RESPONSES, body, idempotency_key="k")
    assert refused.status == 409 and int(refused.headers["retry-after"]) > 0
    assert assert_envelope(refused.json(), status=409)["code"] == "request_under_way"
    engine.gate.set()
    thread.join(20)
    again = ask(port, "POST", RESPONSES, body, idempotency_key="k")
    assert again.body == answers[0].body and again.headers["idempotent-replayed"] == "true"


def test_while_a_text_is_answered(serve: Serve) -> None:
    engine = PacedEngine()
    engine.gate.clear()
    port = serve(engine, store="memory", message_endpoint=True).port
    said, answers = {"text": "Hello", "user_id": "ann"}, list[Any]()

    def first() -> None:
        answers.append(ask(port, "POST", "/message", said, idempotency_key="k"))

    thread = threading.Thread(target=first)
    thread.start()
    assert engine.wait_for_active(1)
    refused = ask(port, "POST", "/message", said, idempotency_key="k")
    assert assert_envelope(refused.json(), status=409)["code"] == "request_under_way"
    engine.gate.set()
    thread.join(20)
    again = ask(port, "POST", "/message", said, idempotency_key="k")
    assert again.body == answers[0].body and again.headers["idempotent-replayed"] == "true"


def test_one_that_failed_is_done_again(client: FlaskClient) -> None:
    missing = {**GOOD, "previous_response_id": "resp_none"}
    assert post(client, RESPONSES, missing).status_code == 400
    reference = {"items": [{"type": "item_reference", "id": "msg_none"}]}
    assert post(client, CONVERSATIONS, reference).status_code == 400
    streamed = client.post(
        RESPONSES,
        json={**GOOD, "stream": True},
        headers={"Idempotency-Key": "k"},
        buffered=False,
    )
    next(iter(streamed.response))
    streamed.close()
    assert post(client, RESPONSES, GOOD).status_code == 200


@pytest.mark.parametrize("continued", [False, True])
def test_one_whose_response_was_deleted_is_done_again(client: FlaskClient, continued: bool) -> None:
    """Also where its items stay for another response."""
    first = post(client, RESPONSES, GOOD).json["id"]
    if continued:
        client.post(RESPONSES, json={**GOOD, "previous_response_id": first})
    client.delete(f"{RESPONSES}/{first}")
    again = post(client, RESPONSES, GOOD)
    assert again.status_code == 200 and again.json["id"] != first
    assert "Idempotent-Replayed" not in again.headers


def test_one_whose_conversation_was_deleted_is_done_again(client: FlaskClient) -> None:
    first = post(client, CONVERSATIONS, {}).json["id"]
    client.delete(f"{CONVERSATIONS}/{first}")
    assert post(client, CONVERSATIONS, {}).json["id"] != first


@pytest.mark.parametrize("background", [False, True])
def test_keys_of_two_owners_are_two(where: str, tmp_path: Path, background: bool) -> None:
    client = client_of(store=where, data_folder=str(tmp_path), api_key="a", admin_key="b")
    body, ids = {**GOOD, "background": background}, set()
    for key in ("a", "b"):
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}
        answer = client.post(RESPONSES, json=body, headers=headers)
        assert answer.status_code == 200 and "Idempotent-Replayed" not in answer.headers
        ids.add(id := answer.json["id"])
        while client.get(f"{RESPONSES}/{id}", headers=headers).json["status"] != "completed":
            time.sleep(0.01)  # the store must not be closed before that
    assert len(ids) == 2
    client.application.extensions["openai"].store.close()


def test_an_item_with_the_id_of_a_response_frees_no_key_of_another_owner(
    where: str, tmp_path: Path
) -> None:
    client = client_of(store=where, data_folder=str(tmp_path), api_key="a", admin_key="b")
    mine = {"Authorization": "Bearer a", "Idempotency-Key": "k"}
    other = {"Authorization": "Bearer b"}
    first = client.post(RESPONSES, json=GOOD, headers=mine)
    items = [{**HELLO, "id": first.json["id"]}]
    id = client.post(CONVERSATIONS, json={"items": items}, headers=other).json["id"]
    gone = client.delete(f"{CONVERSATIONS}/{id}/items/{first.json['id']}", headers=other)
    assert gone.status_code == 200
    assert_sent_again(first, client.post(RESPONSES, json=GOOD, headers=mine))
    client.application.extensions["openai"].store.close()
