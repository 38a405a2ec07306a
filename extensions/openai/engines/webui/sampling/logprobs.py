"""Log-probabilities out of the logits of one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...protocol import TokenLogprob
from ...tokens.vocabulary import Vocabulary


def logprob_of(
    raw: Any, token: int, spelled: bytes, alternatives: int, vocabulary: Vocabulary
) -> TokenLogprob:
    """How likely a token was, by the logits of its place, and which ones were the likeliest."""
    size = min(len(raw), len(vocabulary.tokens))
    shifted = raw[:size] - raw[:size].max()
    logprobs = shifted - np.log(np.exp(shifted).sum())
    best: Sequence[int] = ()
    if alternatives:
        near = np.argpartition(-logprobs, min(alternatives, size - 1))[:alternatives]
        best = near[np.argsort(-logprobs[near], kind="stable")].tolist()
    top = tuple(vocabulary.likely(id, float(logprobs[id])) for id in best)
    return TokenLogprob(spelled, float(logprobs[token]), top, token)
