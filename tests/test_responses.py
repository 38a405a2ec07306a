"""Responses: through OpenAI's official client, strict about types, and on the wire."""

from __future__ import annotations

import json
import threading
from typing import Any

import openai
import pytest
from flask.testing import FlaskClient
from openai.types.responses import input_token_count_params, response_create_params
from pydantic import BaseModel

from extensions.openai.dialects.responses.request import InputTokensRequest, ResponsesRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.conftest import Serve, sdk_on
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope, fold_response, response_events
from tests.support.wire import Wire, ask

GOOD: dict[str, Any] = {"model": "echo", "input": "Hello"}
FUNCTION: dict[str, Any] = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object", "properties": {"a": {"type": "boolean"}}},
}


def post(client: FlaskClient, **body: Any) -> Any:
    return client.post("/v1/responses", json={**GOOD, **body})


# Through the client.


def test_a_response(sdk: openai.OpenAI) -> None:
    response = sdk.responses.create(**GOOD)
    assert (response.object, response.status, response.model) == ("response", "completed", "echo")
    assert response.output_text == "Hello" and response.id.startswith("resp_")
    assert response.usage is not None and response.usage.output_tokens == 6
    assert response.completed_at is not None and response.error is None
    raw = sdk.responses.with_raw_response.create(**GOOD)
    assert raw.headers["x-request-id"] == raw.request_id


def test_the_stream_adds_up_to_the_response(sdk: openai.OpenAI) -> None:
    """The client's accumulator raises where the order of the reference is not kept."""
    whole = sdk.responses.create(**GOOD)
    with sdk.responses.stream(**GOOD) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert final.output_text == whole.output_text == "Hello"
    assert final.usage == whole.usage


