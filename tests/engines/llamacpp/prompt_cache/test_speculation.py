"""Guesses change no answer at temperature 0, also behind prompts whose state was moved."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.engines.tuning import Tuning
from tests.support.random_model import write_model

EXACT: dict[str, Any] = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attn": "off"}
CONVERSATIONS, TURNS = 3, 3  # with two slots


def answers(model: Path, **guesses: Any) -> list[str]:
    engine = LlamaCppEngine(model, name="x", parallel=1, tuning=Tuning(**EXACT, **guesses))
    engine.cache.least = 32
    drawn = random.Random(1)
    prompts = ["".join(drawn.choices("abcdfgijklmnop ", k=300)) for _ in range(CONVERSATIONS)]
    found = []
    for turn in range(TURNS):
        for prompt in prompts:
            request = GenerateRequest(prompt + "abcd" * turn, 20, {"temperature": 0.0})
            pieces = [piece for piece in engine.generate(request) if piece is not None]
            found.append("".join(piece.text for piece in pieces))
    assert engine.cache_counts.hits > 0
    engine.close()
    return found


@pytest.fixture(scope="module")
def expected(random_model: Path) -> list[str]:
    return answers(random_model)


def test_a_draft_model_changes_no_answer(
    random_model: Path, expected: list[str], tmp_path: Path
) -> None:
    draft = write_model(tmp_path / "draft.gguf", seed=2)
    assert answers(random_model, draft_model=draft) == expected


@pytest.mark.parametrize("kind", ["ngram-simple", "ngram-map-k", "ngram-mod"])
def test_guesses_from_earlier_text_change_no_answer(
    kind: str, random_model: Path, expected: list[str]
) -> None:
    assert answers(random_model, speculative=kind) == expected
