"""Summaries of conversations: in one piece or in parts, within the context."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.engines.protocol import Message, Tool, ToolCall
from extensions.openai.errors import ContextLengthExceeded
from extensions.openai.generation.answer_size import Names
from extensions.openai.generation.compaction import SUMMARY, Bounds, summarised
from extensions.openai.generation.plan import Asked, ChatPlan, Served
from extensions.openai.generation.sampling.policy import Policy
from extensions.openai.generation.sampling.table import NativeSampling
from extensions.openai.generation.tools.plan import ToolPlan
from extensions.openai.generation.usage import UsageCount
from extensions.openai.limits.active_requests import ActiveRequest
from extensions.openai.limits.scheduler import Scheduler
from extensions.openai.settings import Settings
from tests.support.summarizing import ASKED, SummarizingEngine


def served(engine: SummarizingEngine, policy: Policy | None = None) -> Served:
    scheduler, request = Scheduler(queue_limit=1), ActiveRequest()
    info, settings = engine.info, Settings()
    return Served(engine, info, policy or Policy(), settings, scheduler, request, None)


def plan(*messages: Message, **more: Any) -> ChatPlan:
    asked = Asked(NativeSampling(), Names("n", "max_tokens", "logprobs"))
    return ChatPlan(asked, lambda _: messages, **more)


def summary(engine: SummarizingEngine, *messages: Message, **more: Any) -> tuple[str, UsageCount]:
    serving, usage = served(engine), UsageCount(1)
    running = summarised(plan(*messages, **more), serving, Bounds.of(serving), usage)
    while True:
        try:
            assert next(running) is None
        except StopIteration as end:
            return end.value, usage


def test_the_prompt_begins_as_that_of_an_answer() -> None:
    """So that the engine's cache has it; tools are in it, and are not called."""
    engine = SummarizingEngine()
    said = Message("system", "Be brief."), Message("user", "Hello"), Message("assistant", "Hi")
    call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    engine = SummarizingEngine(text=call)
    tools = ToolPlan((Tool("f", None, {"type": "object"}),), demanded=(Tool("f", None, {}),))
    text, usage = summary(engine, *said, tools=tools)
    assert text == call
    (prompt,) = engine.prompts
    whole = "<|system|>Be brief.<|end|><|user|>Hello<|end|><|assistant|>Hi<|end|><|user|>" + ASKED
    assert prompt.startswith(whole)
    assert usage.total() == {
        "prompt_tokens": len(prompt),
        "completion_tokens": 8,
        "total_tokens": len(prompt) + 8,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def test_a_conversation_that_does_not_fit_is_summarised_in_parts() -> None:
    engine = SummarizingEngine(context=2000)
    said = [Message("system", "Be brief.")]
    for at in range(40):
        call = ToolCall(f"c{at}", "f", "{}")
        said += [
            Message("user", f"question {at} " + "x" * 80),
            Message("assistant", None, tool_calls=(call,)),
            Message("tool", f"result {at}", tool_call_id=call.id),
        ]
    text, usage = summary(engine, *said)
    assert len(engine.prompts) > 2 and text == f"summary {len(engine.prompts)}"
    limit = Bounds.of(served(engine)).summary
    for number, prompt in enumerate(engine.prompts):
        assert len(prompt) + limit <= 2000
        assert prompt.startswith("<|system|>Be brief.<|end|><|user|>")
        assert (SUMMARY + f"summary {number}" in prompt) is (number > 0)
        # A call and its result are in the same part.
        assert "<|tool|>" not in prompt.split("<|user|>")[1 + (number > 0)].partition("<|end|>")[0]
    everything = "".join(engine.prompts)
    assert all(everything.count(f"question {at} ") == 1 for at in range(40))
    assert all(everything.count(f"result {at}<") == 1 for at in range(40))
    assert usage.total()["prompt_tokens"] == sum(map(len, engine.prompts))
    assert usage.total()["completion_tokens"] == 8 * len(engine.prompts)


def test_a_message_that_does_not_fit_loses_its_middle() -> None:
    engine = SummarizingEngine(context=1000)
    text = "begin " + "y" * 20_000 + " end"
    assert summary(engine, Message("user", text), Message("assistant", "ok"))[0] == "summary 2"
    assert "user: begin y" in engine.prompts[0] and "y end<|end|>" in engine.prompts[0]


def test_instructions_that_leave_no_place() -> None:
    with pytest.raises(ContextLengthExceeded):
        summary(SummarizingEngine(context=500), Message("system", "x" * 499), Message("user", "a"))


def test_a_model_that_says_nothing() -> None:
    assert summary(SummarizingEngine(text=" "), Message("user", "Hello"))[0] == ""


@pytest.mark.parametrize(
    ("threshold", "most", "conversation", "length"),
    [(None, 0, 6000, 1500), (1000, 0, 1000, 250), (90_000, 0, 6000, 1500), (None, 64, 6000, 64)],
)
def test_the_bounds(threshold: int | None, most: int, conversation: int, length: int) -> None:
    serving = served(SummarizingEngine(), Policy(max_tokens_limit=most))
    assert Bounds.of(serving, threshold) == Bounds(conversation, length)
