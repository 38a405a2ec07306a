"""From bytes to a typed request, or to one 400 that names the place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import Field

from extensions.openai.chat import ChatCompletionRequest
from extensions.openai.completions import CompletionRequest
from extensions.openai.errors import InvalidRequest
from extensions.openai.validation import RequestModel, parse

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
