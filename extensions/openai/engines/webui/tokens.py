"""The tokens of a webui's model: their bytes, their number, and how likely those of a prompt are."""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...schemas import bad_request
from ..tokens.gguf import BadModelFile, read_header
from ..tokens.grammar_tokenizer import matching_of
from ..tokens.tokenizer_view import TokenizerView
from ..tokens.vocabulary import Vocabulary, read_vocabulary, vocabulary_of
from .host import Loaded, custom_reply, host_module, parallel_of
from .loaders.exllamav3_tokens import prompt_tokens
from .sampling_steps import as_inputs, to_numpy


def encode(text: str) -> tuple[int, ...]:
    """A text's tokens as a prompt, special ones recognised."""
    model = host_module("shared").model
    own = _PROMPTS.get(type(model).__name__)
    if own is not None:
        return tuple(own(model, text))
    if not text and hasattr(host_module("shared").tokenizer, "bos_token_id"):
        # Some versions make an array of no numbers of it, others fail.
        start = host_module("shared").tokenizer.bos_token_id
        return tuple(token for token in encode("a")[:1] if token == start)
    encoded = host_module("text_generation").encode(text)
    return tuple(int(token) for token in to_numpy(encoded[0]).reshape(-1).tolist())


def _exllama_prompt(model: Any, text: str) -> Sequence[int]:
    start = bool(host_module("shared").settings.get("add_bos_token", True))
    return prompt_tokens(model.tokenizer, text, start=start)


_PROMPTS: Mapping[str, Callable[[Any, str], Sequence[int]]] = {
    "Exllamav3Model": _exllama_prompt,
    "LlamaCppModel": lambda model, text: model.model.tokenize(text.encode(), special=True),
}
"""Where the host's own function reads special tokens as text, unlike where it generates."""


def counted_tokens(loaded: Loaded, text: str) -> int:
    """The tokens of an answer that came as text: as the loader counted them, or else as its tokenizer
    makes them."""
    return loader_count(loaded) or (len(encode(text)) if text else 0)


def loader_count(loaded: Loaded) -> int:
    """What the loader has counted of the answer under way; 0 where several share its counter."""
    count = getattr(loaded.model, "last_completion_token_count", None)
    alone = parallel_of(loaded) == 1 and not custom_reply()
    return count if isinstance(count, int) and alone else 0


def tokens_so_far(loaded: Loaded, counted: int, new: str) -> int:
    """The tokens of an answer with some more text. What the loader yields may be several at once."""
    count = loader_count(loaded)
    return max(counted, count) if count else counted + max(1, len(encode(new)) - len(encode("")))


def grown(shown: str, said: str) -> tuple[str, str]:
    """What a longer text adds to what is shown, and what is shown then; the tail of a character waits."""
    ready = said.rstrip("\N{REPLACEMENT CHARACTER}")
    if not ready.startswith(shown):
        return "", shown  # a host that takes text back may still give it again
    return ready[len(shown) :], ready


def check_ids(tokens: Sequence[int], vocabulary: Vocabulary, param: str) -> None:
    if not all(0 <= token < len(vocabulary.tokens) for token in tokens):
        raise bad_request.token_id_out_of_range(param, len(vocabulary.tokens))


def read_words(loaded: Loaded) -> TokenizerView:
    tokenizer = loaded.tokenizer
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        return plain_words(loaded)
    configured = getattr(getattr(loaded.model, "generation_config", None), "eos_token_id", None)
    several = configured if isinstance(configured, (list, tuple)) else [configured]
    return words_of(
        tokenizer, [end for end in (tokenizer.eos_token_id, *several) if isinstance(end, int)]
    )


def words_of(tokenizer: Any, ends: Iterable[int]) -> TokenizerView:
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
"""Names of tokens that end an answer; a file tells one or two of them, llama.cpp knows the others."""


def words_of_file(model: Path, encode: Callable[[str], Sequence[int]]) -> TokenizerView | None:
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


def plain_words(loaded: Loaded) -> TokenizerView:
    """Of a loader whose tokens we never see by themselves: only how many there are, and their texts."""
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


def prompt_logits(loaded: Loaded, tokens: Sequence[int]) -> Any:
    """The logits behind each token of a prompt (length x vocabulary)."""
    like = host_module("text_generation").encode("a")
    inputs = as_inputs(tokens, like)
    model = loaded.model
    with _no_gradients(inputs):
        if hasattr(model, "get_prompt_logits"):
            logits = model.get_prompt_logits(inputs)
        elif type(model).__name__ == "Exllamav3HF":
            # Its own call forgets what is more than a few hundred tokens back.
            params = {"attn_mode": "flash_attn_nc"}
            logits = model.ex_model.forward(input_ids=inputs, params=params)
        elif type(model).__name__.endswith("HF"):
            # Such a model tells only what comes next, and goes on from what it remembers.
            model.past_seq = None
            ends = range(1, inputs.shape[-1] + 1)
            calls = (model(input_ids=inputs[:, :end]).logits[0, -1] for end in ends)
            logits = [np.stack([to_numpy(last) for last in calls])]
        else:
            logits = model(inputs).logits
        return to_numpy(logits[0]).astype(np.float64)


@contextmanager
def _no_gradients(inputs: Any) -> Iterator[None]:
    if not hasattr(inputs, "new_tensor"):
        yield
        return
    with importlib.import_module("torch").no_grad():
        yield
