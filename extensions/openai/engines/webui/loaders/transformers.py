"""The way into models that have Transformers' `generate` and sample token by token (`sampling_steps.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...protocol import Capability, TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..host import Loaded
from ..sampling_steps import (
    Part,
    SamplingSession,
    TaggedFloat,
    TaggedInt,
    attach,
    judged,
    take_over_penalties,
)
from ..tokens import prompt_logits, read_words
from .base import Job


class TransformersWay:
    """Transformers, and the loaders that look like it (`..._HF`)."""

    exact = False

    def capabilities(self, loaded: Loaded, words: TokenizerView) -> tuple[Capability, ...]:
        can = (Capability.LOGPROBS,)
        return can if words.matching is None else (*can, Capability.GRAMMAR)

    def words(self, loaded: Loaded) -> TokenizerView:
        return read_words(loaded)

    def join(self, loaded: Loaded, job: Job, state: dict[str, Any]) -> SamplingSession:
        steps = job.steps()
        most, share = TaggedInt(job.limit), TaggedFloat(state["typical_p"])
        heard = job.heard is not None
        most.part = share.part = Part(steps, job.tokens, job.encode(job.text), heard)
        state.update(max_new_tokens=most, typical_p=share, ban_eos_token=False)
        take_over_penalties(state)
        attach(loaded.model)
        return steps

    def scores(
        self, loaded: Loaded, words: TokenizerView, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        logits = prompt_logits(loaded, tokens)
        for at, token in enumerate(tokens):
            said = words.vocabulary.name(token)
            if at == 0:
                yield TokenLogprob(said, None, id=token)
            else:
                yield judged(logits[at - 1], token, said, alternatives, words.vocabulary)
