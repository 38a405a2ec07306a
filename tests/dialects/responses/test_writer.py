"""The events of a response, made of the events of a generation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from extensions.openai.dialects.responses.encrypted_content import ContentSeal
from extensions.openai.dialects.responses.items import ReasoningItem
from extensions.openai.dialects.responses.request import ResponsesRequest
from extensions.openai.dialects.responses.writer import ResponseWriter, response_events
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import PromptUsage, TokenLogprob, ToolCallDelta
from extensions.openai.errors import (
    APIError,
    ContextLengthExceeded,
    InvalidRequest,
    QuotaExceeded,
    RateLimited,
    ShareExceeded,
)
from extensions.openai.generation.events import Event
from extensions.openai.generation.plan import Generation
from extensions.openai.generation.usage import UsageCount
from extensions.openai.schemas.validation import check
from extensions.openai.state.keyring import Keyring
from tests.support.reference import fold_response


def writer_of(*events: Event | None, **body: Any) -> tuple[Generation, ResponseWriter]:
    generation = Generation(iterate(events), EchoEngine().info, UsageCount(1))
    request = check(ResponsesRequest, {"input": "x", **body})
    return generation, ResponseWriter(
        generation.usage, generation.info, request, request.tool_plan().custom
    )


def iterate(events: tuple[Event | None, ...]) -> Any:
    yield from events


def written(*events: Event | None, **body: Any) -> list[Any]:
    return list(response_events(*writer_of(*events, **body)))


def kinds(events: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


TEXT = [
    Event(0, "Hel", tokens=1, prompt=PromptUsage(10, 4)),
    None,
    Event(0, "lo", tokens=1),
    Event(0, tokens=1, finish="stop"),
]
OPENING = ["created", "in_progress"]
TOO_LONG = ContextLengthExceeded(prompt_tokens=9, max_tokens=1, context_length=8, param="messages")


def test_a_text() -> None:
    events = written(*TEXT)
    assert events.pop(5) is None
    assert kinds(events) == [
        *OPENING,
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert events[2]["item"]["content"] == [] and events[2]["item"]["status"] == "in_progress"
    assert events[3]["part"] == {
        "type": "output_text",
        "text": "",
        "annotations": [],
        "logprobs": [],
    }
    assert events[6]["text"] == events[7]["part"]["text"] == "Hello"
    response = fold_response(events)
    assert response["status"] == "completed" and response["completed_at"] is not None
    assert response["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 13,
    }


def call(index: int, name: str | None = None, arguments: str = "") -> Event:
    return Event(0, tool_calls=(ToolCallDelta(index, arguments, None, name),))


FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CUSTOM = {"type": "custom", "name": "patch"}


def test_a_thought_a_text_and_calls() -> None:
    tools = [
        FUNCTION,
        CUSTOM,
        {"type": "namespace", "name": "n", "tools": [FUNCTION | {"name": "g"}]},
    ]
    events = written(
        Event(0, reasoning="Look", tokens=1, thought_tokens=1),
        Event(0, reasoning=".", tokens=1, thought_tokens=1),
        Event(0, "So.", tokens=1),
        call(0, "f", '{"a": '),
        call(0, arguments="1}"),
        call(1, "patch", '{"input": "a\\n'),
        call(1, arguments='b"}'),
        call(2, "g", "{}"),
        Event(0, tokens=1, finish="tool_calls"),
        tools=tools,
    )
    response = fold_response(events)
    thought, text, first, second, third = response["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Look."}]
    assert thought["summary"] == [] and thought["id"].startswith("rs_")
    assert text["content"][0]["text"] == "So." and text["id"].startswith("msg_")
    assert (first["type"], first["name"], first["arguments"]) == ("function_call", "f", '{"a": 1}')
    assert "namespace" not in first and first["id"].startswith("fc_")
    assert (second["type"], second["name"], second["input"]) == (
        "custom_tool_call",
        "patch",
        "a\nb",
    )
    assert second["id"].startswith("ctc_")
    assert (third["name"], third["namespace"], third["arguments"]) == ("g", "n", "{}")
    assert len({each["call_id"] for each in (first, second, third)}) == 3
    assert {each["status"] for each in response["output"]} == {"completed"}
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}


def test_calls_of_the_same_name_tell_their_namespaces() -> None:
    tools = [
        {"type": "namespace", "name": "crm", "tools": [FUNCTION]},
        {"type": "namespace", "name": "web", "tools": [{"type": "custom", "name": "f"}]},
    ]
    events = written(
        call(0, "web__f", '{"input": "x"}'),
        call(1, "crm__f", "{}"),
        Event(0, tokens=1, finish="tool_calls"),
        tools=tools,
    )
    output = fold_response(events)["output"]
    called = [(item["type"], item["namespace"], item["name"]) for item in output]
    assert called == [("custom_tool_call", "web", "f"), ("function_call", "crm", "f")]


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_thought_is_sealed_once_it_is_whole(finish: Any) -> None:
    seal = ContentSeal(lambda: Keyring([b"k" * 32]), "local")
    thought = Event(0, reasoning="Look.", tokens=1, thought_tokens=1, finish=finish)
    generation, _ = writer_of(thought)
    request = check(ResponsesRequest, {"input": "x"})
    writer = ResponseWriter(generation.usage, generation.info, request, seal=seal.thought)
    events: list[Any] = list(response_events(generation, writer))
    added, done = (
        next(event["item"] for event in events if event["type"] == f"response.output_item.{kind}")
        for kind in ("added", "done")
    )
    assert "encrypted_content" not in added
    assert fold_response(events)["output"][0] == done
    back = check(ResponsesRequest, {"input": [done | {"content": [], "summary": []}]}).items[0]
    opened = seal.opened(back, "input[0]")
    assert isinstance(opened, ReasoningItem) and opened.encrypted_content is None
    assert [part.text for part in opened.content or ()] == ["Look."]
    with pytest.raises(InvalidRequest) as refusal:
        ContentSeal(seal.keyring, "bob").opened(back, "input[0]")
    assert (refusal.value.code, refusal.value.param) == (
        "invalid_encrypted_content",
        "input[0].encrypted_content",
    )


def test_a_call_is_named_before_its_arguments() -> None:
    """Agents show the tool's name while the arguments come."""
    events = written(
        call(0, "f"), call(0, arguments="{}"), Event(0, finish="stop"), tools=[FUNCTION]
    )
    assert kinds(events) == [
        *OPENING,
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done"),
        *("output_item.done", "completed"),
    ]
    assert (events[2]["item"]["name"], events[2]["item"]["arguments"]) == ("f", "")
    assert (events[4]["name"], events[4]["arguments"]) == ("f", "{}")


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([Event(0, "x")], "incomplete"),
        ([Event(0, reasoning="x")], "incomplete"),
        ([call(0, "f", '{"a": 1')], "incomplete"),
        ([], "incomplete"),
    ],
)
def test_a_limit_leaves_the_last_item_incomplete(events: list[Event], status: str) -> None:
    made = written(*events, Event(0, tokens=1, finish="length"), tools=[FUNCTION])
    response = fold_response(made)
    assert made[-1]["type"] == "response.incomplete"
    assert response["status"] == "incomplete" and response["completed_at"] is None
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][-1]["status"] == status


