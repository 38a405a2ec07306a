"""Loaders that look like Transformers'."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from extensions.openai.engines.webui.engine import WebuiEngine
from tests.engines.webui.test_engine import TINY, greedy, read
from tests.webui_host import install
from tests.webui_host.numpy_llama import Cache, NumpyLlama


class LlamacppHF(NumpyLlama):
    """A loader that looks like Transformers': it tells what comes next, and remembers what it has read."""

    past_seq: Any = None

    def __call__(self, *, input_ids: Any) -> SimpleNamespace:  # type: ignore[override]
        known = self.past_seq
        assert known is None or len(known) < input_ids.shape[-1], "the last token is read again"
        self.past_seq = input_ids[0]
        return SimpleNamespace(logits=self.read(input_ids[0], Cache(self.layers))[None, -1:])


def test_loaders_that_look_like_transformers_score_prompts() -> None:
    with install("2026", TINY) as host:
        host.load()
        engine = WebuiEngine()
        prompt = engine.tokenize("Once upon a time")
        expected = [score for score in engine.score(prompt, 2) if score is not None]
        host.shared.model = LlamacppHF(TINY)
        host.shared.model.past_seq = np.array(prompt)
        scores = [score for score in engine.score(prompt, 2) if score is not None]
        for score, other in zip(scores, expected, strict=True):
            assert score.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert [each.bytes for each in score.top] == [each.bytes for each in other.top]


def test_a_prompt_that_is_remembered_whole_is_read_from_its_last_token_on() -> None:
    """ExLlamav3_HF would put it one place too far."""
    with install("2026", TINY) as host:
        host.load()
        engine, model = WebuiEngine(), LlamacppHF(TINY)
        prompt = engine.tokenize("Once upon a time")
        host.shared.model = model
        for remembered in (prompt, (*prompt, 5, 6)):
            model.past_seq = np.array(remembered)
            read(engine.generate(greedy("Once upon a time", 2)))
            assert model.past_seq.tolist() == list(prompt[:-1])
        model.past_seq = np.array(prompt[:-1])
        read(engine.generate(greedy("Once upon a time", 2)))
        assert model.past_seq.tolist() == list(prompt[:-1])
