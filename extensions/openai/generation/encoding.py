"""Texts for models that only read, cut to what these read."""

from __future__ import annotations

from ..engines.encoders import Input
from ..engines.protocol import Engine, EngineInfo
from ..engines.tokens.context_length import max_tokens_of
from ..errors import InputTooLong
from ..schemas import bad_request
from .bare_text import PROBES
from .plan import Served

MAX_TOKEN_CHARACTERS = 64
"""A longer text than a context of such tokens is not tokenized as a whole: it may have megabytes."""
ADVICE = "Shorten it, or let it be cut with 'truncate_prompt_tokens': -1 keeps as much as the model reads."


def fitting(served: Served, text: Input, param: str, limit: int | None) -> Input:
    """The input, cut to `limit` tokens (None: not cut); `param` is its field.

    Raises InputTooLong, and InvalidRequest for token ids that the model does not have.
    """
    engine, info = served.engine, served.info
    if not isinstance(text, str):
        if not all(0 <= token < info.vocabulary_size for token in text):
            raise bad_request.token_id_out_of_range(param, info.vocabulary_size)
        return text if len(text) <= _most(info, limit) else _cut(text, info, param, limit)
    if max_tokens_of(text) <= _most(info, limit):
        return text
    tokens = engine.tokenize(text[: MAX_TOKEN_CHARACTERS * info.context_length])
    if len(tokens) <= _most(info, limit):
        return text
    end = _end_token(engine)
    cut = _cut(tokens, info, param, limit)
    return (*cut[: len(cut) - len(end)], *end)


def _most(info: EngineInfo, limit: int | None) -> int:
    return info.context_length if limit is None else min(limit, info.context_length)


def _cut(
    tokens: tuple[int, ...], info: EngineInfo, param: str, limit: int | None
) -> tuple[int, ...]:
    if limit is None:
        raise InputTooLong(
            tokens=len(tokens), context_length=info.context_length, param=param, advice=ADVICE
        )
    return tokens[: _most(info, limit)]


def _end_token(engine: Engine) -> tuple[int, ...]:
    """The token that is put after every text, if there is one."""
    first, second = (engine.tokenize(probe)[-1:] for probe in PROBES)
    return first if first == second else ()
