"""Constrains what a model samples: a request's biases, its grammar, and OpenAI's penalties."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from llguidance import LLMatcher

from ...failures import too_complex
from ...protocol import BAN, GenerateRequest
from ...tokens.tokenizer_view import TokenizerView
from .arrays import like

PENALTIES = ("frequency_penalty", "presence_penalty")


def disable_penalties(state: dict[str, Any]) -> None:
    """Turn the host's penalties off, as they count the prompt too: `Constraint` applies them instead."""
    state.update({name: 0.0 for name in PENALTIES if name in state})


class Constraint:
    """Applied at each token of one answer. Not thread-safe."""

    def __init__(self, request: GenerateRequest, view: TokenizerView, *, endless: bool) -> None:
        """`endless`: ban end tokens."""
        self._bias = request.logit_bias
        self._ends = view.ends
        self._banned = sorted(view.ends) if endless else []
        self._frequency, self._presence = (
            float(request.sampling.get(name) or 0) for name in PENALTIES
        )
        self._counts: Counter[int] = Counter()
        self._matcher: LLMatcher | None = None
        if request.grammar is not None:
            assert view.matching is not None
            self._matcher = LLMatcher(view.matching, request.grammar, log_level=0)

    def __bool__(self) -> bool:
        penalised = self._frequency or self._presence
        return bool(self._matcher or self._bias or self._banned or penalised)

    def apply(self, scores: Any) -> Any:
        """Constrain the scores (1 x vocabulary) of the next token. Raises EngineFailed if the grammar becomes
        too complex."""
        scores = scores + 0  # a copy: the model may still need the original
        for token, bias in self._bias:
            if bias <= BAN:
                scores[0, token] = -np.inf
            else:
                scores[0, token] += bias
        if self._counts:
            lowered = [self._frequency * n + self._presence for n in self._counts.values()]
            scores[0, list(self._counts)] -= like(scores, lowered)
        if self._banned:
            scores[0, self._banned] = -np.inf
        if self._matcher is not None:
            scores[0, self._forbidden(self._matcher, scores.shape[-1])] = -np.inf
        return scores

    def _forbidden(self, matcher: LLMatcher, width: int) -> Any:
        """The tokens that the grammar does not allow."""
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            raise too_complex()
        allowed = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
        if len(allowed) < width:
            allowed = np.concatenate([allowed, np.zeros(width - len(allowed), np.uint8)])
        return np.flatnonzero(allowed[:width] == 0)

    def accept(self, token: int) -> None:
        """Record a sampled token."""
        if self._frequency or self._presence:
            self._counts[token] += 1
        if self._matcher is not None and token not in self._ends:
            self._matcher.consume_token(token)
