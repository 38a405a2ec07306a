"""What llama.cpp draws the next token from: its `post_sampling_probs`.

A chunk of it (shortened):

    {"choices": [{"logprobs": {"content": [{"id": 260, "prob": 0.7, "top_probs": [{"id": 260, "prob": 0.7},
        {"id": 283, "prob": 0.3}]}]}}]}

It reports them with the token that it draws, and draws another one for another seed. Where that token is the
beginning of a character it reports nothing, so it is asked again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...errors import EngineFailed
from ..protocol import LikelyToken, Piece, TokenLogprob
from ..tokens.vocabulary import Vocabulary
from .request_values import continuation_seed
from .stream_reader import AnswerReader, choice_of

MAX_DRAWS = 32
"""How many tokens are drawn for one that llama.cpp reports."""


class NextTokenReader(AnswerReader):
    """Reads the one token; its piece has the others as alternatives."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(limit=1)
        self._vocabulary = vocabulary

    def read(self, chunk: dict[str, Any]) -> Piece:
        piece = super().read(chunk)
        for entry in (choice_of(chunk).get("logprobs") or {}).get("content") or ():
            top = tuple(self._left(entry["top_probs"]))
            piece = replace(piece, logprobs=(TokenLogprob(b"", None, top, entry["id"]),))
        return piece

    def _left(self, entries: list[dict[str, Any]]) -> Iterator[LikelyToken]:
        """Those that the samplers left: llama.cpp may list the others with a probability of 0."""
        for each in entries:
            if each["prob"] > 0:
                yield self._vocabulary.likely(each["id"], math.log(each["prob"]))


def drawing(body: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """The bodies that draw one token each, from the same `count` likeliest ones."""
    always_same = body.get("temperature") == 0 or body.get("top_k") == 1
    for attempt in range(1 if always_same else MAX_DRAWS):
        seed = continuation_seed(body["seed"], attempt)
        yield {**body, "n_predict": 1, "n_probs": count, "post_sampling_probs": True, "seed": seed}


def not_reported() -> EngineFailed:
    """Every token that was drawn is the beginning of a character."""
    return EngineFailed(
        "llama.cpp does not report what may come next here, as the likeliest tokens are beginnings of "
        "characters. Ask without samplers ('use_samplers': false)."
    )