def test_nothing_at_all_is_an_empty_text() -> None:
    """A response without an item looks to agents like one that was lost."""
    response = fold_response(written(Event(0, tokens=1, finish="stop")))
    assert [item["content"][0]["text"] for item in response["output"]] == [""]


def test_log_probabilities_are_those_of_the_texts() -> None:
    """Those of a token that shows nothing come with the text behind it, or the end."""

    def token(text: str) -> TokenLogprob:
        return TokenLogprob(text.encode(), -0.5)

    response = fold_response(
        written(
            Event(0, logprobs=(token("H"),)),
            Event(0, "Hi", logprobs=(token("i"),)),
            Event(0, finish="stop", logprobs=(token(""),)),
            include=["message.output_text.logprobs"],
        )
    )
    (part,) = response["output"][0]["content"]
    assert [each["token"] for each in part["logprobs"]] == ["H", "i", ""]


def test_a_long_silence_repeats_what_clients_count() -> None:
    _, writer = writer_of()
    assert kinds(list(writer.silence())) == OPENING
    (again,) = writer.silence()
    assert (again["type"], again["sequence_number"]) == ("response.in_progress", 2)
    assert kinds(list(writer.write(Event(0, "x"))))[0] == "output_item.added"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (APIError("Lost."), "server_error"),
        (RateLimited("Later.", retry_after=3), "rate_limit_exceeded"),
        (ShareExceeded("Full.", retry_after=3), "rate_limit_exceeded"),
        (QuotaExceeded("No more."), "insufficient_quota"),
        (TOO_LONG, "context_length_exceeded"),
        (InvalidRequest("No.", param="messages[0]"), "invalid_prompt"),
    ],
)
def test_an_answer_that_fails_says_so_and_shows_what_there_is(error: APIError, code: str) -> None:
    generation, writer = writer_of(Event(0, "Hel", tokens=1))
    events: list[Any] = [*response_events(generation, writer), *writer.failure(error)]
    assert kinds(events)[-2:] == ["error", "failed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[-2]["code"], events[-2]["message"]) == (code, error.message)
    assert events[-2]["param"] == ("input" if error.param else None)
    response = events[-1]["response"]
    assert response["status"] == "failed" and response["completed_at"] is None
    assert response["error"] == {"code": code, "message": error.message}
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"] == "Hel"


def test_a_response_says_what_the_request_was() -> None:
    body: dict[str, Any] = {
        "instructions": "Be brief.",
        "tools": [FUNCTION, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "truncation": "auto",
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "max_output_tokens": 32,
        "max_tool_calls": 3,
        "metadata": {"a": "b"},
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "service_tier": "flex",
    }
    created: Any = written(*TEXT, **body)[0]["response"]
    echoed = {name: created[name] for name in body}
    assert echoed == body | {
        "tools": [FUNCTION | {"description": None, "strict": False}],
        # There are no summaries.
        "reasoning": {"effort": "low", "summary": None},
    }
    assert created["status"] == "in_progress" and created["usage"] is None


# Open Responses, "ResponseResource": what is there in every response and never null.
NEVER_NULL = (
    *(
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "top_logprobs",
        "truncation",
    ),
    *("text", "tool_choice", "tools", "store", "background", "service_tier", "metadata", "model"),
    *("parallel_tool_calls", "output", "created_at", "reasoning"),
)


def lifecycle(events: list[Any]) -> Iterator[Any]:
    return (event["response"] for event in events if event and "response" in event)


def test_what_is_never_null() -> None:
    for response in lifecycle(written(*TEXT)):
        assert all(response[name] is not None for name in NEVER_NULL)
