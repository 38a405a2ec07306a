"""From bytes to a typed request, or to one 400 that names the place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import Field

from extensions.openai.completions import CompletionRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.schemas.validation import RequestModel, parse
from tests.support.api import Api
from tests.support.reference import assert_envelope

KEYS = ("role", "content", "type", "text", "name", "tool_calls", "function", "arguments", "id",
        "user", "system", "image_url", "refusal", "include_usage", "str", "list")  # fmt: skip
FIELDS = ("model", "messages", "prompt", "stop", "n", "max_tokens", "temperature", "stream",
          "stream_options", "tools", "response_format", "logit_bias", "metadata", "seed", "top_k",
          "dry_sequence_breakers")  # fmt: skip

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            KEYS
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


class Inner(RequestModel):
    """For the tests below."""

    number: int = Field(ge=1, le=5)


class Outer(RequestModel):
    """For the tests below."""

    inner: Inner
    items: list[Inner] = Field(default_factory=list)
    words: str | list[str] | None = None


def refusal(body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(Outer, json.dumps(body).encode())
    return caught.value


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "inner", "missing_required_parameter"),
        ({"inner": None}, "inner", "invalid_type"),
        ({"inner": 5}, "inner", "invalid_type"),
        ({"inner": {}}, "inner.number", "missing_required_parameter"),
        ({"inner": {"number": 0}}, "inner.number", "integer_below_min_value"),
        ({"inner": {"number": 6}}, "inner.number", "integer_above_max_value"),
        ({"inner": {"number": True}}, "inner.number", "invalid_type"),
        ({"inner": {"number": "1"}}, "inner.number", "invalid_type"),
        ({"inner": {"number": 1}, "items": [{"number": 1}, {}]}, "items[1].number", None),
        (
            {"inner": {"number": 1}, "items": [{"number": 1}, {"number": 9}]},
            "items[1].number",
            None,
        ),
        ({"inner": {"number": 1}, "words": 5}, "words", "invalid_type"),
        ({"inner": {"number": 1}, "words": ["a", 5]}, "words[1]", "invalid_type"),
    ],
)
def test_the_path_of_what_is_wrong(body: Any, param: str, code: str | None) -> None:
    error = refusal(body)
    assert error.param == param
    assert code is None or error.code == code
    assert param in error.message


def test_all_types_that_would_do_are_named() -> None:
    message = refusal({"inner": {"number": 1}, "words": 5}).message
    assert "string" in message and "array" in message and "integer" in message


def test_the_message_has_the_limit_and_the_value() -> None:
    message = refusal({"inner": {"number": 6}}).message
    assert "5" in message and "6" in message


@pytest.mark.parametrize("seconds", [0, 0.0, -1])
def test_a_number_that_must_be_above_a_limit(seconds: float) -> None:
    body = {"model": "x", "prompt": "x", "timeout": seconds}
    with pytest.raises(
        InvalidRequest, match=r"below minimum value. Expected a value > 0"
    ) as caught:
        parse(CompletionRequest, json.dumps(body).encode())
    assert caught.value.param == "timeout" and caught.value.code == "decimal_below_min_value"


def test_a_key_that_has_the_name_of_a_union_member_does_not_lead_astray() -> None:
    body = {"inner": {"number": 1, "int": 3, "Inner": {}}, "words": {"int": 1}}
    assert refusal(body).param == "words"


def test_unknown_fields_are_let_through() -> None:
    assert parse(Outer, b'{"inner": {"number": 1, "x": 2}, "new_field": [1]}').inner.number == 1


def paths(value: Any, before: str = "") -> set[str]:
    """The paths of everything in a JSON value, in the way that `param` is written."""
    found = {before} if before else set()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths(inner, f"{before}.{key}" if before else key)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            found |= paths(inner, f"{before}[{at}]")
    return found


@hypothesis_settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from([CompletionRequest, ChatCompletionRequest]),
    body=st.dictionaries(
        st.sampled_from(FIELDS),
        anything,
        max_size=4,
    ),
)
def test_any_json_is_a_request_or_a_refusal_with_a_place_in_it(kind: Any, body: Any) -> None:
    """Nothing else may be raised, and `param` leads to something that is there, or to what is missing."""
    try:
        parse(kind, json.dumps(body).encode())
    except InvalidRequest as error:
        assert error.message and len(error.message) < 2000
        if error.param is None:
            assert error.code in ("invalid_json", "invalid_type")
        else:
            known = paths(body)
            parent = error.param.rpartition(".")[0]
            assert error.param in known or parent in known | {""}, (error.param, body)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_refusal(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(ChatCompletionRequest, data)


@pytest.mark.parametrize("number", ["1" + "0" * 5000, "-1" + "0" * 5000, "1e999", "1" * 25])
@pytest.mark.parametrize("field", ["seed", "max_tokens", "top_k", "temperature", "n"])
def test_numbers_beyond_all_bounds(field: str, number: str) -> None:
    body = b'{"model": "x", "messages": [{"role": "user", "content": "x"}], "%s": %s}'
    try:
        parse(ChatCompletionRequest, body % (field.encode(), number.encode()))
    except InvalidRequest as error:
        assert len(error.message) < 1000
    else:
        assert field == "max_tokens" and not number.startswith("-"), "only that has no upper limit"


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have(word: str) -> None:
    for field in ("temperature", "something_else"):
        body = f'{{"prompt": "x", "{field}": {word}}}'.encode()
        with pytest.raises(InvalidRequest):
            parse(CompletionRequest, body)


# The operator's say in how a request that is not valid is answered.

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}
PATHS = (("completions", {"model": "echo", "prompt": "x"}), ("chat/completions", CHAT))


@pytest.mark.parametrize(("path", "body"), PATHS)
def test_fields_that_nobody_knows(path: str, body: dict[str, Any]) -> None:
    """Let through, unless the operator wants them refused; then also inside of the body's objects."""
    loose = Api(EchoEngine()).client
    strict = Api(EchoEngine(), strict_parameters=True).client
    asked = {**body, "no_such_field": 1}
    assert loose.post(f"/v1/{path}", json=asked).status_code == 200
    assert strict.post(f"/v1/{path}", json=body).status_code == 200
    answer = strict.post(f"/v1/{path}", json=asked)
    assert answer.status_code == 400
    error = assert_envelope(answer.json, status=400)
    assert (error["param"], error["code"]) == ("no_such_field", "unknown_parameter")


