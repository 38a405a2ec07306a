"""A model's tokenizer for llguidance, to match grammars in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llguidance import LLTokenizer, TokenizerWrapper

from .vocabulary import Vocabulary

MARK = "\x02"  # a token of its own in every vocabulary with byte tokens


def grammar_tokenizer(
    vocabulary: Vocabulary,
    ends: Sequence[int],
    start: int | None,
    encode: Callable[[str], Sequence[int]],
) -> LLTokenizer:
    """Wrap a tokenizer for llguidance. `ends`: the tokens that end an answer, at least one; `encode`:
    tokenizes a text without adding tokens."""
    adapter = _TokenizerAdapter(vocabulary, ends[0], start, encode)
    return LLTokenizer(TokenizerWrapper(adapter), eos_token=list(ends))


def _without_space_prefix(
    vocabulary: Vocabulary, encode: Callable[[str], Sequence[int]]
) -> Callable[[str], Sequence[int]]:
    """An `encode` for text inside another text: SentencePiece may put a space before each text."""
    mark = vocabulary.ids.get(MARK.encode())
    if mark is None or b"".join(vocabulary.tokens[token] for token in encode("a")) == b"a":
        return encode

    def inside(text: str) -> Sequence[int]:
        tokens = list(encode(MARK + text))
        return tokens[tokens.index(mark) + 1 :]

    return inside


class _TokenizerAdapter:
    """The interface that llguidance expects; text that looks like a special token stays text."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        end: int,
        start: int | None,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self._encode = _without_space_prefix(vocabulary, encode)
        self.eos_token_id = end
        self.bos_token_id = start
        self.tokens = [vocabulary.name(id) for id in range(len(vocabulary.tokens))]
        self.special_token_ids = [id for id, text in enumerate(vocabulary.tokens) if not text]

    def __call__(self, text: bytes | str) -> list[int]:
        text = text.decode() if isinstance(text, bytes) else text
        return list(map(int, self._encode(text)))
