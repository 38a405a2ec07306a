"""The lines of an answer of Ollama's, made of the events of a generation."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.dialects.ollama.writer import LineFold, LineWriter
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import PromptUsage, TokenLogprob, ToolCallDelta
from extensions.openai.generation.events import Event
from extensions.openai.generation.plan import Generation
from extensions.openai.generation.usage import UsageCount


def written(*events: Event | None, **options: Any) -> list[Any]:
    made = (event for event in events)
    generation = Generation(made, EchoEngine().info, UsageCount(1))
    return list(LineWriter(generation, **{"chat": True, **options}).lines())


def folded(lines: list[Any]) -> Any:
    fold = LineFold()
    for line in lines:
        if line is not None:
            fold.add(line)
    assert fold.has_ended
    return fold.whole()


THOUGHT = [
    Event(0, reasoning="Hm", tokens=1, prompt=PromptUsage(10, 4)),
    None,
    Event(0, "Hi", reasoning=".", tokens=1),
    Event(0, tokens=1, finish="stop"),
]


def test_thoughts_have_a_field_of_their_own() -> None:
    lines = written(*THOUGHT)
    assert lines[1] is None
    said = [line["message"] for line in lines if line is not None]
    assert said[0] == {"role": "assistant", "content": "", "thinking": "Hm"}
    assert said[1] == {"role": "assistant", "content": "Hi", "thinking": "."}
    whole = folded(lines)
    assert whole["message"] == {"role": "assistant", "content": "Hi", "thinking": "Hm."}
    assert (whole["prompt_eval_count"], whole["eval_count"]) == (10, 3)
    prompt = folded(written(*THOUGHT, chat=False))
    assert (prompt["response"], prompt["thinking"]) == ("Hi", "Hm.") and "message" not in prompt


def test_calls_come_whole_and_in_their_order() -> None:
    lines = written(
        Event(0, "Well.", tool_calls=(ToolCallDelta(0, '{"a"', "call_1", "f"),)),
        Event(0, tool_calls=(ToolCallDelta(0, ": 1}"), ToolCallDelta(1, "", "call_2", "g"))),
        Event(0, finish="tool_calls"),
    )
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert calls == [
        {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
        {"id": "call_2", "function": {"index": 1, "name": "g", "arguments": {}}},
    ]
    whole = folded(lines)
    assert whole["message"]["tool_calls"] == calls and whole["done_reason"] == "stop"


@pytest.mark.parametrize(
    ("cut", "found"),
    [('{"a": "x", "b": "y', {"a": "x"}), ('{"a"', {}), ("[1", {}), ("{nonsense", {})],
)
def test_a_call_that_a_limit_has_cut_has_what_there_is(cut: str, found: Any) -> None:
    call = ToolCallDelta(0, cut, "call_1", "f")
    whole = folded(written(Event(0, tool_calls=(call,)), Event(0, finish="length")))
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == found
    assert whole["done_reason"] == "length"


def test_log_probabilities_where_they_are_asked_for() -> None:
    token = TokenLogprob(b"Hi", -0.5, (), 1)
    events = (Event(0, "Hi", logprobs=(token,)), Event(0, finish="stop"))
    assert "logprobs" not in folded(written(*events))
    (entry,) = folded(written(*events, logprobs=True))["logprobs"]
    assert (entry["token"], entry["logprob"], entry["bytes"]) == ("Hi", -0.5, [72, 105])


def test_what_a_session_keeps_of_it() -> None:
    fold = LineFold()
    for line in written(
        Event(0, "x", reasoning="y", tool_calls=(ToolCallDelta(0, '{"a": 1}', "call_1", "f"),)),
        Event(0, finish="stop"),
    ):
        fold.add(line)
    kept = fold.said()
    assert (kept.role, kept.content, kept.reasoning) == ("assistant", "x", "y")
    assert kept.tool_calls[0].arguments == '{"a":1}'