def test_a_field_that_nobody_knows_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    client = Api(EchoEngine()).client
    with caplog.at_level("INFO", logger="openedai"):
        for _ in range(3):
            client.post("/v1/chat/completions", json={**CHAT, "a_field_to_log": "and its value"})
    reported = [line for line in caplog.messages if "a_field_to_log" in line]
    assert len(reported) == 1 and "value" not in caplog.text


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"stream": True, "stream_options": {"includeUsage": True}}, "stream_options.includeUsage"),
        (
            {"messages": [{"role": "user", "content": "Hello", "colour": "red"}]},
            "messages[0].colour",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Hello", "bold": True}]}
                ]
            },
            "messages[0].content[0].bold",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}, "strict": True}]},
            "tools[0].strict",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {}, "strickt": True},
                }
            },
            "response_format.json_schema.strickt",
        ),
    ],
)
def test_fields_that_nobody_knows_inside_of_others(asked: dict[str, Any], param: str) -> None:
    strict = Api(EchoEngine(), strict_parameters=True).client
    answer = strict.post("/v1/chat/completions", json={**CHAT, **asked})
    assert answer.status_code == 400
    error = assert_envelope(answer.json, status=400)
    assert (error["param"], error["code"]) == (param, "unknown_parameter")


def test_what_is_not_ours_to_name_may_hold_any_names() -> None:
    """Schemas, metadata and the template's variables."""
    strict = Api(EchoEngine(), strict_parameters=True).client
    asked = {"metadata": {"any": "thing"}, "chat_template_kwargs": {"any": 1}}
    assert strict.post("/v1/chat/completions", json={**CHAT, **asked}).status_code == 200


def test_a_key_that_is_too_long_is_told_with_its_own_length() -> None:
    error = Api(EchoEngine()).refused("chat/completions", metadata={"k" * 65: "v"})
    assert (error["param"], error["code"]) == ("metadata", "string_above_max_length")
    assert "at most 64, but got 65" in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"verbosity": 5}, "verbosity", "invalid_type"),
        ({"service_tier": {}}, "service_tier", "invalid_type"),
        ({"reasoning_effort": "much"}, "reasoning_effort", "invalid_value"),
        ({"tool_choice": 5}, "tool_choice", "invalid_type"),
        ({"tool_choice": [1]}, "tool_choice", "invalid_type"),
        ({"tool_choice": "sometimes"}, "tool_choice", "invalid_value"),
        ({"tool_choice": {}}, "tool_choice.type", "missing_required_parameter"),
        ({"tool_choice": {"type": "zz"}}, "tool_choice.type", "invalid_value"),
        ({"response_format": {"type": 5}}, "response_format.type", "invalid_type"),
        ({"function_call": 5}, "function_call", "invalid_type"),
        ({"n": 10**30}, "n", "integer_above_max_value"),
        ({"seed": -(10**30)}, "seed", "integer_below_min_value"),
        ({"seed": 1.5}, "seed", "invalid_type"),
        (
            {"tools": [{"type": "function", "function": {"name": ""}}]},
            "tools[0].function.name",
            "empty_string",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "x" * 65}}]},
            "tools[0].function.name",
            "string_above_max_length",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "invalid_value",
        ),
        ({"prediction": {"type": "content"}}, "prediction.content", "missing_required_parameter"),
        ({"prediction": {"type": "text", "content": "x"}}, "prediction.type", "invalid_value"),
        ({"prediction": {"type": "content", "content": 5}}, "prediction.content", "invalid_type"),
    ],
)
def test_the_code_says_whether_type_or_value_is_wrong(
    body: dict[str, Any], param: str, code: str
) -> None:
    error = Api(EchoEngine()).refused("chat/completions", **body)
    assert (error["param"], error["code"]) == (param, code)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("depth", [50, 240, 260, 900])
