"""An answer is matched once more, as it comes: an engine that gives a grammar up does not say so."""

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
    """The pieces of an answer, as long as they match the grammar.

    `end`: the text of a token by which the engine ends a grammar, although the model would go on after it
    (`EngineInfo.grammar_end`): where the grammar is complete, the answer is over there. Raises
    ConstraintGivenUp, naming the field, at the first character that does not match.
    """
    matching: _Matching | None = None
    for piece in pieces:
        if piece is None:
            yield None
            continue
        if matching is None:  # now that the engine is at work
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
            f"The engine gave up the constraint of '{param}' while the model wrote, as it became too "
            "complex to follow; the answer up to here matches it. Ask again, with another 'seed' or a "
            "lower 'temperature', or make the constraint simpler: shorter lengths and counts, fewer "
            "alternatives.",
            param=param,
        )


class _Matching:
    """Matches one answer, byte by byte."""

    def __init__(self, grammar: str) -> None:
        # Not a copy of one that is kept: copies share what they may spend, and fail together.
        self._matcher = LLMatcher(_bytes(), grammar, log_level=0)
        self._json = "%json" in grammar
        self._last = 0

    def consume(self, data: bytes) -> int:
        """How many bytes match."""
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
        r"""The library inside of llama.cpp is older. In keys that a schema does not name it lets models write
        "\/", which ours takes for no JSON."""
        if not (self._json and self._last == ord("\\") and byte == ord("/")):
            return False
        return self._matcher.rollback(1) and self._matcher.try_consume_tokens([byte]) == 1

    @property
    def complete(self) -> bool:
        """Whether the text so far is all that the grammar asks for."""
        return self._matcher.is_accepting()

    @property
    def error(self) -> str:
        return self._matcher.get_error()


def read_here(grammar: str) -> str:
    """What is wrong with a simple grammar (`compiling/simple_grammars.py`); empty for a good one."""
    return LLMatcher(_bytes(), grammar, log_level=0).get_error()[:MAX_PROBLEM_CHARACTERS].strip()


@cache
def _bytes() -> LLTokenizer:
    """Every byte a token; to make it takes longer than to read a grammar."""
    return LLTokenizer("byte")
