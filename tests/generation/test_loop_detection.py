"""Answers that repeat themselves: found if, and only if, their end is one pattern again and again."""

from __future__ import annotations

import random
from typing import Any

import pytest

from extensions.openai.engines.protocol import Piece, PromptUsage
from extensions.openai.generation.loop_detection import (
    MAX_PATTERN,
    MIN_STRETCH,
    LoopDetector,
    repeats_at_end,
)
from tests.support.api import Api
from tests.support.paced import PacedEngine

BODIES: dict[str, dict[str, Any]] = {
    "completions": {"prompt": "x", "max_tokens": 900},
    "chat/completions": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 900},
}


def by_definition(text: str, times: int) -> bool:
    """The same, by trying every pattern."""
    for period in range(1, MAX_PATTERN + 1):
        pattern = text[-period:]
        needed = max(times * period, MIN_STRETCH)
        if needed <= len(text) and (pattern * (needed // period + 1)).endswith(text[-needed:]):
            return True
    return False


@pytest.mark.parametrize("seed", range(30))
def test_it_is_what_trying_every_pattern_finds(seed: int) -> None:
    chance = random.Random(seed)
    letters = "ab" if seed % 2 else "abcdefgh \n"
    for _ in range(4):
        size = chance.choice((1, 2, 15, 16, 17, 100, 300, 511, 512, 513))
        pattern = "".join(chance.choices(letters, k=size))
        times = chance.randint(2, 5)
        text = "a start" + pattern * chance.randint(times - 1, times + 1)
        text += pattern[: chance.randrange(size)] + chance.choice(("", "", "x"))
        assert repeats_at_end(text, times) == by_definition(text, times)


def test_what_is_no_loop() -> None:
    assert not repeats_at_end("-" * (MIN_STRETCH - 1), 2)  # a rule of a table
    assert not repeats_at_end("".join(map(str, range(2000))), 2)
    assert not repeats_at_end(("x" * MAX_PATTERN + "y") * 4, 4)


def test_a_window_of_the_answer_is_enough() -> None:
    pattern = "".join(map(chr, range(1000, 1000 + MAX_PATTERN)))
    detector = LoopDetector(3)
    found = [detector.push(piece) for piece in ("no loop " * 10, *([pattern] * 3))]
    assert found == [False, False, False, True]


class Looping(PacedEngine):
    """Says the same thing without an end, thinking or not."""

    def generate(self, request: Any) -> Any:
        yield Piece("So", tokens=1, prompt=PromptUsage(1))
        for _ in range(request.max_tokens - 1):
            yield Piece(" again", tokens=1)
        yield Piece(finish="length")


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("by", ["operator", "request"])
def test_a_runaway_answer_is_ended(path: str, by: str) -> None:
    options, asked = (
        ({"loop_detection": 4}, {}) if by == "operator" else ({}, {"loop_detection": 4})
    )
    api = Api(Looping(), **options)
    whole = api.client.post(f"/v1/{path}", json={"model": "x", **BODIES[path], **asked}).json
    choice = whole["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "repetition")
    # 256 characters of " again", which has six.
    assert whole["usage"]["completion_tokens"] == 1 + -(-MIN_STRETCH // 6)
    chunks = api.chunks(path, **BODIES[path], **asked)
    last = [part for chunk in chunks for part in chunk["choices"]][-1]
    assert (last["finish_reason"], last["stop_reason"]) == ("length", "repetition")


def test_it_is_off_unless_asked_for() -> None:
    whole = Api(Looping(), loop_detection=4).complete("x", max_tokens=99, loop_detection=0)
    assert whole["usage"]["completion_tokens"] == 99
    assert whole == Api(Looping()).complete("x", max_tokens=99) | {
        name: whole[name] for name in ("id", "created", "system_fingerprint")
    }
    assert "stop_reason" not in whole["choices"][0]
