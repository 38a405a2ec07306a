"""A stream adds up to the very object that the same request gets without one.

The stream is folded here by the rules of the reference, not by our own code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from extensions.openai import chat, completions
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from extensions.openai.web.responses.streaming import respond
from tests.support.api import Api, assert_alike
from tests.support.paced import PacedEngine
from tests.support.reference import (
    assert_chunks,
    assert_event,
    fold_chat,
    fold_completion,
    fold_message,
    fold_response,
    named_events,
    response_events,
    sse_chunks,
)

COMPLETIONS: dict[str, dict[str, Any]] = {
    "plain": {"prompt": "Hello"},
    "unicode": {"prompt": "Grüße 🙂 日本", "max_tokens": 40},
    "cut in a character": {"prompt": "🙂🙂🙂🙂🙂", "max_tokens": 6},
    "length": {"prompt": "a long prompt to be continued", "max_tokens": 5},
    "one token": {"prompt": "Hello", "max_tokens": 1},
    "no token": {"prompt": ["Hello", "you"], "max_tokens": 0, "n": 2},
    "no token, echo": {"prompt": "Hello", "max_tokens": 0, "echo": True},
    "empty prompt": {"prompt": ""},
    "no prompt": {},
    "n": {"prompt": "Hello", "n": 5},
    "prompts": {"prompt": ["one", "two", "", "four", "five", "six"]},
    "prompts and n": {"prompt": ["one", "twö"], "n": 3, "echo": True},
    "tokens": {"prompt": [72, 101, 108]},
    "tokens, several": {"prompt": [[72, 101], [108]], "echo": True, "n": 2},
    "echo": {"prompt": "Hello", "echo": True},
    "stop": {"prompt": "one two three", "stop": " t"},
    "stop, several": {"prompt": ["one two", "three"], "stop": ["x", "wo", "ee"], "n": 2},
    "stop at once": {"prompt": "Hello", "stop": "H"},
    "stop held at the end": {"prompt": "0123456789abcdefg", "stop": "fgh"},
    "stop in the echo": {"prompt": "a b", "echo": True, "stop": "b"},
    "seed": {"prompt": "Hello", "seed": 7, "temperature": 1.5, "n": 2},
    "log-probabilities": {"prompt": "Grüße 🙂", "logprobs": 2, "n": 2, "seed": 3},
    "log-probabilities, echo": {"prompt": ["Grüße", "a b"], "logprobs": 0, "echo": True},
    "log-probabilities, stop": {"prompt": "Hello", "logprobs": 5, "stop": ["e", "\n"]},
    "log-probabilities of the prompt": {
        "prompt": "Grüße",
        "logprobs": 1,
        "echo": True,
        "max_tokens": 0,
    },
    "bias": {"prompt": "Hello", "logit_bias": {"5": -100, "7": 2.5}},
    "regular expression": {"prompt": "Hello", "guided_regex": "[a-z]{3} [0-9é]{2,5}"},
    "choice": {"prompt": ["Hello", "x"], "guided_choice": ["é🙂", "no"], "n": 2},
    "grammar and log-probabilities": {
        "prompt": "x",
        "grammar": 'root ::= "🙂" [a-f]+ "."',
        "logprobs": 1,
        "max_tokens": 12,
    },
    "sampling": {"prompt": "Hello", "seed": 1, "top_p": 0.9, "top_k": 5, "min_p": 0.01},
}
USER = {"role": "user", "content": "Grüße 🙂 an alle"}
SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "it",
        "schema": {
            "type": "object",
            "properties": {
                "b": {"enum": ["é🙂", 1]},
                "a": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
            },
            "required": ["b", "a"],
            "additionalProperties": False,
        },
    },
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": SCHEMA["json_schema"]["schema"],
        },
    }
    for name in ("f", "g")
]
NAMED = {"type": "function", "function": {"name": "f"}}
CUSTOM = {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "length": {"max_tokens": 5},
    "cut in a character": {"max_completion_tokens": 10},
    "n": {"n": 6},
    "n and length": {"n": 3, "max_tokens": 4},
    "stop": {"stop": ["an", "🙂"], "n": 2},
    "stop held at the end": {"stop": "alles"},
    "stop at once": {"stop": "G"},
    "empty": {"messages": [{"role": "user", "content": ""}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "part"}]}]},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, USER]},
    "seed": {"seed": 3, "temperature": 2, "n": 2, "max_tokens": 12},
    "log-probabilities": {"logprobs": True, "top_logprobs": 3, "n": 2},
    "log-probabilities, stop": {"logprobs": True, "stop": ["e", "a"], "max_tokens": 20},
    "object": {"response_format": {"type": "json_object"}, "max_tokens": 30},
    "schema": {"response_format": SCHEMA, "n": 2},
    "schema and log-probabilities": {"response_format": SCHEMA, "logprobs": True},
    "schema and stop": {"response_format": SCHEMA, "stop": "}"},
    "required call": {"tools": TOOLS, "tool_choice": "required", "max_tokens": 80},
    "required calls": {"tools": TOOLS, "tool_choice": "required", "n": 3},
    "named call": {"tools": TOOLS, "tool_choice": NAMED},
    "named call, cut": {"tools": TOOLS, "tool_choice": NAMED, "max_tokens": 14},
    "call and log-probabilities": {"tools": TOOLS, "tool_choice": NAMED, "logprobs": True},
    "older form": {"functions": [TOOLS[0]["function"]], "function_call": {"name": "f"}},
    "custom call": {"tools": [CUSTOM], "tool_choice": "required", "max_tokens": 60},
    "may call": {"tools": TOOLS, "tool_choice": "auto"},
    "may call, with log-probabilities": {"tools": TOOLS, "logprobs": True},
    "bias": {"logit_bias": {"5": -100}, "n": 2},
    "service tier": {"service_tier": "auto"},
    "continued": {
        "messages": [USER, {"role": "assistant", "content": "Hel"}],
        "continue_final_message": True,
    },
}


MESSAGE_TOOLS = [
    {"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "boolean"}}}},
    {"name": "g", "input_schema": {"type": "object", "properties": {}}},
]
MESSAGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "length": {"max_tokens": 5},
    "stop": {"stop_sequences": ["an", "🙂"]},
    "stop at once": {"stop_sequences": ["G"]},
    "system": {"system": [{"type": "text", "text": "Be brief."}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "part"}]}]},
    "continued": {"messages": [USER, {"role": "assistant", "content": "Hel"}]},
    "schema": {"output_config": {"format": {"type": "json_schema", "schema": {"enum": ["x"]}}}},
    "some call": {"tools": MESSAGE_TOOLS, "tool_choice": {"type": "any"}},
    "named call": {"tools": MESSAGE_TOOLS, "tool_choice": {"type": "tool", "name": "g"}},
    "may call": {"tools": MESSAGE_TOOLS},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 9}},
}


FLAT_TOOLS = [{"type": "function", **tool["function"]} for tool in TOOLS]
RESPONSES: dict[str, dict[str, Any]] = {
    "plain": {},
    "text": {"input": "Grüße 🙂"},
    "length": {"max_output_tokens": 5},
    "stop": {"stop": ["an", "🙂"]},
    "stop at once": {"stop": "G"},
    "instructions": {"instructions": "Be brief."},
    "parts": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "part"}]}]},
    "log-probabilities": {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
    "object": {"text": {"format": {"type": "json_object"}}, "max_output_tokens": 30},
    "schema": {"text": {"format": {"type": "json_schema", **SCHEMA["json_schema"]}}},
    "required calls": {"tools": FLAT_TOOLS, "tool_choice": "required"},
    "named call": {"tools": FLAT_TOOLS, "tool_choice": {"type": "function", "name": "f"}},
    "named call, cut": {
        "tools": FLAT_TOOLS,
        "tool_choice": {"type": "function", "name": "f"},
        "max_output_tokens": 14,
    },
    "custom call": {
        "tools": [{"type": "custom", "name": "c"}],
        "tool_choice": {"type": "custom", "name": "c"},
        "max_output_tokens": 40,
    },
    "call in a namespace": {
        "tools": [{"type": "namespace", "name": "n", "description": "", "tools": FLAT_TOOLS}],
        "tool_choice": "required",
    },
    "may call": {"tools": FLAT_TOOLS},
    "thinking": {"reasoning": {"effort": "low"}},
}


# What an engine may lack; then the stream is refused as the whole answer is.
NOT_EVERYWHERE = ("logprobs", "response_format", "grammar", "guided_regex", "guided_choice", "tools",
                  "functions", "logit_bias")  # fmt: skip


def assert_parity(client: FlaskClient, url: str, body: dict[str, Any]) -> None:
    client.post(url, json=body)  # leaves the prompt in the cache, which changes the last digits
    whole = client.post(url, json=body)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = client.post(url, json=body | options)
    assert streamed.status_code == whole.status_code, streamed.get_data(as_text=True)
    if whole.status_code == 400 and whole.json["error"]["param"].split(".")[0] in NOT_EVERYWHERE:
        assert streamed.json == whole.json
        return
    assert whole.status_code == 200, whole.get_data(as_text=True)
    chunks = sse_chunks(streamed.data)
    assert_chunks(chunks, usage=True)
    folded = fold_chat(chunks) if "chat" in url else fold_completion(chunks)
    assert_alike(folded, whole.json)
    bare = sse_chunks(client.post(url, json=body | {"stream": True}).data)
    assert_chunks(bare, usage=False)


def assert_message_parity(client: FlaskClient, body: dict[str, Any]) -> None:
    body = {"messages": [USER], "max_tokens": 60, **body}
    client.post("/v1/messages", json=body)
    whole = client.post("/v1/messages", json=body)
    streamed = client.post("/v1/messages", json=body | {"stream": True})
    assert streamed.status_code == whole.status_code, streamed.get_data(as_text=True)
    if whole.status_code == 400:
        assert "something that the loaded model's engine can do" in whole.json["error"]["message"]
        return
    events = named_events(streamed.data)
    for event in events:
        if event["type"] != "ping":  # which the client's types leave out
            assert_event(event)
    folded, wanted = fold_message(events), whole.json
    for each in (folded, wanted):
        each["id"] = each["usage"].pop("cache_read_input_tokens") and None
        each["usage"].pop("input_tokens")
        for block in each["content"]:
            block.pop("id", None)
            block["input"] = block.get("input") if each["stop_reason"] != "max_tokens" else None
    assert folded == wanted


def assert_response_parity(client: FlaskClient, body: dict[str, Any]) -> None:
    body = {"input": [USER], "max_output_tokens": 60, **body}
    client.post("/v1/responses", json=body)
    whole = client.post("/v1/responses", json=body)
    streamed = client.post("/v1/responses", json=body | {"stream": True})
    assert streamed.status_code == whole.status_code, streamed.get_data(as_text=True)
    if whole.status_code == 400:
        assert streamed.json == whole.json
        assert "something that the loaded model's engine can do" in whole.json["error"]["message"]
        return
    events = response_events(streamed.data)
    for event in events:
        assert_event(event)
    folded, wanted = fold_response(events), whole.json
    for each in (folded, wanted):
        each["id"] = each["created_at"] = each["completed_at"] = None
        each["usage"].pop("input_tokens_details")
        for item in each["output"]:
            item["id"] = item["call_id"] = None
    assert folded.pop("usage") == wanted.pop("usage")
    assert_alike(folded, wanted)


def paced(settings: Settings) -> Flask:
    return create_app(settings, PacedEngine(["a", "", "é\n", " STOP"], parallel=2))


@pytest.mark.parametrize("case", COMPLETIONS)
def test_completions_of_echo(client: FlaskClient, case: str) -> None:
    assert_parity(client, "/v1/completions", {"model": "echo", **COMPLETIONS[case]})


@pytest.mark.parametrize("case", CHATS)
def test_chats_of_echo(client: FlaskClient, case: str) -> None:
    assert_parity(
        client, "/v1/chat/completions", {"model": "echo", "messages": [USER], **CHATS[case]}
    )


@pytest.mark.parametrize("case", COMPLETIONS)
def test_completions_of_a_paced_engine(settings: Settings, case: str) -> None:
    body = {"model": "paced", **COMPLETIONS[case]}
    assert_parity(paced(settings).test_client(), "/v1/completions", body)


@pytest.fixture(scope="module")
def random_client(random_model: Path) -> Iterator[FlaskClient]:
    """One answer at a time: what runs beside an answer changes its last digits, and by that chance."""
    engine = LlamaCppEngine(random_model, name="random", threads=1, parallel=1)
    yield create_app(Settings(), engine).test_client()
    engine.close()


def tamed(body: dict[str, Any]) -> dict[str, Any]:
    """Tokens that are judged beside an answer change its last digits, and with random weights all
    tokens are nearly alike: so with log-probabilities only the likeliest one, and no alternatives."""
    if not body.get("logprobs"):
        return body
    taken = {name: value for name, value in body.items() if name != "top_logprobs"}
    return {**taken, "logprobs": 0 if "prompt" in body else True, "temperature": 0}


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 11}])
@pytest.mark.parametrize("case", COMPLETIONS)
def test_completions_of_a_model(
    random_client: FlaskClient, case: str, sampling: dict[str, Any]
) -> None:
    """Random weights say random bytes: broken characters, control characters, special tokens."""
    body = tamed({"model": "random", "max_tokens": 60, **COMPLETIONS[case], **sampling})
    assert_parity(random_client, "/v1/completions", body)


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 11}])
@pytest.mark.parametrize("case", CHATS)
def test_chats_of_a_model(random_client: FlaskClient, case: str, sampling: dict[str, Any]) -> None:
    body = tamed(
        {"model": "random", "messages": [USER], "max_tokens": 60, **CHATS[case], **sampling}
    )
    if "max_completion_tokens" in body:
        del body["max_tokens"]
    assert_parity(random_client, "/v1/chat/completions", body)


@pytest.mark.parametrize("case", COMPLETIONS)
def test_completions_of_the_embedded_model(tiny: Api, case: str) -> None:
    body = {"model": "tiny", "max_tokens": 30, "seed": 11, **COMPLETIONS[case]}
    assert_parity(tiny.client, "/v1/completions", body)


@pytest.mark.parametrize("case", CHATS)
def test_chats_of_the_embedded_model(tiny: Api, case: str) -> None:
    body = {"model": "tiny", "messages": [USER], "max_tokens": 60, "seed": 11, **CHATS[case]}
    if "max_completion_tokens" in body:
        del body["max_tokens"]
    assert_parity(tiny.client, "/v1/chat/completions", body)


@pytest.mark.parametrize("case", MESSAGES)
def test_messages_of_echo(client: FlaskClient, case: str) -> None:
    assert_message_parity(client, {"model": "echo", **MESSAGES[case]})


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 11}])
@pytest.mark.parametrize("case", MESSAGES)
def test_messages_of_a_model(
    random_client: FlaskClient, case: str, sampling: dict[str, Any]
) -> None:
    assert_message_parity(random_client, {"model": "random", **MESSAGES[case], **sampling})


@pytest.mark.parametrize("case", MESSAGES)
def test_messages_of_the_embedded_model(tiny: Api, case: str) -> None:
    assert_message_parity(tiny.client, {"model": "tiny", "seed": 11, **MESSAGES[case]})


@pytest.mark.parametrize("case", RESPONSES)
def test_responses_of_echo(client: FlaskClient, case: str) -> None:
    assert_response_parity(client, {"model": "echo", **RESPONSES[case]})


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 11}])
@pytest.mark.parametrize("case", RESPONSES)
def test_responses_of_a_model(
    random_client: FlaskClient, case: str, sampling: dict[str, Any]
) -> None:
    body = {"model": "random", **RESPONSES[case], **sampling}
    if "include" in body:  # with random weights all tokens are nearly alike
        body |= {"top_logprobs": 0, "temperature": 0}
    assert_response_parity(random_client, body)


@pytest.mark.parametrize("case", RESPONSES)
def test_responses_of_the_embedded_model(tiny: Api, case: str) -> None:
    assert_response_parity(tiny.client, {"model": "tiny", "seed": 11, **RESPONSES[case]})


@pytest.mark.parametrize("page", ["completions", "chat"])
def test_what_is_kept_of_a_stream_is_the_whole_object(
    tiny: Api, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its usage, though the client does not see that."""
    kept: list[Any] = []
    endpoint = {"completions": completions, "chat": chat}[page]

    def keeping(*given: Any, **options: Any) -> Any:
        return respond(*given, **{**options, "on_complete": kept.append})

    monkeypatch.setattr(endpoint, "respond", keeping)
    for case in (COMPLETIONS if page == "completions" else CHATS).values():
        body = {"model": "tiny", "seed": 11, "stream": True, **case}
        body |= {} if page == "completions" else {"messages": case.get("messages", [USER])}
        url = "/v1/completions" if page == "completions" else "/v1/chat/completions"
        tiny.client.post(url, json=body).get_data()  # leaves the prompt in the cache
        kept.clear()
        streamed = tiny.client.post(url, json=body)
        if streamed.status_code == 400:
            assert kept == []
            continue
        assert_chunks(sse_chunks(streamed.data), usage=False)
        (of_stream,) = kept
        whole = tiny.client.post(url, json=body | {"stream": False}).json
        assert kept[1:] == [whole]
        assert_alike(of_stream, whole)


@pytest.mark.parametrize("stop", ["\n", "a", ["e", "\x00", "he"], "\ufffd"])
@pytest.mark.parametrize("seed", range(5))
def test_stop_strings_never_show_in_what_a_model_says(
    random_client: FlaskClient, seed: int, stop: Any
) -> None:
    body = {"model": "random", "prompt": "x", "max_tokens": 80, "seed": seed, "stop": stop, "n": 2}
    whole = random_client.post("/v1/completions", json=body).json
    for choice in whole["choices"]:
        assert not any(
            each in choice["text"] for each in ([stop] if isinstance(stop, str) else stop)
        )
    assert_parity(random_client, "/v1/completions", body)


@pytest.mark.parametrize("page", ["completions", "chat/completions"])
def test_several_greedy_choices_at_once(llamacpp: LlamaCppEngine, page: str) -> None:
    body: dict[str, Any] = {"model": "random", "n": 3, "temperature": 0, "max_tokens": 20}
    body |= {"messages": [USER]} if "chat" in page else {"prompt": ["one", "two"]}
    assert_parity(create_app(Settings(), llamacpp).test_client(), f"/v1/{page}", body)
