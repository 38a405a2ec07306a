"""Conversations in turn compute what is new in them, as long as slots and copies hold them all, and else only
what does not fit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.loading import params
from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.engines.tokens.gguf import read_header
from tests.support.random_model import CONTEXT

LENGTH, NEW, SLOTS = 600, 20, 4  # tokens of a conversation, and of a turn


def computed(engine: LlamaCppEngine, prompt: str) -> int:
    request = GenerateRequest(prompt, 1, {"temperature": 0.0})
    (usage,) = [piece.prompt for piece in engine.generate(request) if piece and piece.prompt]
    return usage.tokens - usage.cached


class Turns(Protocol):
    def __call__(self, conversations: int, rounds: int, shared: int = 0) -> list[int]:
        """What rounds of so many conversations compute, which begin with so many tokens in common."""


@pytest.fixture
def turns(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Turns]]:
    """Starts an engine whose memory holds so many copies, and its KV cache so many contexts."""
    engines: list[LlamaCppEngine] = []

    def started(copies: int, contexts: int = SLOTS) -> Turns:
        token = read_header(random_model).kv_bytes_per_token
        monkeypatch.setattr(params, "memory_bytes", lambda: 4 * contexts * CONTEXT * token)
        # With what turns add, and llama.cpp's positions and tokens.
        size = (LENGTH + 8 * NEW) * (token + 32)
        engine = LlamaCppEngine(random_model, name="x", parallel=SLOTS, prompt_cache=copies * size)
        engine.cache.least = 32  # as for a model that is not tiny
        engines.append(engine)

        def run(conversations: int, rounds: int, shared: int = 0) -> list[int]:
            drawn = random.Random(conversations)

            def words(length: int) -> str:
                return "".join(drawn.choices("abcdfgijklmnop ", k=length))

            system = words(shared)
            prompts = [system + words(LENGTH - shared) for _ in range(conversations)]
            found = [sum(computed(engine, prompt) for prompt in prompts)]
            for _ in range(rounds - 1):
                prompts = [prompt + words(NEW) for prompt in prompts]
                found.append(sum(computed(engine, prompt) for prompt in prompts))
            return found

        return run

    yield started
    for engine in engines:
        engine.close()


@pytest.mark.parametrize(
    ("conversations", "copies", "contexts"),
    [(6, 2, SLOTS), (4, 0, 2), (5, 2, 1)],
    ids=["own-kv-cache", "shared", "shared-and-full"],
)
def test_a_turn_computes_what_is_new(
    conversations: int, copies: int, contexts: int, turns: Callable[..., Turns]
) -> None:
    assert turns(copies, contexts)(conversations, 3)[1:] == [conversations * NEW] * 2


def test_conversations_that_begin_alike_compute_what_is_new(turns: Callable[..., Turns]) -> None:
    first, *others = turns(2)(6, 3, shared=400)
    assert first <= 400 + 6 * 200, "their beginning is computed once"
    assert others == [6 * NEW] * 2, "each stays whole, though all have their beginning in common"


def test_of_more_conversations_than_fit_the_rest_stays(turns: Callable[..., Turns]) -> None:
    *_, last = turns(2)(8, 6)
    assert last <= 3 * (LENGTH + 5 * NEW) + 5 * NEW, (
        "all of two or three, and what is new in the others"
    )