def test_what_is_nested_deeply_is_taken_or_refused(tiny: Api, depth: int) -> None:
    """It has to be written as JSON again for the engine, whose depth is limited."""
    body = {**CHAT, "model": "tiny", "chat_template_kwargs": nested(depth), "max_tokens": 1}
    answer = tiny.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == (200 if depth < 245 else 400)
    if depth > 245:
        error = assert_envelope(answer.json, status=400)
        assert error["param"] == "chat_template_kwargs"


@pytest.mark.parametrize(("path", "body"), PATHS)
def test_a_field_under_two_of_its_names(path: str, body: dict[str, Any]) -> None:
    """Clients of several servers send both; when they differ, neither is dropped silently."""
    api = Api(EchoEngine())
    for strict in (False, True):
        client = Api(EchoEngine(), strict_parameters=strict).client
        same = {**body, "max_tokens": 3, "max_new_tokens": 3, "n_predict": None}
        assert client.post(f"/v1/{path}", json=same).status_code == 200
    for other, asked in (
        ("max_new_tokens", {"max_tokens": 3, "max_new_tokens": 4}),
        ("typical", {"typical_p": 0.5, "typical": 0.6}),
        ("n_predict", {"max_new_tokens": 5, "n_predict": 6}),
    ):
        error = api.refused(path, **asked)
        assert (error["param"], error["code"]) == (other, "invalid_parameter_combination")


@pytest.mark.parametrize(("path", "body"), PATHS)
def test_the_status_of_requests_that_are_not_valid(path: str, body: dict[str, Any]) -> None:
    client = Api(EchoEngine(), validation_status=422, strict_models=True).client
    for wrong in (
        {**body, "temperature": 900},
        {**body, "n": "1"},
        {**body, "stream_options": {}},
        {**body, "logprobs": 2 if "prompt" in body else True},
        {**body, "temperature": 900, "stream": True},
    ):
        answer = client.post(f"/v1/{path}", json=wrong)
        assert answer.status_code == 422
        assert_envelope(answer.json, status=422)
    # What is not the body's fault keeps its status.
    assert client.post(f"/v1/{path}", json={**body, "model": "nope"}).status_code == 404
    assert client.delete(f"/v1/{path}").status_code == 405


@pytest.mark.parametrize(
    "taken",
    [
        {"metadata": {"k" * 64: "v" * 512}},
        {"metadata": {str(at): "" for at in range(16)}},
        {"store": True},
        {"store": False},
        {"service_tier": "flex"},
        {"service_tier": "default"},
        {"verbosity": "low"},
        {"prediction": {"type": "content", "content": "x"}},
        {"safety_identifier": "x" * 64},
        {"prompt_cache_key": "x"},
        {"modalities": ["text"]},
        {"user": "ann"},
    ],
)
def test_what_is_taken_and_changes_nothing(taken: dict[str, Any]) -> None:
    client = Api(EchoEngine()).client
    answer = client.post("/v1/chat/completions", json={**CHAT, **taken})
    assert answer.status_code == 200
    assert answer.json["choices"][0]["message"]["content"] == "Hello"
    # The tier that answered is told when one was asked for.
    assert answer.json.get("service_tier") == taken.get("service_tier")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {str(at): "" for at in range(17)}}, "metadata"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"verbosity": "loud"}, "verbosity"),
        ({"safety_identifier": "x" * 65}, "safety_identifier"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"modalities": []}, "modalities"),
    ],
)
def test_what_is_taken_is_checked_all_the_same(body: dict[str, Any], param: str) -> None:
    error = Api(EchoEngine()).refused("chat/completions", **body)
    assert error["param"].startswith(param)