def test_the_events_of_a_stream_have_the_clients_types(sdk: openai.OpenAI) -> None:
    events = list(sdk.responses.create(**GOOD, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert {type(event).__name__ for event in events} == {
        *("ResponseCreatedEvent", "ResponseInProgressEvent", "ResponseOutputItemAddedEvent"),
        *("ResponseContentPartAddedEvent", "ResponseTextDeltaEvent", "ResponseTextDoneEvent"),
        *("ResponseContentPartDoneEvent", "ResponseOutputItemDoneEvent", "ResponseCompletedEvent"),
    }


class Weather(BaseModel):
    """What the client is to make of an answer."""

    rains: bool


def test_a_form_is_parsed_by_the_client(tiny: Api) -> None:
    with sdk_on(tiny.app) as client:
        parsed = client.responses.parse(
            model="tiny", input="Rain?", text_format=Weather, temperature=0, max_output_tokens=60
        )
        assert isinstance(parsed.output_parsed, Weather)
        with client.responses.stream(
            model="tiny", input="Rain?", text_format=Weather, temperature=0, max_output_tokens=60
        ) as stream:
            assert stream.get_final_response().output_parsed == parsed.output_parsed


def test_a_demanded_call_and_its_result(tiny: Api) -> None:
    with sdk_on(tiny.app) as client:
        wanted: dict[str, Any] = {"model": "tiny", "tools": [FUNCTION], "tool_choice": "required"}
        wanted |= {"parallel_tool_calls": False, "temperature": 0}
        response = client.responses.create(input="Call f.", **wanted)
        (call,) = response.output
        assert call.type == "function_call" and call.name == "f"
        assert json.loads(call.arguments).keys() <= {"a"}
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
        text: list[Any] = [{"role": "user", "content": "Call f."}, *response.output, result]
        wanted |= {"tool_choice": "none", "max_output_tokens": 16}
        assert client.responses.create(input=text, **wanted).output[0].type == "message"


def test_a_custom_call_is_text(tiny: Api) -> None:
    with sdk_on(tiny.app) as client:
        grammar: Any = {"type": "grammar", "syntax": "regex", "definition": "[a-c]{3}"}
        response = client.responses.create(
            model="tiny",
            input="Call it.",
            tools=[{"type": "custom", "name": "letters", "format": grammar}],
            tool_choice={"type": "custom", "name": "letters"},
        )
    (call,) = response.output
    assert call.type == "custom_tool_call"
    assert len(call.input) == 3 and set(call.input) <= set("abc")


def test_what_cannot_be_enforced_is_refused_by_its_place(tiny: Api) -> None:
    broken = {"type": "grammar", "syntax": "regex", "definition": "("}
    tools = [{"type": "custom", "name": "letters", "format": broken}]
    answer = post(tiny.client, model="tiny", tools=tools, tool_choice="required")
    assert answer.json["error"]["param"] == "tools[0].format.definition"


def test_log_probabilities(tiny: Api) -> None:
    with sdk_on(tiny.app) as client:
        response = client.responses.create(
            model="tiny",
            input="Hi",
            include=["message.output_text.logprobs"],
            top_logprobs=2,
            max_output_tokens=16,
        )
    (text,) = response.output
    assert text.type == "message"
    (part,) = text.content
    assert part.type == "output_text" and part.logprobs
    assert all(len(each.top_logprobs) == 2 for each in part.logprobs)


def test_counted_tokens_are_those_of_the_response(sdk: openai.OpenAI) -> None:
    wanted: dict[str, Any] = {**GOOD, "instructions": "Be brief."}
    counted = sdk.responses.input_tokens.count(**wanted)
    usage = sdk.responses.create(**wanted, max_output_tokens=16).usage
    assert counted.object == "response.input_tokens"
    assert usage is not None and counted.input_tokens == usage.input_tokens > 20


def test_the_client_of_azure(serve: Serve) -> None:
    port = serve(EchoEngine(), api_key="azure-key").port
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/openai/v1", api_key="azure-key", max_retries=0
    ) as azure:
        assert azure.responses.create(**GOOD).output_text == "Hello"


@pytest.mark.parametrize(
    ("body", "kind", "code", "param"),
    [
        ({"input": "x" * 9000}, openai.BadRequestError, "context_length_exceeded", "input"),
        ({"temperature": 900}, openai.BadRequestError, "decimal_above_max_value", "temperature"),
        ({"model": "nope"}, openai.NotFoundError, "model_not_found", "model"),
        (
            {"previous_response_id": "resp_1"},
            openai.BadRequestError,
            "previous_response_not_found",
            "previous_response_id",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own_classes(
    body: dict[str, Any], kind: type[openai.APIStatusError], code: str, param: str, stream: bool
) -> None:
    with sdk_on(create_app(Settings(strict_models=True), EchoEngine())) as client:
        with pytest.raises(kind) as caught:
            client.responses.create(**{**GOOD, **body}, stream=stream)
        assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    ("ours", "official"),
    [
        (ResponsesRequest, response_create_params.ResponseCreateParamsBase),
        (InputTokensRequest, input_token_count_params.InputTokenCountParams),
    ],
)
def test_every_official_parameter_is_known(ours: Any, official: Any) -> None:
    names = set(official.__annotations__)
    assert len(names) > 8
    assert sorted(names - set(ours.model_fields)) == []


# On the wire.


def test_what_is_left_out_is_named(client: FlaskClient) -> None:
    search = {"type": "web_search", "external_web_access": False}
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    answer = post(client, tools=[search], input=[item, {"role": "user", "content": "Hi"}])
    named = answer.headers["x-openedai-ignored"]
    assert named == "tools[0].web_search, input[0].web_search_call"
    assert answer.json["tools"] == []


def test_items_that_do_not_fit_are_left_out_where_the_request_allows_it(
    client: FlaskClient,
) -> None:
    long = [{"role": "user", "content": "x" * 5000}, {"role": "user", "content": "y" * 5000}]
    refused = post(client, input=long)
    assert refused.status_code == 400 and refused.json["error"]["param"] == "input"
    answer = post(client, input=long, truncation="auto")
    assert answer.headers["x-openedai-ignored"] == "input[0]"
    assert answer.json["truncation"] == "auto"
    assert answer.json["output"][0]["content"][0]["text"].startswith("y")


def test_a_stream_ends_with_the_whole_response_and_done(client: FlaskClient) -> None:
    """Open Responses wants the last line; the reference has none."""
    data = post(client, stream=True).data
    assert data.endswith(b"\n\ndata: [DONE]\n\n")
    assert fold_response(response_events(data))["output"][0]["content"][0]["text"] == "Hello"


def test_an_answer_that_is_cut_is_incomplete(client: FlaskClient) -> None:
    for stream in (False, True):
        answer = post(client, input="x" * 40, max_output_tokens=16, stream=stream)
        whole = fold_response(response_events(answer.data)) if stream else answer.json
        assert whole["status"] == "incomplete" and whole["completed_at"] is None
        assert whole["incomplete_details"] == {"reason": "max_output_tokens"}
        assert whole["output"][0]["status"] == "incomplete"


def test_a_long_silence_repeats_an_event(serve: Serve) -> None:
    """Agents wait for so long only; comments do not count for them."""
    engine = PacedEngine(["one"])
    engine.gate.clear()

    def release() -> None:
        if engine.wait_for_active(1, 10):
            threading.Timer(1.0, engine.gate.set).start()

    port = serve(engine, keep_alive=0.1).port
    threading.Thread(target=release).start()
    answer = ask(port, "POST", "/v1/responses", GOOD | {"stream": True})
    events = response_events(answer.body)
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["response.created", "response.in_progress", "response.in_progress"]
    assert fold_response(events)["status"] == "completed"


def test_an_answer_that_fails_ends_with_an_error_and_the_failed_response() -> None:
    app = create_app(Settings(), PacedEngine(["a"], endless=True, fail_after=2))
    data = post(app.test_client(), stream=True).data
    events = response_events(data)
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-1]["response"]["error"]["code"] == events[-2]["code"] == "server_error"
    assert "secret" not in json.dumps(events[-2:])
    whole = post(app.test_client())
    assert whole.status_code == 500 and assert_envelope(whole.json)["type"] == "server_error"


def test_a_client_that_leaves_ends_the_work(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.001)
    with Wire(serve(engine).port) as client:
        client.request("POST", "/v1/responses", GOOD | {"stream": True})
        assert engine.wait_for_active(1)
    assert engine.wait_for_active(0, 2.0)


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"store": False, "include": ["reasoning.encrypted_content"]},
        {"prompt_cache_key": "k", "client_metadata": {"turn": "1"}},
        {"text": {"verbosity": "low"}},
        {"input": [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}]},
        {"input": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]},
        {"metadata": {"a": "b"}, "safety_identifier": "s", "service_tier": "auto"},
        {"tool_choice": "auto", "parallel_tool_calls": True, "max_tool_calls": 3},
        {"stream_options": {"include_obfuscation": False}},
        {"instructions": "Be brief.", "input": []},
        {"background": False, "conversation": None, "previous_response_id": None},
    ],
)
def test_what_agents_send_is_taken(client: FlaskClient, body: dict[str, Any]) -> None:
    answer = post(client, **body)
    assert answer.status_code == 200, answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"conversation": "c", "previous_response_id": "r"}, "previous_response_id"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"moderation": {"model": "m"}}, "moderation"),
        (
            {"input": [{"type": "compaction", "encrypted_content": "x"}]},
            "input[0].encrypted_content",
        ),
        ({"include": ["everything"]}, "include[0]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": -1}, "max_tool_calls"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        # As chats have it.
        ({"text": {"format": {"type": "json_schema", "json_schema": {}}}}, "text.format.name"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {}}}, "tool_choice.name"),
        ({"reasoning": {"effort": "some"}}, "reasoning.effort"),
        ({"truncation": "middle"}, "truncation"),
        ({"n": 2}, "n"),
        ({"input": None, "messages": [{"role": "user", "content": "x"}]}, "input"),
        ({"image": {"context_compression": "enabled"}}, "image"),
        ({"access_programs": {"x": "y"}}, "access_programs"),
        ({"response_format": {"type": "text"}}, "response_format"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": ""}] * 20_000}]}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"instuctions": "x"}, "instuctions"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(
    client: FlaskClient, body: dict[str, Any], param: str
) -> None:
    for stream in (False, True):
        answer = post(client, **body, stream=stream)
        assert answer.status_code == 400, answer.get_data(as_text=True)
        assert assert_envelope(answer.json, status=400)["param"] == param


def test_the_place_of_the_format_is_named(client: FlaskClient) -> None:
    error = post(client, response_format={"type": "json_object"}).json["error"]
    assert error["code"] == "unsupported_parameter" and "text.format" in error["message"]


def test_the_least_of_the_reference_holds_where_it_is_wanted(client: FlaskClient) -> None:
    assert post(client, max_output_tokens=1).status_code == 200
    strict = create_app(Settings(strict_parameters=True), EchoEngine()).test_client()
    assert post(strict, max_output_tokens=15).json["error"]["param"] == "max_output_tokens"
    assert post(strict, max_output_tokens=16).status_code == 200


def test_web_sockets_are_refused_so_that_clients_go_on_over_http(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    handshake = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = ask(port, "GET", "/v1/responses", **handshake)
    assert answer.status == 426
    error = assert_envelope(answer.json(), status=426)
    assert "POST /v1/responses" in error["message"]
    assert ask(port, "GET", "/v1/responses").status == 200
