"""Tokens of texts that are no prompts, and the texts of single tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..engines.protocol import BareTokenizer, Engine, EngineInfo, Tokenizer, ask
from ..engines.tokens.context_length import check_can_fit
from ..engines.tokens.vocabulary import is_text
from ..schemas import bad_request
from .chat.answer import MAX_COUNTED_CONTEXTS

PROBES = "a", "0"
"""Texts whose first tokens are the same only where a start token comes before them."""


def check_length(text: str, info: EngineInfo, param: str) -> None:
    """Raises ContextLengthExceeded for a text that is too long to be counted."""
    longest = MAX_COUNTED_CONTEXTS * info.context_length
    check_can_fit((text,), None, longest, info.longest_token, param=param)


def bare_tokens(engine: Engine, text: str, *, special: bool, param: str) -> tuple[int, ...]:
    """The token ids of a text without a start or end token. `special`: whether names of special tokens in it
    become those tokens; `param`: the field that says so.

    Raises InvalidRequest where the engine cannot do without.
    """
    if not text:
        return ()
    return ask(engine, Tokenizer, partial(_bare, text=text, special=special, param=param))


def _bare(engine: Tokenizer, *, text: str, special: bool, param: str) -> tuple[int, ...]:
    if isinstance(engine, BareTokenizer):
        return engine.bare_tokens(text, special=special)
    if not special:
        raise bad_request.unsupported(
            param, "cannot be false: the loaded model's engine always reads special tokens."
        )
    start, tokens = start_token(engine), engine.tokenize(text)
    return tokens[len(start) :] if tokens[: len(start)] == start else tokens


def start_token(engine: Tokenizer) -> tuple[int, ...]:
    """The token that is put before every prompt, if there is one."""
    first, second = (engine.tokenize(probe)[:1] for probe in PROBES)
    return first if first == second else ()


def token_texts(engine: Engine, info: EngineInfo, tokens: Sequence[int]) -> list[str | bytes]:
    """The text of each token; bytes where it is only a part of a character."""
    known = info.token_bytes
    texts: list[str | bytes] = []
    for token in tokens:
        spelled = b"" if known is None else known[token]
        if not spelled:  # a special token, or an engine that knows whole texts only
            texts.append(engine.detokenize((token,)))
        else:
            texts.append(spelled.decode() if is_text(spelled) else spelled)
    return texts


def check_ids(tokens: Sequence[int], info: EngineInfo, param: str) -> None:
    """Raises InvalidRequest for ids that the model does not have."""
    if not all(0 <= token < info.vocabulary_size for token in tokens):
        raise bad_request.token_id_out_of_range(param, info.vocabulary_size)
