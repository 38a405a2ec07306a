"""Write the training corpus and the held-out prompts as JSON lines.

    python -m tiny.corpus --out build/corpus --examples 210000

The same seed gives the same bytes. Everything is made by the generators in this folder.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiny import chat, skills, structured, talk, tools, writing
from tiny.talk import FACTS, POPULAR, TALK
from tiny.text import Example, Maker, Message, Rng, assistant, pair, user

SEED, HELDOUT_SEED = 5001, 20_261_121

# The maker of each behaviour, its share of the examples (not of the tokens) in parts of the total, and how many
# of its prompts are kept for the evaluation.
MIXTURE: dict[str, tuple[Maker, int, int]] = {
    "popular": (talk.popular, 15, 0),
    "talk": (talk.talk, 75, 0),
    "facts": (talk.fact, 190, 0),
    "unknown": (talk.unknown, 75, 20),
    "pasted": (talk.pasted, 4, 0),
    "big_sums": (skills.big_sums, 12, 8),
    "repeat": (talk.repeat, 150, 40),
    "repeat_long": (talk.repeat_long, 30, 8),
    "repeat_times": (talk.repeat_times, 10, 6),
    "emoji": (talk.emoji, 5, 4),
    "count": (skills.count, 35, 12),
    "known_list": (skills.known_list, 20, 8),
    "some_of": (skills.some_of, 20, 8),
    "order": (skills.order, 20, 8),
    "sums": (skills.sums, 45, 16),
    "capitals": (skills.capital, 45, 16),
    "opposites": (skills.opposite, 20, 10),
    "translate": (skills.translate, 30, 12),
    "joke": (writing.joke, 12, 6),
    "haiku": (writing.haiku, 14, 8),
    "poem": (writing.poem, 14, 8),
    "story": (writing.story, 25, 12),
    "plain": (writing.plain, 60, 0),
    "fill": (writing.hole, 25, 0),
    "json": (chat.json_answer, 30, 14),
    "json_wrap": (chat.json_wrap, 25, 10),
    "memory": (chat.memory, 45, 16),
    "secret": (chat.secret, 25, 14),
    "memory_none": (chat.no_memory, 8, 4),
    "again": (chat.again, 10, 6),
    "system_name": (chat.persona, 20, 10),
    "system_ending": (chat.ending, 20, 10),
    "tool_call": (tools.call, 90, 40),
    "tool_answer": (tools.answer_from_tool, 45, 20),
    "tool_none": (tools.no_call, 30, 12),
    "schema": (structured.of_schema, 190, 0),
    "schema_copy": (structured.from_prompt, 330, 0),
    "schema_call": (structured.call, 150, 0),
    "any_object": (structured.any_object, 40, 0),
    "terse": (structured.terse, 60, 0),
    "conversation": (chat.conversation, 50, 16),
    "long": (chat.long_conversation, 6, 8),
}
# The order in which the held-out prompts are drawn: it decides which they are.
_DRAWN = (
    "unknown repeat count known_list some_of order sums capitals opposites translate joke haiku poem story json json_wrap "
    "secret big_sums memory memory_none again system_name system_ending tool_call tool_answer tool_none conversation long "
    "emoji repeat_times repeat_long"
).split()
# For these the last question alone is common; the whole conversation is what is held out.
_WHOLE = frozenset("json_wrap secret memory memory_none again conversation long system_name system_ending".split())
# All others stand behind a system prompt that changes nothing, at times.
_NO_SYSTEM = frozenset(
    "plain fill tool_call tool_answer tool_none schema schema_copy schema_call any_object terse".split()
)
_SYSTEM_SHARE = 0.30


def normal(text: str) -> str:
    """A prompt without case, extra blanks and closing marks, for comparing."""
    return " ".join(text.lower().split()).rstrip("?.! ")


def user_keys(messages: list[Message]) -> list[str]:
    """The normal form of every user message."""
    return [normal(m["content"]) for m in messages if m["role"] == "user"]


def whole_key(messages: list[Message]) -> str:
    """The normal form of everything but the last answer, as one string."""
    return "\x1f".join(normal(m.get("content") or "") for m in messages[:-1])


def _unfit(name: str, example: Example) -> bool:
    """Whether an example does not show what its behaviour is to be judged by."""
    if name == "memory_none":
        return len(example.messages) <= 2
    other = name in ("tool_call", "tool_answer") and example.behaviour != name
    return other or (name == "tool_call" and bool(example.messages[-1]["content"]))


def heldout() -> list[Example]:
    """The prompts kept for the evaluation; the same list on every call."""
    rng = Rng(HELDOUT_SEED)
    common = {normal(ask) for ask, _ in POPULAR}
    seen: set[str] = set()
    found = [pair("facts", ask, fact["answers"][0], fact["expect"]) for fact in FACTS for ask in fact["unseen"]]
    for kind, row in TALK.items():
        found += [pair(kind, ask, row["answers"][0], row["expect"]) for ask in row["unseen"]]
    for name in _DRAWN:
        maker, _, count = MIXTURE[name]
        while count:
            example = maker(rng)
            whole, last = whole_key(example.messages), user_keys(example.messages)[-1]
            if whole in seen or (name not in _WHOLE and last in common) or _unfit(name, example):
                continue
            seen.add(whole)
            example.behaviour = name
            found.append(example)
            count -= 1
    return found


def long_history(rng: Rng, turns: int) -> Example:
    """A history of `turns` exchanges (about 60 tokens each), then a project question."""
    messages: list[Message] = []
    for _ in range(turns):
        messages += MIXTURE[rng.choice(["facts", "talk", "repeat", "capitals"])][0](rng).messages
    fact = FACTS[0]
    messages += [user(fact["unseen"][0]), assistant(fact["answers"][0])]
    return Example("long_history", messages, expect=fact["expect"])


class Guard:
    """Says whether a training example would give a held-out prompt away."""

    def __init__(self, examples: list[Example]) -> None:
        self.whole = {whole_key(e.messages) for e in examples}
        self.single = {user_keys(e.messages)[-1] for e in examples if e.behaviour not in _WHOLE}

    def clean(self, messages: list[Message]) -> list[Message]:
        """The conversation without the exchanges (question, answer) that would leak."""
        kept: list[Message] = []
        for message in messages:
            last = kept[-1] if kept else {"role": ""}
            answers = message["role"] == "assistant" and last["role"] == "user"
            if answers and normal(last["content"]) in self.single:
                kept.pop()
            else:
                kept.append(message)
        return kept

    def leaks(self, messages: list[Message]) -> bool:
        """True if any user message, or the conversation as a whole, is held out."""
        return any(key in self.single for key in user_keys(messages)) or whole_key(messages) in self.whole


def examples(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """`count` training records in random order, none with a held-out prompt."""
    rng = Rng(seed)
    guard = Guard(heldout())
    names, shares = list(MIXTURE), [share for _, share, _ in MIXTURE.values()]
    while count:
        name = rng.choices(names, shares)[0]
        example = MIXTURE[name][0](rng)
        if name not in _NO_SYSTEM and rng.random() < _SYSTEM_SHARE:
            example = chat.with_system(rng, example)
        if name in ("conversation", "long"):
            example.messages = guard.clean(example.messages)
        if not (example.messages or example.text) or (example.messages and guard.leaks(example.messages)):
            continue
        example.behaviour, example.expect, example.exact = name, (), False
        count -= 1
        yield example.as_record()


def dump(record: dict[str, Any]) -> str:
    """One line of JSON with real letters."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--examples", type=int, default=210_000)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    with (options.out / "train.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for record in examples(options.seed, options.examples):
            counts[record["behaviour"]] += 1
            file.write(dump(record) + "\n")
    for name, number in counts.most_common():
        print(f"{name:16} {number}")


if __name__ == "__main__":
    main()
