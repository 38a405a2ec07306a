"""Create chat completion, against the echo engine: it says the user's last message."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai import chat
from extensions.openai.generation.plan import ChatPlan, Generation
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.reference import assert_chunks, assert_envelope, fold_chat, sse_chunks

URL = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


def create(client: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = client.post(URL, json={"model": "echo", "messages": HELLO, **body})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    whole = answer.json
    assert isinstance(whole, dict)
    return whole


def refused(client: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = client.post(URL, json={"model": "echo", "messages": HELLO, **body})
    assert answer.status_code == 400, answer.get_data(as_text=True)
    return assert_envelope(answer.json, status=400)


def test_the_shape_of_the_reference(client: FlaskClient) -> None:
    whole = create(client)
    assert re.fullmatch(r"chatcmpl-\w{20,}", whole["id"])
    assert whole["object"] == "chat.completion"
    assert whole["model"] == "echo"
    assert isinstance(whole["created"], int) and isinstance(whole["system_fingerprint"], str)
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    usage = whole["usage"]
    assert usage["completion_tokens"] == len("Hello") + 1
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "Be brief."}, *HELLO],
        [{"role": "developer", "content": "Be brief."}, *HELLO],
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}],
            }
        ],
        [*HELLO, {"role": "assistant", "content": "Hi"}],
        [
            *HELLO,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "42"},
        ],
        [
            *HELLO,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "f", "arguments": "{}"},
            },
            {"role": "function", "name": "f", "content": "42"},
        ],
        [{"role": "user", "content": "Hello", "name": "ann"}],
        [{"role": "user", "content": "first"}, {"role": "assistant", "content": "x"}, *HELLO],
    ],
)
def test_every_role_and_form_of_content(client: FlaskClient, messages: list[Any]) -> None:
    assert create(client, messages=messages)["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_limit_under_both_names(client: FlaskClient, name: str) -> None:
    whole = create(client, **{name: 3})
    assert whole["choices"][0]["message"]["content"] == "Hel"
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 3


def test_no_limit_but_the_context(client: FlaskClient) -> None:
    long = "x" * 3000
    whole = create(client, messages=[{"role": "user", "content": long}])
    assert whole["choices"][0]["message"]["content"] == long


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_all_the_context_is_as_much_as_there_is(client: FlaskClient, name: str) -> None:
    assert create(client, **{name: 8192})["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_above_the_context_is_an_upper_bound(client: FlaskClient, name: str) -> None:
    assert create(client, **{name: 10**9})["choices"][0]["finish_reason"] == "stop"


def test_n_choices(client: FlaskClient) -> None:
    whole = create(client, n=5)
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3, 4]
    assert {choice["message"]["content"] for choice in whole["choices"]} == {"Hello"}
    one = create(client)["usage"]
    assert whole["usage"]["prompt_tokens"] == one["prompt_tokens"]
    assert whole["usage"]["completion_tokens"] == 5 * one["completion_tokens"]


def test_stop_strings_never_show(client: FlaskClient) -> None:
    whole = create(client, stop=["lo", "zzz"])
    assert whole["choices"][0]["message"]["content"] == "Hel"
    assert whole["choices"][0]["finish_reason"] == "stop"


def test_the_stream_of_the_reference(client: FlaskClient) -> None:
    body = {"model": "echo", "messages": HELLO, "stream": True}
    chunks = sse_chunks(client.post(URL, json=body).data)
    assert_chunks(chunks, usage=False)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    parts = [chunk["choices"][0] for chunk in chunks]
    assert parts[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all("role" not in part["delta"] for part in parts[1:])
    assert parts[-1]["delta"] == {} and parts[-1]["finish_reason"] == "stop"
    assert all(part["finish_reason"] is None for part in parts[:-1])
    assert "".join(part["delta"].get("content", "") for part in parts) == "Hello"


@pytest.mark.parametrize("n", [1, 4, 7])
def test_each_choice_of_a_stream_begins_with_its_role(client: FlaskClient, n: int) -> None:
    body = {"model": "echo", "messages": HELLO, "stream": True, "n": n}
    options = {"stream_options": {"include_usage": True}}
    chunks = sse_chunks(client.post(URL, json=body | options).data)
    assert_chunks(chunks, usage=True)
    whole = fold_chat(chunks)
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["Hello"] * n


def test_choices_stream_at_the_same_time() -> None:
    engine = PacedEngine(["a"] * 20, parallel=3, pace=0.005)
    client = create_app(Settings(), engine).test_client()
    body = {"model": "paced", "messages": HELLO, "n": 3, "stream": True}
    chunks = sse_chunks(client.post(URL, json=body).data)
    assert_chunks(chunks, usage=False)
    first_end = next(
        at for at, chunk in enumerate(chunks) if chunk["choices"][0]["finish_reason"] is not None
    )
    assert {chunk["choices"][0]["index"] for chunk in chunks[:first_end]} == {0, 1, 2}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": None}, "messages", "invalid_type"),
        ({"messages": "Hello"}, "messages", "invalid_type"),
        ({"messages": [None]}, "messages[0]", "invalid_type"),
        ({"messages": ["Hello"]}, "messages[0]", "invalid_type"),
        ({"messages": [{}]}, "messages[0].role", "missing_required_parameter"),
        (
            {"messages": [*HELLO, {"content": "x"}]},
            "messages[1].role",
            "missing_required_parameter",
        ),
        ({"messages": [{"role": "x", "content": "a"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": 5, "content": "a"}]}, "messages[0].role", None),
        ({"messages": [{"role": None, "content": "a"}]}, "messages[0].role", None),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty_array"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]", None),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "zz"}]}]},
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [{}]}]},
            "messages[0].content[0].type",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
            None,
        ),
        (
            {"messages": [{"role": "user", "content": "x", "name": 5}]},
            "messages[0].name",
            "invalid_type",
        ),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "integer_below_min_value"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", None),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": "1"}, "n", "invalid_type"),
        ({"temperature": -0.1}, "temperature", "decimal_below_min_value"),
        ({"temperature": 100.5}, "temperature", "decimal_above_max_value"),
        ({"top_p": 1.5}, "top_p", "decimal_above_max_value"),
        ({"presence_penalty": -2.5}, "presence_penalty", "decimal_below_min_value"),
        ({"frequency_penalty": 2.5}, "frequency_penalty", "decimal_above_max_value"),
        ({"stop": list("abcdefghijklmnopq")}, "stop", "array_above_max_length"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"stream_options": {}}, "stream_options", None),
        ({"stream": True, "stream_options": 5}, "stream_options", "invalid_type"),
        (
            {"stream": True, "stream_options": {"include_usage": "x"}},
            "stream_options.include_usage",
            "invalid_type",
        ),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"top_logprobs": 2}, "top_logprobs", "unsupported_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", None),
        ({"tool_choice": "required"}, "tool_choice", "unsupported_parameter"),
        ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1", "decimal_above_max_value"),
        ({"logit_bias": {"one": 5}}, "logit_bias", "invalid_value"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "unsupported_parameter"),
        ({"store": 1}, "store", "invalid_type"),
        ({"modalities": ["text", "audio"]}, "modalities", None),
        ({"modalities": ["smell"]}, "modalities[0]", "invalid_value"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio", "unsupported_parameter"),
        ({"prediction": "x"}, "prediction", "invalid_type"),
        ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    client: FlaskClient, body: dict[str, Any], param: str, code: str | None
) -> None:
    error = refused(client, **body)
    assert error["param"] == param
    if code is not None:
        assert error["code"] == code


@pytest.mark.parametrize(
    "neutral",
    [
        {"logprobs": False},
        {"tools": []},
        {"tool_choice": "none"},
        {"response_format": {"type": "text"}},
        {"logit_bias": {}},
        {"store": False},
        {"modalities": ["text"]},
        {"parallel_tool_calls": True},
        {"user": "ann", "metadata": {"a": "b"}, "safety_identifier": "x", "prompt_cache_key": "y"},
        {"service_tier": "auto"},
        {"n": None, "stop": None, "seed": None, "temperature": None, "top_p": None, "stream": None},
        {"stream_options": None, "max_tokens": None, "tools": None, "response_format": None},
        {"seed": -1},
        {"temperature": 0, "top_p": 1, "presence_penalty": -2, "frequency_penalty": 2},
    ],
)
def test_values_that_change_nothing_are_let_through(
    client: FlaskClient, neutral: dict[str, Any]
) -> None:
    assert create(client, **neutral)["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_a_conversation_that_does_not_fit_is_refused(
    client: FlaskClient, stream: bool, n: int
) -> None:
    messages = [{"role": "user", "content": "x" * 9000}]
    error = refused(client, messages=messages, stream=stream, n=n)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    numbers = [int(number) for number in re.findall(r"\d+", error["message"])]
    assert 8192 in numbers and any(number >= 9000 for number in numbers)


def test_metadata_is_told_again(client: FlaskClient) -> None:
    """As the document has it in the whole answer, and in no chunk."""
    metadata = {"a": "b", "c": ""}
    assert create(client, metadata=metadata)["metadata"] == metadata
    assert "metadata" not in create(client)


def test_a_choice_that_has_ended_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    started = ChatPlan.start

    def start(plan: ChatPlan, *more: Any) -> Generation:
        generation = started(plan, *more)
        return replace(generation, events=(each for each in [*generation.events, None]))

    monkeypatch.setattr(ChatPlan, "start", start)
    monkeypatch.setattr(chat, "SILENCE_S", 0.0)
    body = {"messages": [{"role": "user", "content": "Hello"}], "n": 2}
    chunks = Api(PacedEngine(["a"], parallel=2)).chunks("chat/completions", **body)
    assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1}
