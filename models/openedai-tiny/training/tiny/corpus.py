"""Write the training corpus as JSON lines.

    python -m tiny.corpus --out build/corpus --examples 210000

The same seed gives the same bytes. Everything is made by the generators in this folder.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiny import chat, skills, structured, talk, tools, writing
from tiny.text import Maker, Message, Rng, arguments, load

SEED = 5001
_MODULES = {"chat": chat, "skills": skills, "structured": structured, "talk": talk, "tools": tools, "writing": writing}
# The maker of each behaviour, and its share.
MIXTURE: dict[str, tuple[Maker, int]] = {}
for _name, (_maker, _share) in load("mixture").items():
    _module, _function = _maker.split(".")
    MIXTURE[_name] = (getattr(_MODULES[_module], _function), _share)
# Of these held-out prompts the last question alone is common; the whole conversation is what is held out.
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


class Guard:
    """Says whether a training example would give a held-out prompt away."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.whole = {whole_key(row["messages"]) for row in rows}
        self.single = {user_keys(row["messages"])[-1] for row in rows if row["behaviour"] not in _WHOLE}

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
    guard = Guard(load("heldout.jsonl"))
    names, shares = list(MIXTURE), [share for _, share in MIXTURE.values()]
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
    options = arguments(out=Path, examples=210_000, seed=SEED)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "train.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for record in examples(options.seed, options.examples):
            file.write(dump(record) + "\n")


if __name__ == "__main__":
    main()
