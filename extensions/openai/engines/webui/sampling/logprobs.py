"""Log-probabilities from the logits at one position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...protocol import TokenLogprob
from ...tokens.vocabulary import Vocabulary


def logprob_of(
    raw: Any, token: int, spelled: bytes, alternatives: int, vocabulary: Vocabulary
) -> TokenLogprob:
    """A token's log-probability from the logits at its position, with the likeliest alternatives."""
    size = min(len(raw), len(vocabulary.tokens))
    shifted = raw[:size] - raw[:size].max()
    logprobs = shifted - np.log(np.exp(shifted).sum())
    best: Sequence[int] = ()
    if alternatives:
        near = np.argpartition(-logprobs, min(alternatives, size - 1))[:alternatives]
        best = near[np.argsort(-logprobs[near], kind="stable")].tolist()
    top = tuple(vocabulary.likely(id, float(logprobs[id])) for id in best)
    return TokenLogprob(spelled, float(logprobs[token]), top, token)
