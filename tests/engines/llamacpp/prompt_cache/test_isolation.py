"""A space never learns what another one's prompts are: not by the count of cached tokens, so not by time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import CacheUse, GenerateRequest
from tests.support.random_model import write_model

SLOTS = 2


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppEngine]:
    path: Path = write_model(tmp_path_factory.mktemp("models") / "model.gguf")
    engine = LlamaCppEngine(path, name="random", parallel=SLOTS)
    yield engine
    engine.close()


def cached(
    engine: LlamaCppEngine,
    prompt: str,
    space: str,
    *,
    choices: int = 1,
    logprobs: int | None = None,
) -> int:
    use = CacheUse(space, choices, 1)
    request = GenerateRequest(prompt, 3, {"temperature": 0.0}, logprobs=logprobs, cache=use)
    usages = [piece.prompt for piece in engine.generate(request) if piece and piece.prompt]
    return usages[0].cached


def text(number: int, length: int) -> str:
    return "".join(random.Random(number).choices("abcdfgijklmnop ", k=length))


@pytest.mark.parametrize("length", [300, 1200], ids=["by-letters", "by-tokens"])
@pytest.mark.parametrize("logprobs", [None, 2], ids=["plain", "logprobs"])
def test_what_one_space_has_read_is_new_to_another(
    engine: LlamaCppEngine, length: int, logprobs: int | None
) -> None:
    prompt = text(length + (logprobs or 0), length)
    assert cached(engine, prompt, "ann", logprobs=logprobs) == 0
    assert cached(engine, prompt, "ann") > 0.9 * length, "its own is known"
    for space in (
        "ben",
        "cleo",
        "",
    ):  # more than slots: each slot has been ann's, and has been moved
        assert cached(engine, prompt, space, logprobs=logprobs) == 0
        assert cached(engine, prompt, space) > 0.9 * length


def test_copies_are_not_shared_either(engine: LlamaCppEngine) -> None:
    prompt = text(7, 1400)
    cached(engine, prompt, "ann")
    for number in range(8, 8 + 2 * SLOTS):
        cached(engine, text(number, 1400), "ben")
    assert engine.cache_counts.prompts
    assert cached(engine, prompt, "ben") == 0
    hits = engine.cache_counts.hits
    assert cached(engine, prompt, "ann") > 900, "from its copy"
    assert engine.cache_counts.hits == hits + 1


def test_scored_prompts_leave_nothing_behind(engine: LlamaCppEngine) -> None:
    prompt = text(20, 40)
    tokens = engine.tokenize(prompt)
    assert [entry for entry in engine.score(tokens, 0) if entry is not None]
    for space in ("ann", "ben", "cleo"):
        assert cached(engine, prompt, space) == 0
