"""The official client's helpers: parsed answers, typed tools, and the events of its chat stream."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal

import openai
import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel, Field

from tests.conftest import sdk_on
from tests.support.api import Api

ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


class Colour(Enum):
    """For the tests below."""

    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    """For the tests below."""

    x: int = Field(ge=0, le=99)
    y: int = Field(ge=0, le=99)


class Drawing(BaseModel):
    """What an answer is parsed into."""

    title: str = Field(max_length=10)
    colour: Colour
    points: list[Point] = Field(min_length=1, max_length=2)
    style: Literal["dashed", "solid"] | None
    hidden: bool


class GetWeather(BaseModel):
    """What a call's arguments are parsed into."""

    city: str = Field(max_length=12)
    unit: Literal["C", "F"]


class Stop(BaseModel):
    """A tool without arguments."""


@pytest.fixture
def sdk(tiny: Api) -> Iterator[openai.OpenAI]:
    with sdk_on(tiny.app) as client:
        yield client


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_is_parsed_into_a_model(sdk: openai.OpenAI, seed: int) -> None:
    answer = sdk.chat.completions.parse(
        model="tiny", messages=ASK, response_format=Drawing, seed=seed, max_completion_tokens=300
    )
    drawing = answer.choices[0].message.parsed
    assert isinstance(drawing, Drawing)
    assert answer.choices[0].message.refusal is None


def test_an_answer_that_is_cut_raises_in_the_client(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError) as caught:
        sdk.chat.completions.parse(
            model="tiny", messages=ASK, response_format=Drawing, max_completion_tokens=4
        )
    assert caught.value.completion.usage is not None
    assert caught.value.completion.usage.completion_tokens == 4


@pytest.mark.parametrize("seed", range(3))
def test_arguments_are_parsed_into_a_model(sdk: openai.OpenAI, seed: int) -> None:
    answer = sdk.chat.completions.parse(
        model="tiny",
        messages=ASK,
        tools=[pydantic_function_tool(GetWeather), pydantic_function_tool(Stop)],
        tool_choice={"type": "function", "function": {"name": "GetWeather"}},
        seed=seed,
        max_completion_tokens=200,
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, GetWeather)


def test_the_events_of_a_parsed_stream(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(
        model="tiny", messages=ASK, response_format=Drawing, seed=1, max_completion_tokens=300
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    kinds = [event.type for event in events]
    assert {"chunk", "content.delta", "content.done"} <= set(kinds)
    done = next(event for event in events if event.type == "content.done")
    assert isinstance(done.parsed, Drawing)
    deltas = "".join(event.delta for event in events if event.type == "content.delta")
    assert deltas == done.content == final.choices[0].message.content
    assert final.choices[0].message.parsed == done.parsed


def test_the_events_of_a_stream_of_calls(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(
        model="tiny",
        messages=ASK,
        tools=[pydantic_function_tool(GetWeather)],
        tool_choice="required",
        parallel_tool_calls=False,
        seed=2,
        max_completion_tokens=200,
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [e for e in events if e.type == "tool_calls.function.arguments.delta"]
    done = [e for e in events if e.type == "tool_calls.function.arguments.done"]
    assert len(deltas) > 2 and len(done) == 1
    assert "".join(event.arguments_delta for event in deltas) == done[0].arguments
    assert isinstance(done[0].parsed_arguments, GetWeather)
    (call,) = final.choices[0].message.tool_calls or []
    assert call.id and call.function.name == "GetWeather"
    assert final.choices[0].finish_reason == "tool_calls"


def test_the_events_of_log_probabilities(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(
        model="tiny", messages=ASK, logprobs=True, top_logprobs=2, temperature=0
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [event for event in events if event.type == "logprobs.content.delta"]
    assert deltas and final.choices[0].logprobs is not None
    reported = [token for event in deltas for token in event.content]
    assert [token.token for token in reported] == [
        token.token for token in final.choices[0].logprobs.content or ()
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_and_calls_pass_the_clients_strict_types(
    sdk: openai.OpenAI, stream: bool
) -> None:
    for extra in (
        {"logprobs": True, "top_logprobs": 3},
        {"tools": [pydantic_function_tool(GetWeather)], "tool_choice": "required"},
        {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
        {
            "tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}],
            "tool_choice": {"type": "custom", "custom": {"name": "c"}},
        },
    ):
        body: Any = {"model": "tiny", "messages": ASK, "max_tokens": 60, "n": 2, **extra}
        if stream and "tools" in extra and extra["tools"][0].get("type") == "custom":
            continue  # the client's type of a chunk, as the document's, knows functions only
        if not stream:
            assert len(sdk.chat.completions.create(**body).choices) == 2
        else:
            assert list(sdk.chat.completions.create(**body, stream=True))


def test_legacy_log_probabilities_through_the_client(sdk: openai.OpenAI) -> None:
    completion = sdk.completions.create(
        model="tiny", prompt="Once", logprobs=2, max_tokens=5, n=2, best_of=3
    )
    for choice in completion.choices:
        assert choice.logprobs is not None and choice.logprobs.tokens is not None
        assert "".join(choice.logprobs.tokens) == choice.text


def test_a_conversation_with_a_tool_goes_round(sdk: openai.OpenAI) -> None:
    """What the client got is what it sends back, the objects themselves."""
    tools: Any = [pydantic_function_tool(GetWeather)]
    called = sdk.chat.completions.create(
        model="tiny", messages=ASK, tools=tools, tool_choice="required", max_tokens=300, seed=1
    )
    message = called.choices[0].message
    assert message.tool_calls
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls
    ]
    conversation: list[Any] = [*ASK, message, *results]
    answer = sdk.chat.completions.create(
        model="tiny", messages=conversation, tools=tools, max_tokens=20
    )
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")
