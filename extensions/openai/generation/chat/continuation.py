"""An answer that is made in several calls of the engine, each going on where the one before was ended.

An engine cannot be made to write a given text, or to begin to obey a grammar, in the middle of a call. So the
call is ended, and a new one goes on behind the prompt and the text so far, which is in the engine's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from ...engines.protocol import EngineInfo, GenerateRequest, Piece, Pieces, PromptUsage
from ...engines.tokens.context_length import NORMALIZATION_GROWTH, max_tokens_of
from ..token_splitter import TokenSplitter

Bias = tuple[tuple[int, float], ...]


class Generating(Protocol):
    """What is needed of an engine."""

    @property
    def info(self) -> EngineInfo: ...

    def generate(self, request: GenerateRequest) -> Pieces: ...

    def tokenize(self, text: str) -> tuple[int, ...]: ...


class Continuation:
    """Counts the calls of one answer as one. Used by one thread at a time."""

    def __init__(self, engine: Generating, request: GenerateRequest) -> None:
        """`request.prompt` is a text."""
        self._engine = engine
        self._request = request
        self._sampled = 0
        self._usage_reported = False
        self._goes_on = False

    def request(
        self, begun: str, grammar: str | None = None, bias: Bias = ()
    ) -> GenerateRequest | None:
        """What the engine is asked for once the answer has `begun`; None where no token fits any more."""
        self._goes_on = True
        prompt, limit = f"{self._request.prompt}{begun}", self._request.max_tokens
        left = None if limit is None else limit - self._sampled
        context = self._engine.info.context_length
        # How many tokens media take only the engine knows.
        if (
            not self._request.media
            and NORMALIZATION_GROWTH * max_tokens_of(prompt) + (left or 1) > context
        ):
            room = context - len(self._engine.tokenize(prompt))
            if room <= 0:
                return None
            left = left and min(left, room)
        if left is not None and left <= 0:
            return None
        seed = self._request.seed
        return replace(
            self._request,
            prompt=prompt,
            answer_prefix_length=self._request.answer_prefix_length + len(begun),
            max_tokens=left,
            # Drawing the same numbers again would make answers repeat themselves.
            seed=None if seed is None else seed + self._sampled,
            grammar=grammar,
            logit_bias=self._request.logit_bias + bias,
        )

    def counted(self, piece: Piece) -> Piece:
        """The piece, with the prompt's usage on one piece of the answer only. That of a further call would
        count the text before as well."""
        self._sampled += piece.tokens
        if self._usage_reported:
            return piece if piece.prompt is None else replace(piece, prompt=None)
        if self._goes_on:
            usage = PromptUsage(len(self._engine.tokenize(str(self._request.prompt))))
            piece = replace(piece, prompt=usage)
        self._usage_reported = piece.prompt is not None
        return piece


def unshown(pieces: Sequence[Piece]) -> Piece:
    """What is left of pieces that are not shown: their tokens are counted, and have no text."""
    prompt = next((piece.prompt for piece in pieces if piece.prompt is not None), None)
    logprobs = tuple(replace(token, bytes=b"") for piece in pieces for token in piece.logprobs)
    return Piece(tokens=sum(piece.tokens for piece in pieces), prompt=prompt, logprobs=logprobs)


def cut(piece: Piece, size: int) -> Piece:
    """The piece without its last `size` characters, and without the end of the answer."""
    splitter = TokenSplitter()
    splitter.push(replace(piece, finish=None))
    splitter.keep(len(piece.text) - size)
    splitter.drop()
    text, logprobs = splitter.take()
    return replace(piece, text=text, logprobs=logprobs, finish=None)
