"""Texts that would become millions of objects are refused before they are parsed."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from extensions.openai.completions import CompletionRequest
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.schemas import json_bounds
from extensions.openai.schemas.validation import RequestModel, parse

HI = {"role": "user", "content": "Hi"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "a"}] * 8000}
CALLS = {"role": "assistant", "tool_calls": [{"id": "a"}] * 2000}


def in_messages(element: bytes, count: int) -> bytes:
    return b'{"model":"m","messages":[' + b",".join([element] * count) + b"]}"


def refusal(data: bytes, model: type[RequestModel] = ChatCompletionRequest) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(model, data)
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        in_messages(b"1", 1_100_000),
        in_messages(b"[]", 150_000),
        in_messages(b"{}", 150_000),
        in_messages(b'""', 1_100_000),
        in_messages(b'{"a":1,"b":2,"c":3}', 90_000),
        b"[" * 300_000,
        b'{"a":' * 150_000,
        b'{"prompt":"\\\\",' + b"[]," * 150_000 + b"0}",
    ],
)
def test_too_much_is_refused_unparsed(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: bytes) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(orjson, "loads", never)
    assert refusal(data).code == "too_many_values"


@pytest.mark.parametrize(
    "text",
    ["[]," * 200_000, '{"a": 1},' * 200_000, '\\"[],' * 200_000, "\\" * 300_001 + '"[' * 150_000],
)
def test_what_stands_in_a_text_does_not_count(text: str) -> None:
    body = parse(CompletionRequest, json.dumps({"model": "m", "prompt": text}).encode())
    assert body.prompts == [text]


def test_the_token_ids_of_a_long_prompt_are_taken() -> None:
    body = parse(CompletionRequest, orjson.dumps({"model": "m", "prompt": [7] * 900_000}))
    assert len(body.prompts[0]) == 900_000


JSON_VALUES = st.recursive(
    st.integers(-9, 9) | st.text('a",[]{}:\\é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('b"[', max_size=3), inner),
)


@given(value=JSON_VALUES, part=st.integers(1, 7))
def test_parts_of_any_size_count_the_same(value: Any, part: int) -> None:
    """Against a count of what `json` reads."""
    objects = names = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        objects += isinstance(each, (list, dict))
        if isinstance(each, dict):
            names += len(each)
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    rest = b"".join(json_bounds.outside_strings(json.dumps(value).encode(), part))
    assert rest.count(b"[") + rest.count(b"{") == objects
    assert rest.count(b":") == names


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"messages": [1] * 8000}, "messages[0]", "invalid_type"),
        ({"messages": [HI, *[None] * 8000]}, "messages[1]", "invalid_type"),
        ({"messages": [HI] * 9000}, "messages", "array_above_max_length"),
        ({"messages": [PARTS, PARTS, PARTS]}, "messages", "too_many_values"),
        ({"messages": [HI, *[CALLS] * 9]}, "messages", "too_many_values"),
        ({"tools": [1] * 50_000}, "tools", "array_above_max_length"),
        ({"stop": [1] * 50_000}, "stop", "array_above_max_length"),
        ({"logit_bias": {str(at): 1 for at in range(50_000)}}, "logit_bias", None),
        ({"logit_bias": [[7, 1.5]] * 20_000}, "logit_bias", "array_above_max_length"),
        ({"metadata": {str(at): 1 for at in range(50_000)}}, "metadata", None),
        ({f"field{at}": 1 for at in range(2000)}, None, "too_many_values"),
    ],
)
def test_lists_are_bounded(fields: dict[str, Any], param: str | None, code: str | None) -> None:
    error = refusal(orjson.dumps({"model": "m", "messages": [HI], **fields}))
    assert error.param == param
    assert error.code == (code or "object_above_max_length")


def test_the_first_wrong_element_ends_a_list() -> None:
    """So that a thousand of them are not a thousand errors, here and in lists in lists."""
    wrong = {"role": "user", "content": [{"type": "text", "text": 1}] * 500}
    body = {"model": "m", "messages": [wrong] * 500}
    with pytest.raises(ValidationError) as caught:
        ChatCompletionRequest.model_validate(body)
    assert caught.value.error_count() < 10


def test_small_texts_are_not_counted() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(ChatCompletionRequest, b"[" * json_bounds.UNCHECKED_BYTES)
    assert caught.value.code == "invalid_json"
