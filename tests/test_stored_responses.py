"""Stored responses: through the official client, strict about types, and on the wire."""

from __future__ import annotations

import threading
from typing import Any

import openai
import orjson
import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import StoreUnavailable
from extensions.openai.settings import Settings
from extensions.openai.state.responses import Responses
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope, fold_response, response_events
from tests.support.wire import ask

GOOD: dict[str, Any] = {"model": "echo", "input": "Hello"}


def made(client: FlaskClient, **body: Any) -> Any:
    answer = client.post("/v1/responses", json={**GOOD, **body})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    if body.get("stream"):
        return fold_response(response_events(answer.data))
    return answer.json


def refused(client: FlaskClient, **body: Any) -> Any:
    answer = client.post("/v1/responses", json={**GOOD, **body})
    return assert_envelope(answer.json)


def items(client: FlaskClient, id: str, **query: Any) -> Any:
    answer = client.get(f"/v1/responses/{id}/input_items", query_string=query)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.json


def test_the_list() -> None:
    client = create_app(Settings(store="memory"), EchoEngine()).test_client()
    first, second, third = (made(client, input=text) for text in ("one", "two", "three"))
    fourth = made(client, input="four", previous_response_id=second["id"])

    def page(**query: Any) -> tuple[list[Any], bool]:
        answer = client.get("/v1/responses", query_string=query)
        assert answer.status_code == 200, answer.text
        return answer.json["data"], answer.json["has_more"]

    assert page() == ([fourth, third, second, first], False)
    assert page(order="asc", limit=2) == ([first, second], True)
    assert page(after=third["id"]) == ([second, first], False)
    for gone in (second, third):  # the second one stays for the fourth
        assert client.delete(f"/v1/responses/{gone['id']}").status_code == 200
        assert page(after=gone["id"], limit=1)[0][0]["id"] == first["id"]
    assert page() == ([fourth, first], False)
    unknown = client.get("/v1/responses?after=resp_1")
    assert assert_envelope(unknown.json)["param"] == "after"


# Through the client.


def test_a_conversation_of_stored_responses(sdk: openai.OpenAI) -> None:
    first = sdk.responses.create(**GOOD, metadata={"topic": "greeting"})
    assert first.previous_response_id is None
    found = sdk.responses.retrieve(first.id)
    assert found == first
    second = sdk.responses.create(model="echo", input="Again", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    # The first turn is in the prompt of the second one.
    assert second.usage is not None and first.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens
    page = sdk.responses.input_items.list(second.id, order="asc")
    assert [(item.type, item.role, item.content[0].text) for item in page] == [
        ("message", "user", "Hello"),
        ("message", "assistant", "Hello"),
        ("message", "user", "Again"),
    ]
    sdk.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(first.id)
    third = sdk.responses.create(model="echo", input="And", previous_response_id=second.id)
    assert len(list(sdk.responses.input_items.list(third.id))) == 5


def test_a_chain_is_references_and_finds_its_prompt_in_the_cache(tiny: Api) -> None:
    store = tiny.app.extensions["openai"].store.responses
    before: Any = None
    previous: Any = None
    for turn in range(4):
        asked = GOOD | {"input": f"Question {turn}?", "max_output_tokens": 16, "temperature": 0}
        response = made(tiny.client, **asked, previous_response_id=previous)
        usage, previous = response["usage"], response["id"]
        if before is not None:
            assert usage["input_tokens_details"]["cached_tokens"] >= 0.9 * before["input_tokens"]
        (item,) = orjson.loads(store.get("local", previous).input)
        assert item["content"][0]["text"] == asked["input"]
        before = usage


def test_every_kind_of_item_is_listed_as_the_client_knows_it(sdk: openai.OpenAI) -> None:
    said: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}], "id": "msg_mine"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "7"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "y"}],
        },
        {"role": "user", "content": "So?"},
    ]
    response = sdk.responses.create(model="echo", input=said)
    listed = list(sdk.responses.input_items.list(response.id, order="asc"))
    assert [item.type for item in listed] == [each.get("type", "message") for each in said]
    assert listed[1].id == "msg_mine" and len({item.id for item in listed}) == len(said)
    again = sdk.responses.create(model="echo", input="More", previous_response_id=response.id)
    assert len(list(sdk.responses.input_items.list(again.id, limit=3))) == len(said) + 2


def test_a_stream_is_stored_when_it_says_that_it_is_complete(sdk: openai.OpenAI) -> None:
    with sdk.responses.stream(**GOOD) as stream:
        for event in stream:
            if event.type == "response.completed":
                assert sdk.responses.retrieve(event.response.id).output_text == "Hello"
                return
    raise AssertionError("it did not end")


