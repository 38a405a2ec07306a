"""Biases: what to add to the logits of tokens, from the form of requests to that of engines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from ..engines.protocol import BAN, EngineInfo
from ..errors import InvalidRequest
from ..schemas import bad_request

MAX_DIGITS = 10  # of a token id

Bias = tuple[str, str, float]
"""The field, the token (its id, or a text in JSON's quotes), and what to add."""


def token_biases(
    biases: Iterable[Bias], info: EngineInfo, tokenize: Callable[[str], tuple[int, ...]]
) -> tuple[tuple[int, float], ...]:
    """Biases by token id. Raises InvalidRequest for a key that is no token of the model."""
    found: dict[int, float] = {}
    for param, key, bias in biases:
        for token in _tokens_of(key, param, info, tokenize):
            # Two biases of a token are added, as in llama.cpp; a ban stays a ban.
            found[token] = max(BAN, min(-BAN, found.get(token, 0.0) + bias))
    return tuple(found.items())


def only_these(
    allowed: Iterable[int],
    biases: tuple[tuple[int, float], ...],
    info: EngineInfo,
    *,
    ends_banned: bool,
) -> tuple[tuple[int, float], ...]:
    """The biases, and a ban of every token that is not allowed. `ends_banned`: no end token may be chosen.

    Raises InvalidRequest where no token is left, and for what is no token of the model.
    """
    param, kept = "allowed_token_ids", set(allowed)
    if info.is_remote:
        raise bad_request.unsupported(param, "cannot be had of a model that another server has.")
    if max(kept) >= info.vocabulary_size:
        raise bad_request.token_id_out_of_range(param, info.vocabulary_size)
    banned = {token for token, bias in biases if bias <= BAN}
    if not kept - banned - (info.end_tokens if ends_banned else set()):
        raise bad_request.unsupported(param, "leaves no token that is not banned.")
    others = (token for token in range(info.vocabulary_size) if token not in kept)
    return (*(each for each in biases if each[0] in kept), *((token, BAN) for token in others))


def _tokens_of(
    key: str, param: str, info: EngineInfo, tokenize: Callable[[str], tuple[int, ...]]
) -> tuple[int, ...]:
    """The tokens that a key of `logit_bias` stands for: an id, or a text in JSON's quotes."""
    if not key.startswith('"'):
        return (_token_id(key, param, info),)
    if info.is_remote:
        raise bad_request.unsupported(
            param, "must hold token ids: only the server of this model can turn texts into tokens."
        )
    once, twice = (tokenize(json.loads(key) * n) for n in (1, 2))
    # Leave out what a tokenizer puts before each text.
    extra = len(once) * 2 - len(twice)
    return once[extra:] if 0 < extra < len(once) else once


def _token_id(text: str, param: str, info: EngineInfo) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise InvalidRequest(
            f"Invalid '{param}': it must hold token ids, such as \"50256\".",
            param=param,
            code="invalid_value",
        )
    if int(text) >= info.vocabulary_size:
        raise bad_request.token_id_out_of_range(param, info.vocabulary_size)
    return int(text)
