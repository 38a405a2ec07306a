"""Thoughts of each family: told apart from the answer, bounded, left out, and demanded beside a schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.families.choosing import families_that, thinking
from tests.families.conftest import Speak
from tests.families.served import Served
from tests.families.tools import TOOLS
from tests.support.families import Call, Family

OSLO: Call = ("get_weather", {"city": "Oslo"})
ANSWER, THOUGHT = "The answer is 4.", "Let me see: two and two, that is four and not five."
NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 5}},
    "required": ["n"],
    "additionalProperties": False,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "vLLM": {"thinking_token_budget": 2},
    "llama.cpp": {"reasoning_budget": 2},
    "llama.cpp, earlier": {"thinking_budget_tokens": 2},
    "Anthropic": {"thinking": {"type": "enabled", "budget_tokens": 2}},
    "Qwen": {"thinking_budget": 2},
    "OpenRouter": {"reasoning": {"max_tokens": 2}},
}


def scripts(family: Family) -> dict[str, str]:
    return {
        "answer": family.says(ANSWER),
        "thought": family.says(ANSWER, thought=THOUGHT),
        "thoughtcall": family.says("", OSLO, thought=THOUGHT),
        "between": family.says("", OSLO, thought=THOUGHT) + "\n<think>\nAgain.\n</think>\n\nDone.",
        "lines": family.says(ANSWER, thought="One.\n\n  Two.\n- three"),
    }


@pytest.fixture
def server(family: Family, speak: Speak) -> Served:
    return speak(family, scripts(family))


@thinking
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
def test_a_thought_is_told_apart(server: Served, tools: Any) -> None:
    more = {} if tools is None else {"tools": tools}
    answer = server.ask("thought", **more)
    assert (answer.content, answer.reasoning.strip("\n")) == (ANSWER, THOUGHT)
    assert answer.finish == "stop"


@families_that(lambda family: family.name in ("qwen3", "qwen35"))
def test_a_thought_behind_a_call_is_told_apart(server: Served) -> None:
    answer = server.ask("between", tools=TOOLS)
    assert (answer.calls, answer.content, answer.finish) == ([OSLO], "Done.", "tool_calls")
    assert answer.reasoning == f"{THOUGHT}\n\nAgain."
    assert answer.raw["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


@thinking
def test_the_lines_of_a_thought_stay(server: Served) -> None:
    answer = server.ask("lines")
    assert (answer.content, answer.reasoning.strip("\n")) == (ANSWER, "One.\n\n  Two.\n- three")


@thinking
def test_a_thought_can_be_left_out_of_the_answer(server: Served) -> None:
    answer = server.ask("thought", include_reasoning=False)
    assert (answer.content, answer.reasoning) == (ANSWER, "")


@thinking
@pytest.mark.parametrize("spelling", BUDGETS)
def test_a_budget_ends_a_thought(server: Served, spelling: str) -> None:
    free = server.ask("thought")
    answer = server.ask("thought", **BUDGETS[spelling])
    assert len(answer.reasoning) < len(free.reasoning)
    assert answer.content == ANSWER
    assert answer.finish == "stop"


@thinking
def test_no_budget_at_all_is_no_thought(server: Served) -> None:
    answer = server.ask("thought", reasoning_budget=0)
    assert (answer.content, answer.reasoning.strip()) == (ANSWER, "")


@thinking
@pytest.mark.parametrize("effort", ["low", "medium", "high"])
def test_every_effort_is_taken(server: Served, effort: str) -> None:
    answer = server.ask("thought", reasoning_effort=effort)
    assert answer.content == ANSWER
    assert answer.reasoning


# Behind a thought of gpt-oss that is closed for it, the script would begin again.
@families_that(lambda family: family.thought and family.name != "gptoss")
def test_a_budget_beside_a_call(server: Served) -> None:
    answer = server.ask("thoughtcall", tools=TOOLS, thinking_token_budget=2)
    assert (answer.calls, answer.content) == ([OSLO], "")


@thinking
def test_a_thought_before_json(server: Served) -> None:
    answer = server.ask(
        "thought",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": NUMBER}},
        chat_template_kwargs={"enable_thinking": True},
        temperature=0,
    )
    assert json.loads(answer.content)["n"] in (3, 4, 5)
    assert answer.reasoning.strip("\n") == THOUGHT


@thinking
def test_a_model_that_thinks_says_so(server: Served) -> None:
    (model,) = server.client.get("/v1/models").json()["data"][:1]
    assert "reasoning" in json.dumps(model)


@families_that(lambda family: not family.thought)
def test_a_family_that_does_not_think_takes_little_effort(server: Served) -> None:
    for effort in ("none", "minimal", "low", "medium"):
        assert server.whole("answer", reasoning_effort=effort).content == ANSWER
