"""Counting: prompts once each, answers over all choices."""

from __future__ import annotations

from extensions.openai.engines.protocol import PromptUsage
from extensions.openai.generation.events import Event
from extensions.openai.generation.usage import UsageCount


def test_a_prompt_counts_once_however_many_choices_it_has() -> None:
    count = UsageCount(n=3)
    for index in range(6):
        count.add(Event(index, tokens=2, prompt=PromptUsage(10 if index < 3 else 7)))
        count.add(Event(index, tokens=1, finish="stop"))
    assert count.total() == {
        "prompt_tokens": 17,
        "completion_tokens": 18,
        "total_tokens": 35,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def test_tokens_of_reasoning_count_among_the_others_and_apart() -> None:
    count = UsageCount(n=1)
    count.add(Event(0, reasoning="hm", tokens=3, thought_tokens=3, prompt=PromptUsage(1)))
    count.add(Event(0, "so", tokens=2, finish="stop"))
    usage = count.total()
    assert usage["completion_tokens"] == 5
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 3}


def test_cached_tokens_are_those_that_the_first_choice_found() -> None:
    """What later choices find was left by the first one, in whatever order they tell it."""
    count = UsageCount(n=2)
    count.add(Event(1, prompt=PromptUsage(10, cached=9)))
    count.add(Event(0, prompt=PromptUsage(10, cached=4)))
    assert count.total()["prompt_tokens_details"] == {"cached_tokens": 4}


def test_nothing_counts_nothing() -> None:
    assert UsageCount(n=1).total()["total_tokens"] == 0
