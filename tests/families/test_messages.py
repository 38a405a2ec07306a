"""What each family says, read by Anthropic's official client: thoughts, calls, and the way back."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.families.choosing import families_that, thinking
from tests.families.conftest import Speak
from tests.families.served import Served
from tests.support.families import Call, Family

OSLO: Call = ("get_weather", {"city": "Oslo"})
ANSWER, THOUGHT = "It is 7 degrees.", "Let me see."
TOOLS: list[Any] = [
    {
        "name": name,
        "description": f"Does {name}.",
        "input_schema": {"type": "object", "properties": {of: kind}},
    }
    for name, of, kind in (
        ("get_weather", "city", {"type": "string"}),
        ("get_time", "zone", {"enum": ["UTC"]}),
    )
]


@pytest.fixture
def server(family: Family, speak: Speak) -> Served:
    scripts = {
        "answer": family.says(ANSWER),
        "call": family.says("", OSLO),
        "thought": family.says(ANSWER, thought=THOUGHT),
    }
    return speak(family, scripts)


def ask(server: Served, script: str, output: list[Any] | None = None, **body: Any) -> Any:
    """The message, the same streamed and not."""
    messages = [{"role": "user", "content": f"Weather? say:{script}"}, *(output or [])]
    wanted: Any = {"model": "any", "max_tokens": 400, "messages": messages, **body}
    with anthropic.Anthropic(
        api_key="unused",
        base_url=server.process.url,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        whole = client.messages.create(**wanted)
        with client.messages.stream(**wanted) as stream:
            streamed = stream.get_final_message()
    assert plain(streamed) == plain(whole)
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    return whole


def plain(message: Any) -> list[Any]:
    """The blocks without what chance made."""
    dumped = [
        block.model_dump(exclude={"id", "parsed_output", "signature"}) for block in message.content
    ]
    return [*dumped, message.stop_reason]


def test_a_call_and_its_result(server: Served) -> None:
    message = ask(server, "call", tools=TOOLS)
    call = message.content[-1]
    assert (call.type, call.name, call.input) == ("tool_use", *OSLO)
    assert message.stop_reason == "tool_use"
    blocks = [block.model_dump(exclude_none=True) for block in message.content]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "7 say:answer"}
    output = [{"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
    answer = ask(server, "call", output, tools=TOOLS)
    # Some templates show results before the mark of the question; then the call comes again.
    assert answer.content[-1].type in ("text", "tool_use")


def test_a_demanded_call(server: Served) -> None:
    choice: Any = {"type": "tool", "name": "get_time"}
    message = ask(server, "answer", tools=TOOLS, tool_choice=choice, extra_body={"temperature": 0})
    (call,) = message.content
    assert call.name == "get_time" and call.input in ({}, {"zone": "UTC"})


@thinking
def test_a_thought_and_its_signature(server: Served) -> None:
    message = ask(server, "thought")
    thought, text = message.content
    assert (thought.type, thought.thinking.strip("\n")) == ("thinking", THOUGHT)
    assert (text.text, bool(thought.signature)) == (ANSWER, True)
    assert message.usage.output_tokens_details.thinking_tokens > 0


@families_that(lambda family: family.name == "qwen35")
def test_a_thought_comes_back_to_the_model(server: Served) -> None:
    """What the template shows of a turn that a result follows has the thought again, with or without its text
    on the wire."""
    counts = set()
    for display in ("summarized", "omitted"):
        thinking: Any = {"type": "adaptive", "display": display}
        message = ask(server, "thought", thinking=thinking)
        blocks = [block.model_dump(exclude_none=True) for block in message.content]
        assert bool(blocks[0]["thinking"]) is (display == "summarized")
        call = {"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "7"}
        output = [
            {"role": "assistant", "content": [*blocks, call]},
            {"role": "user", "content": [result]},
        ]
        usage = ask(server, "thought", output, tools=TOOLS, thinking=thinking).usage
        counts.add(usage.input_tokens + usage.cache_read_input_tokens)
    blocks[0]["signature"] = "AA=="
    usage = ask(server, "thought", output, tools=TOOLS).usage
    assert len(counts) == 1
    assert usage.input_tokens + usage.cache_read_input_tokens < counts.pop()
