"""The tokenizers of a webui's models, as far as we read them: from the host, or out of a model file."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...schemas import bad_request
from ..tokens.gguf import BadModelFile, read_header
from ..tokens.grammar_tokenizer import matching_of
from ..tokens.tokenizer_view import TokenizerView
from ..tokens.vocabulary import Vocabulary, read_vocabulary, vocabulary_of
from .host import Loaded, host_module
from .sampling.arrays import to_numpy


def host_encode(text: str) -> tuple[int, ...]:
    """A text's tokens as the host's own function makes them of a prompt."""
    if not text and hasattr(host_module("shared").tokenizer, "bos_token_id"):
        # Some versions make an array of no numbers of it, others fail.
        start = host_module("shared").tokenizer.bos_token_id
        return tuple(token for token in host_encode("a")[:1] if token == start)
    encoded = host_module("text_generation").encode(text)
    return tuple(int(token) for token in to_numpy(encoded[0]).reshape(-1).tolist())


def check_ids(tokens: Sequence[int], vocabulary: Vocabulary, param: str) -> None:
    if not all(0 <= token < len(vocabulary.tokens) for token in tokens):
        raise bad_request.token_id_out_of_range(param, len(vocabulary.tokens))


def host_view(loaded: Loaded) -> TokenizerView:
    """Of the tokenizer that the host has beside the model."""
    tokenizer = loaded.tokenizer
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        return text_view(loaded)
    configured = getattr(getattr(loaded.model, "generation_config", None), "eos_token_id", None)
    several = configured if isinstance(configured, (list, tuple)) else [configured]
    return view_of(
        tokenizer, [end for end in (tokenizer.eos_token_id, *several) if isinstance(end, int)]
    )


def view_of(tokenizer: Any, ends: Iterable[int]) -> TokenizerView:
    """By a tokenizer in the form of Transformers'. `ends`: the tokens that end an answer."""
    vocabulary, ends = vocabulary_of(tokenizer), frozenset(ends)
    matching = None
    if ends:
        first = tokenizer.eos_token_id
        order = sorted(ends, key=lambda end: end != first)
        start = getattr(tokenizer, "bos_token_id", None)
        plain = partial(tokenizer.encode, add_special_tokens=False)
        matching = matching_of(vocabulary, order, start, plain)
    return TokenizerView(vocabulary, ends, matching)


READABLE = ("gpt2", "llama")
"""The kinds of vocabulary whose tokens we know the bytes of, by GGUF's names."""

ENDS = frozenset({
    "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>",
    "<|call|>", "<end_of_turn>", "<EOT>", "<|EOT|>", "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>",
})  # fmt: skip
"""Names of tokens that end an answer; a file names one or two of them, llama.cpp knows the others."""


def view_of_file(model: Path, encode: Callable[[str], Sequence[int]]) -> TokenizerView | None:
    """The tokens of the model in a GGUF file; None where they cannot be read. `encode`: those of a text,
    with none added to it."""
    try:
        header = read_header(model)
    except BadModelFile:
        return None
    keys = ("bos_token_id", "eos_token_id", "eot_token_id")
    start, *found = (header.metadata.get(f"tokenizer.ggml.{key}") for key in keys)
    if header.metadata.get("tokenizer.ggml.model") not in READABLE:
        return None
    vocabulary, start = read_vocabulary(header), start if isinstance(start, int) else None
    named = (
        id for id, name in enumerate(vocabulary.names) if name in ENDS and not vocabulary.tokens[id]
    )
    ends = list(dict.fromkeys(end for end in (*found, *named) if isinstance(end, int)))
    if "<|call|>" in vocabulary.names:  # gpt-oss goes on behind the end of a part
        ends = [end for end in ends if vocabulary.names[end] != "<|end|>"]
    if not ends:
        return None
    matching = matching_of(vocabulary, ends, start, encode)
    return TokenizerView(vocabulary, frozenset(ends), matching, start)


def text_view(loaded: Loaded) -> TokenizerView:
    """Of a loader whose tokens are never reported: only how many there are, and their texts."""
    size = getattr(loaded.model, "vocabulary_size", None) or 2**17
    texts, names = Texts(loaded.tokenizer, size), _Names(loaded.tokenizer, size)
    return TokenizerView(Vocabulary(texts, names, {}, {}), frozenset(), None)  # type: ignore[arg-type]


class Texts(Sequence[bytes]):
    """A token's bytes, asked of the tokenizer when they are needed; none once it is gone."""

    def __init__(self, tokenizer: Any, size: int) -> None:
        self._tokenizer, self._size = weakref.ref(tokenizer), size

    def __len__(self) -> int:
        return self._size

    def _text(self, token: Any) -> str:
        tokenizer = self._tokenizer()
        return "" if tokenizer is None else str(tokenizer.decode([int(token)]))

    def __getitem__(self, token: Any) -> Any:
        return self._text(token).encode()


class _Names(Texts):
    def __getitem__(self, token: Any) -> Any:
        return self._text(token)
