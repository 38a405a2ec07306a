"""Answers under a grammar where llama.cpp misreads the tokens of a model for it: they are matched here.

Where a vocabulary (SentencePiece) puts a space before each text, llama.cpp gives its library for grammars the
texts of tokens without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from llguidance import LLTokenizer

from ...callback_bridge import TICK_S, Emit, iterate_callback
from ...failures import taken_away
from ...protocol import GenerateRequest, Piece, Pieces
from ...tokens.grammar_tokenizer import matching_of
from ...tokens.tokenizer_view import TokenizerView
from ...tokens.vocabulary import Vocabulary
from ..client import LlamaServer
from ..slot_pool import SlotPool
from .segments import GrammarGeneration


class MatchedAnswers:
    """Makes them. Thread-safe."""

    def __init__(
        self,
        server: LlamaServer,
        vocabulary: Vocabulary,
        ends: frozenset[int],
        encode: Callable[[str], Sequence[int]],
        slots: SlotPool,
        closed: threading.Event,
    ) -> None:
        """`ends`: the tokens that end an answer, at least one; `encode`: the tokens of a text, with none
        added to it; `closed`: the engine ends."""
        matching: LLTokenizer = matching_of(vocabulary, sorted(ends), None, encode)
        self._view = TokenizerView(vocabulary, ends, matching)
        self._server, self._slots, self._closed = server, slots, closed

    def answer(
        self,
        request: GenerateRequest,
        body: dict[str, Any],
        tokens: Sequence[int],
        limit: int,
        *,
        penalised: bool,
    ) -> Pieces:
        """Go on after a prompt of these tokens; the rest as in `GrammarGeneration.run`. A prompt that fits
        is meant."""

        def produce(emit: Emit[Piece | None]) -> None:
            def watched(piece: Piece | None) -> bool:
                return emit(piece) or self._closed.is_set()

            # Twice: what is asked about a token beside an answer takes a slot too.
            with self._slots.reserve(2 * (len(tokens) + limit)) as reservation:
                while not reservation.wait(TICK_S):
                    if watched(None):
                        return
                generation = GrammarGeneration(
                    self._server, request, self._view, watched, skip_special=True
                )
                generation.run(body, tokens, limit, penalised=penalised)
            if self._closed.is_set() and not generation.finished:
                raise taken_away()

        return iterate_callback(produce)
