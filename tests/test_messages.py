"""Messages: through Anthropic's official client, strict about types, and on the wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from flask import Flask
from flask.testing import FlaskClient

from extensions.openai.dialects.messages.request import CountTokensRequest, MessagesRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.conftest import Serve, http_library
from tests.support.paced import PacedEngine
from tests.support.reference import assert_anthropic_error, assert_envelope, named_events
from tests.support.wire import Wire, ask

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
PARTS = {
    "type": "tool_result",
    "tool_use_id": "1",
    "content": [{"type": "text", "text": ""}] * 20_000,
}
CALL = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "1", "content": "x"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
PICTURE = {"type": "image", "source": {"type": "url", "url": "http://example.org/a.png"}}
ASSISTANT = {"role": "assistant"}
GOOD: dict[str, Any] = {"model": "echo", "max_tokens": 50, "messages": HELLO}


def sdk_on(app: Flask, key: str = "unused") -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key=key,
        base_url="http://127.0.0.1",
        max_retries=0,
        http_client=http_library.Client(transport=http_library.WSGITransport(app=app)),
        _strict_response_validation=True,
    )


@pytest.fixture
def claude(app: Flask) -> Iterator[anthropic.Anthropic]:
    with sdk_on(app) as client:
        yield client


def post(client: FlaskClient, **body: Any) -> Any:
    return client.post("/v1/messages", json={**GOOD, **body})


# Through the client.


def test_a_message(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(**GOOD)
    assert (message.type, message.role, message.model) == ("message", "assistant", "echo")
    assert [(block.type, block.text) for block in message.content] == [("text", "Hello")]
    assert message.stop_reason == "end_turn" and message.id.startswith("msg_")
    assert message.usage.output_tokens == 6
    raw = claude.messages.with_raw_response.create(**GOOD)
    assert raw.request_id == raw.headers["request-id"] == raw.headers["x-request-id"]
    assert raw.headers["anthropic-version"] == "2023-06-01"


def test_the_stream_adds_up_to_the_message(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(**GOOD)
    with claude.messages.stream(**GOOD) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert {"message_start", "text", "content_block_stop", "message_stop"} <= set(kinds)
    assert final.model_dump(exclude={"id"}) == whole.model_dump(exclude={"id"}) | {
        "content": [block.model_dump() for block in final.content]
    }
    assert [block.text for block in final.content] == ["Hello"]


def test_the_beta_page_is_the_same(claude: anthropic.Anthropic) -> None:
    message = claude.beta.messages.create(**GOOD, betas=["claude-code-20250219", "unheard-of"])
    assert message.content[0].text == "Hello"


def test_a_stop_sequence(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(**GOOD, stop_sequences=["x", "lo"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "lo")
    assert message.content[0].text == "Hel"


def test_counted_tokens_are_those_of_the_message(claude: anthropic.Anthropic) -> None:
    wanted: dict[str, Any] = {"model": "echo", "messages": HELLO, "system": "Be brief."}
    counted = claude.messages.count_tokens(**wanted)
    usage = claude.messages.create(**wanted, max_tokens=5).usage
    assert counted.input_tokens == usage.input_tokens > 20


def test_side_requests_are_answered_under_the_name_that_agents_have_for_them() -> None:
    settings = Settings(model_aliases="claude-haiku-4-5-20251001", strict_models=True)
    client = create_app(settings, EchoEngine()).test_client()
    answer = post(client, model="claude-haiku-4-5-20251001")
    assert answer.json["content"][0]["text"] == "Hello"
    assert post(client, model="claude-opus-4-5").status_code == 404


def test_models_in_the_shape_of_its_clients(claude: anthropic.Anthropic) -> None:
    page = claude.models.list(limit=1000)
    assert [model.id for model in page] == ["echo", "gpt-3.5-turbo"]
    assert page.data[0].type == "model" and page.data[0].max_input_tokens
    assert claude.models.retrieve("gpt-3.5-turbo").display_name == "gpt-3.5-turbo"
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.models.retrieve("nope")
    assert_anthropic_error(caught.value.body, status=404)
    assert caught.value.request_id == caught.value.response.headers["request-id"]


def test_errors_of_addresses_that_there_are_not(
    claude: anthropic.Anthropic, client: FlaskClient
) -> None:
    """They are in the shape of the client that asks, also for what other servers have below /messages."""
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.messages.batches.list()
    assert_anthropic_error(caught.value.body, status=404)
    assert_envelope(client.get("/v1/messages/batches").json, status=404)


def test_what_is_continued(client: FlaskClient) -> None:
    """A last message of the assistant's is the beginning of the answer."""
    app = create_app(Settings(), PacedEngine(["lo", "."]))
    output = [*HELLO, {"role": "assistant", "content": [{"type": "text", "text": "Hel"}]}]
    answer = post(app.test_client(), messages=output).json
    assert answer["content"][0]["text"] == "lo."


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"messages": []}, anthropic.BadRequestError),
        ({"max_tokens": 0}, anthropic.BadRequestError),
        ({"stop_sequences": [""] * 99}, anthropic.BadRequestError),
        ({"model": "nope"}, anthropic.NotFoundError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own_classes(
    body: dict[str, Any], kind: type[anthropic.APIStatusError], stream: bool
) -> None:
    app = create_app(Settings(strict_models=True), EchoEngine())
    with sdk_on(app) as client, pytest.raises(kind) as caught:
        client.messages.create(**{**GOOD, **body}, stream=stream)
    assert caught.value.request_id and caught.value.message


@pytest.mark.parametrize(("key", "right"), [("wrong", False), ("right", True)])
def test_the_key_comes_in_a_header_of_its_own(key: str, right: bool) -> None:
    with sdk_on(create_app(Settings(api_key="right"), EchoEngine()), key) as client:
        if right:
            assert client.messages.create(**GOOD).content
            return
        with pytest.raises(anthropic.AuthenticationError):
            client.messages.create(**GOOD)


@pytest.mark.parametrize(
    ("ours", "official"),
    [
        (MessagesRequest, message_create_params.MessageCreateParamsBase),
        (CountTokensRequest, message_count_tokens_params.MessageCountTokensParams),
    ],
)
def test_every_official_parameter_is_known(ours: Any, official: Any) -> None:
    names = set(official.__annotations__) - {"stop_sequences"}  # an alias
    assert len(names) > 8
    assert sorted(names - set(ours.model_fields)) == []


# On the wire.


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_agents_look_for(
    client: FlaskClient,
) -> None:
    for content in ("x" * 9000, "x" * 8180):
        answer = post(client, messages=[{"role": "user", "content": content}], max_tokens=32_000)
        assert answer.status_code == 400
        error = assert_anthropic_error(answer.json, status=400)
        before, tokens, _, most, after = error["message"].rsplit(" ", 4)[0:5]
        assert error["message"].startswith("prompt is too long: ") and after == "maximum"
        assert int(most) == EchoEngine().info.context_length - 1
        assert int(before.rsplit(" ", 1)[-1] if tokens == "tokens" else tokens) > int(most)


def test_a_full_queue_is_529(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine, queue_limit=0, api_key="k", admin_key="a").port
    with Wire(port) as busy:
        busy.request("POST", "/v1/messages", GOOD | {"stream": True}, {"x-api-key": "k"})
        assert engine.wait_for_active(1)
        answer = ask(port, "POST", "/v1/messages", GOOD, x_api_key="a")
    assert answer.status == 529
    assert_anthropic_error(answer.json(), status=529)
    assert answer.headers["retry-after"]


def test_a_long_silence_is_filled_with_pings(serve: Serve) -> None:
    engine = PacedEngine(["one"])
    engine.gate.clear()
    threading.Timer(1.5, engine.gate.set).start()
    port = serve(engine, keep_alive=0.1).port
    answer = ask(port, "POST", "/v1/messages", GOOD | {"stream": True})
    events = named_events(answer.body)
    assert [event["type"] for event in events[:2]] == ["ping"] * 2
    assert events[-1] == {"type": "message_stop"}


def test_an_answer_that_fails_ends_with_an_error(client: FlaskClient) -> None:
    app = create_app(Settings(), PacedEngine(["a"], endless=True, fail_after=2))
    events = named_events(post(app.test_client(), stream=True).data)
    last = events[-1]
    assert last["type"] == "error" and "secret" not in json.dumps(last)
    assert assert_anthropic_error(last)["type"] == "api_error"


def test_what_is_left_out_is_named(client: FlaskClient) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    answer = post(
        client, tools=tools, system=[{"type": "text", "text": "x-anthropic-billing-header: 1"}]
    )
    assert answer.headers["x-openedai-ignored"] == "tools[0].web_search_20250305, system[0]"


@pytest.mark.parametrize(
    "body",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 32_000}},
        {
            "thinking": {"type": "adaptive", "display": "omitted"},
            "output_config": {"effort": "max"},
        },
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
        {"metadata": {"user_id": '{"device_id": "d", "session_id": "s"}'}},
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
        {"messages": [*HELLO, {"role": "system", "content": "Skills."}]},
        {"messages": [*HELLO, *HELLO, {"role": "system", "content": "Skills."}]},
        {"tool_choice": {"type": "none"}},
    ],
)
def test_what_agents_send_is_taken(client: FlaskClient, body: dict[str, Any]) -> None:
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "effort-2025-11-24"}
    answer = client.post("/v1/messages?beta=true", json={**GOOD, **body}, headers=headers)
    assert answer.status_code == 200, answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"n": 2}, "n"),
        ({"n_probs": 2}, "n_probs"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [{"type": "zz", "name": "x"}]}, "tools[0].type"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools[0].name"),
        ({"stop_sequence": ["x"]}, "stop_sequences"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [PARTS]}]}, "messages"),
        # Blocks that stand in messages of the other role.
        ({"messages": [{"role": "user", "content": [CALL]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [THOUGHT]}]}, "messages[0].content[0].type"),
        ({"messages": [ASSISTANT | {"content": [RESULT]}]}, "messages[0].content[0].type"),
        ({"messages": [ASSISTANT | {"content": [PICTURE]}]}, "messages[0].content[0].type"),
        ({"messages": [*HELLO, ASSISTANT | {"content": [CALL]}]}, "messages[1].content[0]"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    client: FlaskClient, body: dict[str, Any], named: str
) -> None:
    for stream in (False, True):
        answer = post(client, **body, stream=stream)
        assert answer.status_code == 400, answer.get_data(as_text=True)
        assert f"'{named}'" in assert_anthropic_error(answer.json, status=400)["message"]
