"""The prompts kept for the evaluation, and the rule that keeps them out of training."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from tiny.example import Example, assistant, pair, user
from tiny.facts import FACTS
from tiny.mixture import MIXTURE
from tiny.popular import POPULAR
from tiny.talk import TALK

SEED = 20_261_121
# How many generated prompts are kept for each behaviour.
GENERATED = {
    "unknown": 20, "repeat": 40, "count": 12, "known_list": 8, "some_of": 8, "order": 8,
    "sums": 16, "capitals": 16, "opposites": 10, "translate": 12, "joke": 6, "haiku": 8,
    "poem": 8, "story": 12, "json": 14, "json_wrap": 10, "secret": 14, "big_sums": 8,
    "memory": 16, "memory_none": 4, "again": 6,
    "system_name": 10, "system_ending": 10, "tool_call": 40, "tool_answer": 20, "tool_none": 12,
    "conversation": 16, "long": 8, "emoji": 4, "repeat_times": 6,
    "repeat_long": 8,
}  # fmt: skip
# For these the last question alone is common; the whole conversation is what is held out.
_WHOLE = {
    "json_wrap", "secret", "memory", "memory_none", "again", "conversation", "long",
    "system_name", "system_ending",
}  # fmt: skip


def normal(text: str) -> str:
    """A prompt without case, extra blanks and closing marks, for comparing."""
    return " ".join(text.lower().split()).rstrip("?.! ")


def user_keys(messages: Iterable[dict[str, Any]]) -> list[str]:
    """The normal form of every user message."""
    return [normal(m["content"]) for m in messages if m["role"] == "user"]


def whole_key(messages: list[dict[str, Any]]) -> str:
    """The normal form of everything but the last answer, as one string."""
    return "\x1f".join(normal(m.get("content") or "") for m in messages[:-1])


def _written() -> list[Example]:
    """The prompts written by hand for facts and small talk."""
    found = [pair("facts", ask, fact.answers[0], fact.expect) for fact in FACTS for ask in fact.unseen]
    for kind, (_, unseen, answers, expect) in TALK.items():
        found += [pair(kind, ask, answers[0], expect) for ask in unseen]
    return found


def build() -> list[Example]:
    """All held-out examples; the same list on every call."""
    rng = random.Random(SEED)
    common = {normal(ask) for ask, _ in POPULAR}
    seen: set[str] = set()
    found = _written()
    for name, count in GENERATED.items():
        made = 0
        while made < count:
            example = MIXTURE[name][0](rng)
            whole = whole_key(example.messages)
            last = user_keys(example.messages)[-1]
            if whole in seen or (name not in _WHOLE and last in common):
                continue
            if name == "memory_none" and len(example.messages) <= 2:
                continue
            if name in ("tool_call", "tool_answer") and example.behaviour != name:
                continue
            if name == "tool_call" and example.messages[-1]["content"]:
                continue
            if name == "tool_none" and last in common:
                continue
            seen.add(whole)
            example.behaviour = name
            found.append(example)
            made += 1
    return found


class Guard:
    """Says whether a training example would give a held-out prompt away."""

    def __init__(self, examples: list[Example]) -> None:
        self.whole = {whole_key(e.messages) for e in examples}
        self.single = {user_keys(e.messages)[-1] for e in examples if e.behaviour not in _WHOLE}

    def clean(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The conversation without the exchanges (question, answer) that would leak."""
        kept: list[dict[str, Any]] = []
        for message in messages:
            last = kept[-1] if kept else {"role": ""}
            answers = message["role"] == "assistant" and last["role"] == "user"
            if answers and normal(last["content"]) in self.single:
                kept.pop()
                continue
            kept.append(message)
        return kept

    def leaks(self, messages: list[dict[str, Any]]) -> bool:
        """True if any user message, or the conversation as a whole, is held out."""
        if any(key in self.single for key in user_keys(messages)):
            return True
        return whole_key(messages) in self.whole


def long_history(rng: random.Random, turns: int) -> Example:
    """A history of `turns` exchanges (about 60 tokens each), then a project question.

    Used for the long-context check.
    """
    messages: list[dict[str, Any]] = []
    for _ in range(turns):
        messages += MIXTURE[rng.choice(["facts", "talk", "repeat", "capitals"])][0](rng).messages
    fact = FACTS[0]
    messages += [user(fact.unseen[0]), assistant(fact.answers[0])]
    return Example("long_history", messages, expect=fact.expect)
