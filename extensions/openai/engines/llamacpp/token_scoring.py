"""Queries the log-probability of a given token from llama.cpp, which reports only sampled ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ..failures import not_scored
from ..protocol import CUT, TokenLogprob
from ..tokens.vocabulary import Vocabulary, is_incomplete, is_text
from .client import Complete
from .stream_reader import choice_of, to_api_error, token_logprob

FORCING_BIAS = 1000  # no logit outweighs it
LIKELIEST_TOKENS = 64  # how many of the likeliest tokens to search first


def score_token(
    complete: Complete,
    vocabulary: Vocabulary,
    before: Sequence[int],
    token: int,
    alternatives: int,
    place: Mapping[str, Any] = {},
) -> TokenLogprob:
    """The log-probability of a token after others: sample one token, forced to be this one.

    Part of a character is never reported, so then another token is sampled, and this one is looked up among
    the likeliest, at worst among all. `place`: llama.cpp's fields for the slot. Raises EngineFailed.
    """
    spelled = vocabulary.tokens[token]
    if is_text(spelled):
        entry = _sample(complete, before, token, max(1, alternatives), place)
        if entry["id"] == token:
            return token_logprob(entry, spelled, alternatives, vocabulary)
    for count in (max(alternatives, LIKELIEST_TOKENS), len(vocabulary.tokens)):
        entry = _sample(complete, before, vocabulary.ids[b"a"], count, place)
        for other in entry["top_logprobs"]:
            if other["id"] == token:
                likely = {**entry, "logprob": other["logprob"]}
                return token_logprob(likely, spelled, alternatives, vocabulary)
    raise not_scored()


def hidden_text(
    complete: Complete,
    vocabulary: Vocabulary,
    before: Sequence[int],
    hidden: int,
    place: Mapping[str, Any] = {},
) -> str:
    """The text of the last tokens of an answer, which llama.cpp has not reported because its last character
    is incomplete: that of the likeliest tokens that leave it so. Raises EngineFailed.

    The first one may hold other text, such as the space in ` \\xf0\\x9f`, that must not be lost.
    """
    context, spelled = list(before), b""
    for _ in range(hidden):
        entry = _sample(complete, context, vocabulary.ids[b"a"], LIKELIEST_TOKENS, place)
        likeliest = (int(other["id"]) for other in entry["top_logprobs"])
        fitting = (id for id in likeliest if is_incomplete(spelled + vocabulary.tokens[id]))
        token = next(fitting, None)
        if token is None:
            return spelled.decode(errors="replace") if spelled else CUT
        context.append(token)
        spelled += vocabulary.tokens[token]
    return spelled.decode(errors="replace")


def _sample(
    complete: Complete, before: Sequence[int], token: int, count: int, place: Mapping[str, Any]
) -> dict[str, Any]:
    """llama.cpp's entry for `token` after others, with the `count` likeliest ones."""
    answers: list[dict[str, Any]] = []
    body = {
        "prompt": list(before),
        "n_predict": 1,
        "temperature": 0,
        "logit_bias": [[token, FORCING_BIAS]],  # log-probabilities are reported without it
        "n_probs": count,
        "stream": True,
        "cache_prompt": True,
        **place,
    }

    def receive(data: bytes) -> bool:
        answers.append(orjson.loads(data))
        return False

    complete(orjson.dumps(body), receive)
    for answer in answers:
        if "error" in answer:
            raise to_api_error(answer["error"], "prompt")
        for entry in (choice_of(answer).get("logprobs") or {}).get("content") or ():
            return dict(entry)
    raise not_scored()
