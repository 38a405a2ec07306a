"""Reads the tokenizers of a webui's models, from the host or from a model file."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...schemas import bad_request
from ..tokens.gguf import BadModelFile, read_header
from ..tokens.grammar_tokenizer import grammar_tokenizer
from ..tokens.tokenizer_view import TokenizerView
from ..tokens.vocabulary import Vocabulary, read_vocabulary, vocabulary_of
from .host import Loaded, host_module
from .sampling.arrays import to_numpy


def host_encode(text: str) -> tuple[int, ...]:
    """Tokenize a prompt with the host's own function."""
    if not text and hasattr(host_module("shared").tokenizer, "bos_token_id"):
        # Some versions return an empty array without a type, others fail.
        start = host_module("shared").tokenizer.bos_token_id
        return tuple(token for token in host_encode("a")[:1] if token == start)
    encoded = host_module("text_generation").encode(text)
    return tuple(int(token) for token in to_numpy(encoded[0]).reshape(-1).tolist())


def check_ids(tokens: Sequence[int], vocabulary: Vocabulary, param: str) -> None:
    if not all(0 <= token < len(vocabulary.tokens) for token in tokens):
        raise bad_request.token_id_out_of_range(param, len(vocabulary.tokens))


def host_view(loaded: Loaded) -> TokenizerView:
    """A view of the tokenizer that the host has loaded with the model."""
    tokenizer = loaded.tokenizer
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        return text_view(loaded)
    configured = getattr(getattr(loaded.model, "generation_config", None), "eos_token_id", None)
    several = configured if isinstance(configured, (list, tuple)) else [configured]
    return view_of(
        tokenizer, [end for end in (tokenizer.eos_token_id, *several) if isinstance(end, int)]
    )


def view_of(tokenizer: Any, ends: Iterable[int]) -> TokenizerView:
    """A view of a tokenizer with Transformers' interface. `ends`: the tokens that end an answer."""
    vocabulary, ends = vocabulary_of(tokenizer), frozenset(ends)
    matching = None
    if ends:
        first = tokenizer.eos_token_id
        order = sorted(ends, key=lambda end: end != first)
        start = getattr(tokenizer, "bos_token_id", None)
        plain = partial(tokenizer.encode, add_special_tokens=False)
        matching = grammar_tokenizer(vocabulary, order, start, plain)
    return TokenizerView(vocabulary, ends, matching)


READABLE_VOCABULARIES = ("gpt2", "llama")
"""GGUF's names of the kinds of vocabulary whose tokens we can convert to bytes."""

END_TOKEN_NAMES = frozenset({
    "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>",
    "<|call|>", "<end_of_turn>", "<EOT>", "<|EOT|>", "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>",
})  # fmt: skip
"""Tokens that end an answer; a file names one or two of them, llama.cpp knows the others."""


def view_of_file(model: Path, encode: Callable[[str], Sequence[int]]) -> TokenizerView | None:
    """A view of the vocabulary in a GGUF file; None if it cannot be read. `encode`: tokenizes a text without
    adding tokens."""
    try:
        header = read_header(model)
    except BadModelFile:
        return None
    keys = ("bos_token_id", "eos_token_id", "eot_token_id")
    start, *found = (header.metadata.get(f"tokenizer.ggml.{key}") for key in keys)
    if header.metadata.get("tokenizer.ggml.model") not in READABLE_VOCABULARIES:
        return None
    vocabulary, start = read_vocabulary(header), start if isinstance(start, int) else None
    named = (
        id
        for id, name in enumerate(vocabulary.names)
        if name in END_TOKEN_NAMES and not vocabulary.tokens[id]
    )
    ends = list(dict.fromkeys(end for end in (*found, *named) if isinstance(end, int)))
    if "<|call|>" in vocabulary.names:  # gpt-oss continues after the end of a part
        ends = [end for end in ends if vocabulary.names[end] != "<|end|>"]
    if not ends:
        return None
    matching = grammar_tokenizer(vocabulary, ends, start, encode)
    return TokenizerView(vocabulary, frozenset(ends), matching, start)


def text_view(loaded: Loaded) -> TokenizerView:
    """A view for a loader that never reports tokens: only their number and texts."""
    size = getattr(loaded.model, "vocabulary_size", None) or 2**17
    texts, names = TokenTexts(loaded.tokenizer, size), _TokenNames(loaded.tokenizer, size)
    return TokenizerView(Vocabulary(texts, names, {}, {}), frozenset(), None)  # type: ignore[arg-type]


class TokenTexts(Sequence[bytes]):
    """The bytes of each token, decoded on demand; empty once the tokenizer is freed."""

    def __init__(self, tokenizer: Any, size: int) -> None:
        self._tokenizer, self._size = weakref.ref(tokenizer), size

    def __len__(self) -> int:
        return self._size

    def _text(self, token: Any) -> str:
        tokenizer = self._tokenizer()
        return "" if tokenizer is None else str(tokenizer.decode([int(token)]))

    def __getitem__(self, token: Any) -> Any:
        return self._text(token).encode()


class _TokenNames(TokenTexts):
    def __getitem__(self, token: Any) -> Any:
        return self._text(token)