def test_a_call_is_answered_by_its_result_alone(sdk: openai.OpenAI) -> None:
    """The client sends what is new, and the call is in the conversation that is kept."""
    call: Any = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    first = sdk.responses.create(model="echo", input=[{"role": "user", "content": "x"}, call])
    result: Any = {"type": "function_call_output", "call_id": "c1", "output": "done"}
    second = sdk.responses.create(model="echo", input=[result], previous_response_id=first.id)
    kinds = [item.type for item in sdk.responses.input_items.list(second.id, order="asc")]
    assert kinds == ["message", "function_call", "message", "function_call_output"]


# On the wire.


def test_what_an_item_reference_stands_for(client: FlaskClient) -> None:
    first = made(client)
    said = [
        {"type": "item_reference", "id": first["output"][0]["id"]},
        {"role": "user", "content": "x"},
    ]
    second = made(client, input=said)
    listed = items(client, second["id"], order="asc")["data"]
    assert [item["content"][0]["text"] for item in listed] == ["Hello", "x"]
    answer = client.post("/v1/responses", json={**GOOD, "input": [{"id": "msg_none"}]})
    error = assert_envelope(answer.json, status=404)
    assert (answer.status_code, error["param"]) == (404, "input[0]") and "msg_none" in error[
        "message"
    ]


def test_pages_of_the_input(client: FlaskClient) -> None:
    said = [{"role": "user", "content": str(at), "id": f"msg_{at}"} for at in range(5)]
    id = made(client, input=said)["id"]
    ids = [item["id"] for item in items(client, id)["data"]]
    assert ids == [f"msg_{at}" for at in (4, 3, 2, 1, 0)]
    page = items(client, id, limit=2, order="asc", after="msg_1")
    assert ([item["id"] for item in page["data"]], page["has_more"]) == (["msg_2", "msg_3"], True)
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", "msg_2", "msg_3")
    wrong = client.get(f"/v1/responses/{id}/input_items?after=msg_9")
    assert (wrong.status_code, wrong.json["error"]["param"]) == (404, "after")
    assert client.get(f"/v1/responses/{id}/input_items?limit=0").status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_stored_cannot_be_continued(client: FlaskClient, stream: bool) -> None:
    response = made(client, store=False, stream=stream)
    assert response["store"] is False
    assert client.get(f"/v1/responses/{response['id']}").status_code == 404
    error = refused(client, previous_response_id=response["id"])
    assert (error["code"], error["param"]) == (
        "previous_response_not_found",
        "previous_response_id",
    )


@pytest.mark.parametrize("stream", [False, True])
def test_responses_are_stored_unless_the_client_says_no(client: FlaskClient, stream: bool) -> None:
    for store in ({}, {"store": True}, {"store": None}):
        response = made(client, stream=stream, **store)
        assert response["store"] is True
        assert client.get(f"/v1/responses/{response['id']}").json == response


