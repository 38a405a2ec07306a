"""A model's tokens as llguidance wants them, where grammars are matched in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llguidance import LLTokenizer, TokenizerWrapper

from .vocabulary import Vocabulary

MARK = "\x02"  # is a token by itself, wherever bytes are tokens


def matching_of(
    vocabulary: Vocabulary,
    ends: Sequence[int],
    start: int | None,
    encode: Callable[[str], Sequence[int]],
) -> LLTokenizer:
    """A tokenizer as grammars want it. `ends`: the tokens that end an answer, at least one; `encode`: the
    tokens of a text, with none added to it."""
    return LLTokenizer(
        TokenizerWrapper(_Spelled(vocabulary, ends[0], start, encode)), eos_token=list(ends)
    )


def _unspaced(
    vocabulary: Vocabulary, encode: Callable[[str], Sequence[int]]
) -> Callable[[str], Sequence[int]]:
    """The tokens of a text in the middle of another one. SentencePiece may put a space before each."""
    mark = vocabulary.ids.get(MARK.encode())
    if mark is None or b"".join(vocabulary.tokens[token] for token in encode("a")) == b"a":
        return encode

    def inside(text: str) -> Sequence[int]:
        tokens = list(encode(MARK + text))
        return tokens[tokens.index(mark) + 1 :]

    return inside


class _Spelled:
    """A tokenizer as llguidance wants it: tokens that look like markup but are text stay text."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        end: int,
        start: int | None,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self._encode = _unspaced(vocabulary, encode)
        self.eos_token_id = end
        self.bos_token_id = start
        self.tokens = [vocabulary.name(id) for id in range(len(vocabulary.tokens))]
        self.special_token_ids = [id for id, text in enumerate(vocabulary.tokens) if not text]

    def __call__(self, text: bytes | str) -> list[int]:
        text = text.decode() if isinstance(text, bytes) else text
        return list(map(int, self._encode(text)))
