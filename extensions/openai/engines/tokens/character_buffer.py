"""Decodes the bytes of tokens to whole characters, and keeps their log-probabilities in step."""

from __future__ import annotations

import codecs

from ..protocol import TokenLogprob


class CharacterBuffer:
    """An incremental decoder for one answer's tokens; invalid bytes become U+FFFD.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._waiting: list[TokenLogprob] = []

    def add(
        self, spelled: bytes, logprob: TokenLogprob | None = None, *, last: bool = False
    ) -> tuple[str, tuple[TokenLogprob, ...]]:
        """Add a token's bytes; return the text that they complete, and its tokens.

        If tokens are given as `logprob`, text and tokens are returned together: those of a character that
        spans several tokens when it is complete. `last`: cut an incomplete character.
        """
        text = self._text + self._decoder.decode(spelled, last)
        if logprob is not None:
            self._waiting.append(logprob)
        if self._waiting and self._decoder.getstate()[0]:
            self._text = text
            return "", ()
        logprobs = tuple(self._waiting)
        self._text = ""
        self._waiting.clear()
        return text, logprobs
