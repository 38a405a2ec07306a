"""In models whose slots cannot be cut at any token, a prompt goes on from its own tokens only."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.prompt_cache.checkpoints import (
    NONE,
    after_reading,
    end_before,
    kept,
    longest_sound,
    rewound,
)
from extensions.openai.engines.protocol import GenerateRequest, TokenLogprob
from extensions.openai.engines.tuning import Tuning
from tests.support.random_architectures import (
    write_hybrid_model,
    write_recurrent_model,
    write_sliding_window_model,
)
from tests.support.random_model import write_model

EXACT = Tuning(cache_type_k="f32", cache_type_v="f32", flash_attn="off")
WRITERS = {"recurrent": write_recurrent_model, "hybrid": write_hybrid_model}


@pytest.fixture(scope="module", params=WRITERS)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaCppEngine]:
    path = WRITERS[request.param](tmp_path_factory.mktemp("models") / "model.gguf")
    engine = LlamaCppEngine(path, name="x", parallel=1, tuning=EXACT)
    yield engine
    engine.close()


def text(number: int, length: int) -> str:
    return "".join(random.Random(number).choices("abcdfgijklmnop ", k=length))


def ask(engine: LlamaCppEngine, prompt: str, seed: int | None = None) -> TokenLogprob:
    request = GenerateRequest(prompt, 1, {"temperature": 0.0}, logprobs=5, seed=seed)
    pieces = [piece for piece in engine.generate(request) if piece is not None]
    return pieces[0].logprobs[0]


def check(engine: LlamaCppEngine, prompt: str) -> None:
    got = ask(engine, prompt)
    expected = ask(engine, prompt, seed=1)  # with a seed nothing is reused
    assert [each.bytes for each in got.top] == [each.bytes for each in expected.top]
    for mine, other in zip(got.top, expected.top, strict=True):
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_a_checkpoint_of_one_token_does_not_outlive_its_prompt(engine: LlamaCppEngine) -> None:
    for slot, first in enumerate("xy"):
        ask(engine, first + text(slot, 4))  # five tokens have a checkpoint behind the first one
    prompt = "z" + text(3, 300)
    ask(engine, prompt)
    check(engine, prompt[:200] + text(4, 30))


def test_nor_does_one_that_is_a_token_longer_than_what_prompts_share(
    engine: LlamaCppEngine,
) -> None:
    prompt = text(5, 300)
    for length in (104, 105):  # checkpoints at 100 and 101
        ask(engine, prompt[:length])
    other = prompt[:100] + "z" + text(6, 200)
    ask(engine, other)
    check(engine, other[:200] + text(7, 30))


def test_what_is_read_to_drop_checkpoints_ends_otherwise() -> None:
    assert rewound((7, 8, 9)) == (7, 8, 0)
    assert rewound((7, 8, 0)) == (7, 8, 1)


def test_which_checkpoints_have_a_whole_window() -> None:
    """One is made four tokens before a prompt's end, and one where reading began."""
    known = after_reading(NONE, 0, 300)
    assert known == ((0, True), (296, True))
    known = after_reading(known, 295, 360)
    assert known == ((0, True), (296, True), (295, False), (356, True))
    assert after_reading(known, 359, 362) == (*known, (359, False)), "no room for one at the end"
    assert after_reading(known, 359, None) == (*known, (359, False)), "not read to the end"
    assert after_reading(known, None, 400) is None
    assert kept(known, 296) == ((0, True), (296, True), (295, False))
    for shared, sound in ((400, 400), (356, 356), (355, 294), (296, 294), (294, 294)):
        assert longest_sound(shared, known) == sound


def test_how_far_to_read_behind_a_checkpoint() -> None:
    assert end_before(295, 300) is None, "one is made at 296"
    assert end_before(295, 297) is None, "none can be chosen that begins at 295"
    assert end_before(295, 298) == end_before(295, 299) == 297


def test_a_window_is_whole_behind_a_copy_and_a_checkpoint(tmp_path: Path) -> None:
    """A copy has no more tokens of a sliding window than the window. What goes on from a checkpoint that is a
    token longer lacks the first one: differences of 3e-5 and more, where rounding makes 4e-6."""
    model = write_sliding_window_model(tmp_path / "model.gguf")
    engine = LlamaCppEngine(model, name="x", parallel=1, tuning=replace(EXACT, batch_size=128))
    engine.cache.least = 32
    for number, length in enumerate((188, 200, 240, 300)):
        prompt = text(20 + number, length)
        ask(engine, prompt)
        for other in range(engine.info.parallel + 1):
            ask(engine, text(100 + 2 * number + other, 900))  # now it is a copy
        prompt = prompt[: length - 4] + text(40 + number, 5)
        hits = engine.cache_counts.hits
        got = ask(engine, prompt)
        assert engine.cache_counts.hits > hits
        expected = ask(engine, prompt, seed=1)
        assert got.logprob == pytest.approx(expected.logprob, abs=1e-5), length
    engine.close()


def test_a_conversation_goes_on_from_what_is_known(engine: LlamaCppEngine) -> None:
    prompt = text(8, 600)
    ask(engine, prompt)
    request = GenerateRequest(prompt + text(9, 20), 1, {"temperature": 0.0})
    (usage,) = [piece.prompt for piece in engine.generate(request) if piece and piece.prompt]
    assert engine.model.has_checkpoints and usage.cached >= 595


def test_which_models_have_checkpoints(tmp_path: Path) -> None:
    for writer, expected in ((write_sliding_window_model, True), (write_model, False)):
        other = LlamaCppEngine(writer(tmp_path / "model.gguf"), name="x", parallel=1)
        assert other.model.has_checkpoints is expected
        other.close()
