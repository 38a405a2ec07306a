"""From the bytes of tokens to whole characters, with the log-probabilities of the tokens that make them."""

from __future__ import annotations

import codecs

from ..protocol import TokenLogprob


class CharacterBuffer:
    """The text of one answer while its tokens come in; bytes that are no text become U+FFFD.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._waiting: list[TokenLogprob] = []

    def add(
        self, spelled: bytes, logprob: TokenLogprob | None = None, *, last: bool = False
    ) -> tuple[str, tuple[TokenLogprob, ...]]:
        """Take the bytes of one more token; return the text that they complete, and its tokens.

        Where tokens are given as `logprob`, text and tokens come out together: those of a character that is
        spread over several tokens when it is complete. `last`: a character that is not complete is cut.
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
