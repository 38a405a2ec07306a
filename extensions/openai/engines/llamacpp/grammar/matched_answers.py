"""Answers under a grammar, matched in this process because llama.cpp misreads the model's tokens.

If a (SentencePiece) vocabulary puts a space before each text, llama.cpp passes the tokens' texts to its
grammar library without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from llguidance import LLTokenizer

from ...callback_bridge import TICK_S, Emit, iterate_callback
from ...failures import model_changed
from ...protocol import GenerateRequest, Piece, Pieces
from ...tokens.grammar_tokenizer import grammar_tokenizer
from ...tokens.tokenizer_view import TokenizerView
from ...tokens.vocabulary import Vocabulary
from ..client import LlamaServer
from ..prompt_cache.cache import PromptCache
from ..prompt_cache.prompt import RequestPrompt
from .segments import GrammarGeneration


class MatchedAnswers:
    """Generates them. Thread-safe."""

    def __init__(
        self,
        server: LlamaServer,
        vocabulary: Vocabulary,
        ends: frozenset[int],
        encode: Callable[[str], Sequence[int]],
        cache: PromptCache,
        closed: threading.Event,
    ) -> None:
        """`ends`: the tokens that end an answer, at least one; `encode`: tokenizes a text without adding
        tokens; `closed` is set when the engine closes."""
        matching: LLTokenizer = grammar_tokenizer(vocabulary, sorted(ends), None, encode)
        self._view = TokenizerView(vocabulary, ends, matching)
        self._server, self._cache, self._closed = server, cache, closed

    def answer(
        self,
        request: GenerateRequest,
        body: dict[str, Any],
        known: RequestPrompt,
        limit: int,
        *,
        penalised: bool,
    ) -> Pieces:
        """Continue a prompt of known tokens, which must fit; the rest as in `GrammarGeneration.run`."""
        prompt, tokens = known.prompt, known.prompt.ids

        def produce(emit: Emit[Piece | None]) -> None:
            def watched(piece: Piece | None) -> bool:
                return emit(piece) or self._closed.is_set()

            # Twice: scoring a token beside an answer takes a slot too.
            with self._cache.slots.reserve(2 * (len(tokens) + limit), prompt) as reservation:
                while not reservation.wait(TICK_S):
                    if watched(None):
                        return
                generation = GrammarGeneration(
                    self._server, request, self._view, watched, skip_special=True
                )
                self._cache.lend(reservation.slot, prompt)
                place = {"id_slot": reservation.slot.id}
                generation.run(body | place, tokens, limit, penalised=penalised)
            if self._closed.is_set() and not generation.finished:
                raise model_changed()

        return iterate_callback(produce)
