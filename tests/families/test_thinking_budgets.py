"""Thoughts with a budget, of each family that thinks, by the real llama.cpp."""

from __future__ import annotations

from typing import Any

import pytest

from tests.families.conftest import Speak
from tests.families.served import Served
from tests.support.families import FAMILIES, Family

THINKING = [family for family in FAMILIES.values() if family.thought is not None]
THOUGHT = "Let me see what this could be, and more."
ANSWER = "The answer is 4."

families = pytest.mark.parametrize("family", THINKING, ids=lambda family: family.name)


@pytest.fixture
def served(family: Family, speak: Speak) -> Served:
    return speak(family, {"answer": family.says(ANSWER, thought=THOUGHT)})


def thought_tokens(answer: Any) -> int:
    return int(answer.raw["usage"]["completion_tokens_details"]["reasoning_tokens"])


@families
@pytest.mark.parametrize("budget", [1, 3, 6])
def test_the_thought_ends_and_the_answer_comes(family: Family, served: Served, budget: int) -> None:
    free = served.ask("answer")
    assert (free.reasoning, free.content) == (THOUGHT, ANSWER)
    answer = served.ask("answer", thinking_token_budget=budget)
    assert answer.content == ANSWER and answer.finish == "stop"
    assert THOUGHT.startswith(answer.reasoning) and 0 < len(answer.reasoning) < len(THOUGHT)
    assert thought_tokens(answer) <= budget < thought_tokens(free)
    # What was cut from the thought, and the mark that closes it, was not sampled.
    assert answer.tokens <= free.tokens - (thought_tokens(free) - thought_tokens(answer))
    assert answer.raw["usage"]["prompt_tokens"] == free.raw["usage"]["prompt_tokens"]


@families
def test_a_budget_that_is_not_spent_changes_nothing(family: Family, served: Served) -> None:
    free = served.ask("answer")
    for body in ({"thinking_budget": 1000}, {"reasoning_budget": -1}):
        answer = served.ask("answer", **body)
        assert (answer.reasoning, answer.content, answer.tokens) == (THOUGHT, ANSWER, free.tokens)


@families
@pytest.mark.parametrize(
    "body",
    [
        {"thinking_budget": 0},
        {"reasoning_effort": "none"},
        {"reasoning_effort": "minimal"},
        {"think": False},
        {"chat_template_kwargs": {"thinking_budget": 0}},
    ],
)
def test_no_thought(family: Family, served: Served, body: dict[str, Any]) -> None:
    answer = served.ask("answer", **body)
    assert (answer.reasoning, answer.content, answer.finish) == ("", ANSWER, "stop")
    assert thought_tokens(answer) == 0


@families
def test_probabilities_limits_choices_and_stop_strings(family: Family, served: Served) -> None:
    answer = served.ask("answer", thinking_budget=3, logprobs=True)
    reported = bytes(byte for entry in answer.logprobs for byte in entry["bytes"])
    assert reported.decode() == answer.content == ANSWER
    cut = served.ask("answer", thinking_budget=3, max_tokens=answer.tokens - 2)
    assert cut.tokens == answer.tokens - 2 and cut.finish == "length"
    assert cut.reasoning == answer.reasoning and ANSWER.startswith(cut.content)
    whole = served.post("answer", thinking_budget=3, n=3, seed=7).json()
    output = [choice["message"]["content"] for choice in whole["choices"]]
    assert output == [ANSWER] * 3
    assert whole["usage"]["completion_tokens"] == 3 * answer.tokens
    stopped = served.ask("answer", thinking_budget=3, stop=["Let", " is"])
    assert (stopped.reasoning, stopped.content) == (answer.reasoning, "The answer")


@families
def test_every_effort_is_taken(family: Family, served: Served) -> None:
    for effort in ("low", "medium", "high", "xhigh", "max"):
        answer = served.ask("answer", reasoning_effort=effort)
        assert (answer.reasoning, answer.content) == (THOUGHT, ANSWER)
    (model,) = served.client.get("/v1/models").json()["data"][:1]
    assert "reasoning" in model["capabilities"]


@pytest.mark.parametrize(
    "family",
    [family for family in THINKING if "reasoning_effort" not in family.template],
    ids=lambda family: family.name,
)
def test_an_effort_leaves_room_for_the_answer(family: Family, served: Served) -> None:
    """Where the template does not know of efforts they are budgets, of a share of the limit at most."""
    answer = served.ask("answer", reasoning_effort="low", max_tokens=20)
    assert thought_tokens(answer) <= 20 * 0.2
    assert (answer.content, answer.finish) == (ANSWER, "stop")


def test_a_call_behind_a_thought_that_was_cut(speak: Speak) -> None:
    for name in ("qwen3", "qwen35"):
        family = FAMILIES[name]
        call = ("get_weather", {"city": "Oslo"})
        served = speak(family, {"call": family.says("", call, thought=THOUGHT)})
        tools = [{"type": "function", "function": {"name": "get_weather"}}]
        answer = served.ask("call", thinking_budget=3, tools=tools)
        assert answer.calls == [call] and answer.finish == "tool_calls"
        assert THOUGHT.startswith(answer.reasoning) and answer.reasoning != THOUGHT
