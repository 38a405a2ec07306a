"""Matches an answer against its grammar again while it arrives: engines drop a grammar silently."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache

from llguidance import LLMatcher, LLTokenizer

from ...engines.protocol import CUT, Pieces
from ...errors import ConstraintGivenUp
from ..token_splitter import TokenSplitter

log = logging.getLogger("openedai")
MAX_PROBLEM_CHARACTERS = 600


def enforced(pieces: Pieces, grammar: str, param: str, end: str = "") -> Pieces:
    """Yield the pieces of an answer as long as they match the grammar.

    `end`: the text of a token with which the engine ends a grammar, although the model would continue after
    it (`EngineInfo.grammar_end`): once the grammar is complete, the answer ends there. Raises
    ConstraintGivenUp, naming the field, at the first character that does not match.
    """
    matching: _Matching | None = None
    for piece in pieces:
        if piece is None:
            yield None
            continue
        if matching is None:  # only now, while the engine is working
            matching = _Matching(grammar)
        text = piece.text.removesuffix(CUT) if piece.finish == "length" else piece.text
        data = text.encode()
        matched = matching.consume(data)
        if matched == len(data) and (piece.finish != "stop" or matching.complete):
            yield piece
            continue
        if end and matching.complete and data[matched:].startswith(end.encode()):
            splitter = TokenSplitter()
            splitter.push(piece)
            splitter.keep(len(data[:matched].decode()))
            splitter.drop()
            text, logprobs = splitter.take()
            yield replace(piece, text=text, logprobs=logprobs, finish="stop")
            return
        log.error("a grammar was not enforced: %s", matching.error[:200] or "no match")
        raise ConstraintGivenUp(
            f"The engine gave up the constraint of '{param}' while the model wrote, because it became too "
            "complex to follow; the answer up to here matches it. Ask again, with another 'seed' or a "
            "lower 'temperature', or make the constraint simpler: shorter lengths and counts, fewer "
            "alternatives.",
            param=param,
        )


class _Matching:
    """Matches one answer, byte by byte."""

    def __init__(self, grammar: str) -> None:
        # Not a copy of a cached one: copies share their limits, and fail together.
        self._matcher = LLMatcher(_bytes(), grammar, log_level=0)
        self._json = "%json" in grammar
        self._last = 0

    def consume(self, data: bytes) -> int:
        """Match data; return how many bytes match."""
        at = 0
        while at < len(data):
            at += self._matcher.try_consume_tokens(list(data[at:]))
            self._last = data[at - 1] if at else self._last
            if at == len(data) or not self._escaped_slash(data[at]):
                break
            self._last = data[at]
            at += 1
        return at

    def _escaped_slash(self, byte: int) -> bool:
        r"""Accept "\/" as "/": llama.cpp's older version of the library allows it in keys that a schema does
        not name, but ours does not."""
        if not (self._json and self._last == ord("\\") and byte == ord("/")):
            return False
        return self._matcher.rollback(1) and self._matcher.try_consume_tokens([byte]) == 1

    @property
    def complete(self) -> bool:
        """Whether the text so far matches the whole grammar."""
        return self._matcher.is_accepting()

    @property
    def error(self) -> str:
        return self._matcher.get_error()


def matches(text: str, grammar: str) -> bool:
    """Whether a whole text matches a grammar that is known to be good."""
    matching, data = _Matching(grammar), text.encode()
    return matching.consume(data) == len(data) and matching.complete


def read_here(grammar: str) -> str:
    """The problem of a simple grammar (`compiling/simple_grammars.py`); empty: it is valid."""
    return LLMatcher(_bytes(), grammar, log_level=0).get_error()[:MAX_PROBLEM_CHARACTERS].strip()


@cache
def _bytes() -> LLTokenizer:
    """A tokenizer with one token per byte; building it takes longer than reading a grammar."""
    return LLTokenizer("byte")
