"""Converts the tokens of one answer to whole characters."""

from __future__ import annotations

from collections.abc import Collection

from ..protocol import TokenLogprob
from .character_buffer import CharacterBuffer
from .tokenizer_view import TokenizerView


class TokenText:
    """The text of one answer while its tokens arrive. Not thread-safe."""

    def __init__(self, view: TokenizerView, marks: Collection[str], *, skip_special: bool) -> None:
        """`skip_special`: omit the names of special tokens, except `marks`."""
        self._view = view
        self._marks = frozenset(marks)
        self._skip_special = skip_special
        self._characters = CharacterBuffer()

    def spelling_of(self, token: int) -> bytes:
        """The text of a token; an end token has none, whatever its name."""
        vocabulary = self._view.vocabulary
        if token in self._view.ends:
            return b""
        if self._skip_special and vocabulary.names[token] not in self._marks:
            return vocabulary.tokens[token]
        return vocabulary.name(token)

    def add(
        self, token: int | None, logprob: TokenLogprob | None, *, last: bool
    ) -> tuple[str, tuple[TokenLogprob, ...]]:
        """The text that one more token completes, and its tokens; None: there are no more tokens."""
        spelled = b"" if token is None else self.spelling_of(token)
        return self._characters.add(spelled, logprob, last=last)
