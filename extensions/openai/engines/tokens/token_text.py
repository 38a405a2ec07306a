"""From the tokens of one answer to whole characters."""

from __future__ import annotations

from collections.abc import Collection

from ..protocol import TokenLogprob
from .character_buffer import CharacterBuffer
from .tokenizer_view import TokenizerView


class TokenText:
    """From the tokens of one answer to whole characters. Not thread-safe."""

    def __init__(self, words: TokenizerView, marks: Collection[str], *, skip_special: bool) -> None:
        """`skip_special`: leave out the names of special tokens, but for `marks`."""
        self._words = words
        self._marks = frozenset(marks)
        self._skip_special = skip_special
        self._characters = CharacterBuffer()

    def spelling_of(self, token: int) -> bytes:
        """The text of a token; an end token has none, whatever its name."""
        vocabulary = self._words.vocabulary
        if token in self._words.ends:
            return b""
        if self._skip_special and vocabulary.names[token] not in self._marks:
            return vocabulary.tokens[token]
        return vocabulary.name(token)

    def add(
        self, token: int | None, logprob: TokenLogprob | None, *, last: bool
    ) -> tuple[str, tuple[TokenLogprob, ...]]:
        """The text that one more token completes, and its tokens; None: there is no further one."""
        spelled = b"" if token is None else self.spelling_of(token)
        return self._characters.add(spelled, logprob, last=last)