def test_where_nothing_may_be_stored_that_is_said() -> None:
    client = create_app(Settings(store="off"), EchoEngine()).test_client()
    answer = client.post("/v1/responses", json=GOOD)
    assert answer.json["store"] is False and "x-openedai-ignored" not in answer.headers
    answer = client.post("/v1/responses", json={**GOOD, "store": True})
    assert answer.json["store"] is False and answer.headers["x-openedai-ignored"] == "store"
    assert (
        "Send the whole conversation" in refused(client, previous_response_id="resp_1")["message"]
    )
    assert client.get("/v1/responses/resp_1").json["error"]["code"] == "store_off"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_goes_out_when_the_store_fails(
    client: FlaskClient, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("full")

    monkeypatch.setattr(Responses, "add", fail)
    answer = client.post("/v1/responses", json=GOOD | {"stream": stream})
    response = response_events(answer.data)[-1]["response"] if stream else answer.json
    assert response["status"] == "completed" and response["store"] is False
    assert response["output"][0]["content"][0]["text"] == "Hello"


def test_an_answer_that_fails_is_not_stored() -> None:
    app = create_app(Settings(store="memory"), PacedEngine(["a"], endless=True, fail_after=2))
    client = app.test_client()
    events = response_events(client.post("/v1/responses", json=GOOD | {"stream": True}).data)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["store"] is False
    assert client.get(f"/v1/responses/{events[-1]['response']['id']}").status_code == 404


def test_an_incomplete_response_is_stored(client: FlaskClient) -> None:
    response = made(client, input="x" * 40, max_output_tokens=16)
    assert client.get(f"/v1/responses/{response['id']}").json["status"] == "incomplete"


def test_what_one_key_stores_another_cannot_see() -> None:
    app = create_app(Settings(api_key="a", admin_key="b", store="memory"), EchoEngine())
    client = app.test_client()
    mine, other = {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}
    response = client.post("/v1/responses", json=GOOD, headers=mine).json
    id, item = response["id"], response["output"][0]["id"]
    for path in (f"/v1/responses/{id}", f"/v1/responses/{id}/input_items"):
        found = client.get(path, headers=other)
        missing = client.get(path.replace(id, "resp_none"), headers=other)
        assert found.status_code == missing.status_code == 404
        assert found.get_data(as_text=True).replace(id, "resp_none") == missing.get_data(
            as_text=True
        )
    assert client.delete(f"/v1/responses/{id}", headers=other).status_code == 404
    for body in ({"previous_response_id": id}, {"input": [{"id": item}]}):
        assert client.post("/v1/responses", json=GOOD | body, headers=other).status_code in (
            400,
            404,
        )
    assert client.get(f"/v1/responses/{id}", headers=mine).status_code == 200


def test_counted_tokens_are_those_of_the_whole_conversation(client: FlaskClient) -> None:
    first = made(client)
    body = {"model": "echo", "input": "Again", "previous_response_id": first["id"]}
    counted = client.post("/v1/responses/input_tokens", json=body).json["input_tokens"]
    assert counted == made(client, **body)["usage"]["input_tokens"]


def test_instructions_are_those_of_the_request_alone(client: FlaskClient) -> None:
    first = made(client, instructions="x" * 100)
    second = made(client, previous_response_id=first["id"])
    assert second["instructions"] is None
    assert second["usage"]["input_tokens"] < first["usage"]["input_tokens"]


def test_a_conversation_that_does_not_fit_any_more(client: FlaskClient) -> None:
    first = made(client, input="x" * 3000)
    error = refused(client, input="y" * 3000, previous_response_id=first["id"])
    assert error["code"] == "context_length_exceeded"
    body = {**GOOD, "input": "y", "previous_response_id": first["id"], "truncation": "auto"}
    answer = client.post("/v1/responses", json={**body, "input": "y" * 3000})
    assert answer.headers["x-openedai-ignored"] == "previous_response_id"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_is_not_there_is_not_found(client: FlaskClient, method: str) -> None:
    answer = client.open("/v1/responses/resp_none", method=method)
    error = assert_envelope(answer.json, status=404)
    assert answer.status_code == 404 and "resp_none" in error["message"]


def test_only_what_is_in_the_background_can_be_cancelled(client: FlaskClient) -> None:
    assert client.post("/v1/responses/resp_none/cancel").status_code == 404
    answer = client.post(f"/v1/responses/{made(client)['id']}/cancel")
    assert "Cannot cancel" in assert_envelope(answer.json, status=400)["message"]


def test_a_response_that_was_not_streamed_has_no_events(client: FlaskClient) -> None:
    id = made(client)["id"]
    answer = client.get(f"/v1/responses/{id}?stream=true")
    assert assert_envelope(answer.json, status=400)["param"] == "stream"
    assert client.get(f"/v1/responses/{id}?stream=false").status_code == 200


def test_an_id_that_is_sent_again_stands_in_a_list_once(sdk: openai.OpenAI) -> None:
    """Else the pages of a list, each of which begins behind an id, would never end."""
    first = sdk.responses.create(**GOOD)
    again: list[Any] = [item.model_dump() for item in first.output]
    said: list[Any] = [*again, {"role": "user", "content": "Hi", "id": "msg_1"}]
    second = sdk.responses.create(
        model="echo", input=[*said, said[-1]], previous_response_id=first.id
    )
    pages = sdk.responses.input_items.list(second.id, limit=1, order="asc").iter_pages()
    ids = [page.data[0].id for page, _ in zip(pages, range(9), strict=False)]
    assert len(ids) == len(set(ids)) == 5
    assert ids[1] == first.output[0].id and ids[3] == "msg_1"


def test_the_events_of_a_stored_stream_come_again(serve: Serve) -> None:
    """All of them, or those behind a number: also the ones that were sent into a silence."""
    engine = PacedEngine()
    engine.gate.clear()
    port = serve(engine, keep_alive=0.1, store="memory").port
    threading.Timer(0.8, engine.gate.set).start()
    first = ask(port, "POST", "/v1/responses", GOOD | {"stream": True}).body
    events = response_events(first)
    assert sum(event["type"] == "response.in_progress" for event in events) > 1
    path = f"/v1/responses/{events[-1]['response']['id']}"
    assert ask(port, "GET", f"{path}?stream=true").body == first
    for after in (0, 3):
        rest = ask(port, "GET", f"{path}?stream=true&starting_after={after}").body
        assert first.endswith(rest) and response_events(rest) == events[after + 1 :]
    last = ask(port, "GET", f"{path}?stream=true&starting_after={len(events)}")
    assert last.body == b"data: [DONE]\n\n"
    answer = ask(port, "GET", f"{path}?starting_after=1")
    assert answer.json() == events[-1]["response"]
    assert answer.headers["x-openedai-ignored"] == "starting_after"
