"""ExLlamaV3's tokenizer with Transformers' interface."""

from __future__ import annotations

from typing import Any


class AsTransformers:
    """The part of the interface that we use."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: ExLlamaV3's."""
        self.backend_tokenizer = tokenizer.tokenizer
        self.eos_token_id: int | None = tokenizer.eos_token_id
        self.bos_token_id: int | None = tokenizer.bos_token_id
        self._size = int(tokenizer.actual_vocab_size)
        added = self.backend_tokenizer.get_added_tokens_decoder()
        self.all_special_ids = [id for id, token in added.items() if token.special]
        several = getattr(tokenizer.config, "eos_token_id_list", None) or []
        self.ends = frozenset(
            id for id in (tokenizer.eos_token_id, *several) if isinstance(id, int)
        )
        """The tokens that end an answer."""

    def __len__(self) -> int:
        return self._size

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        ids: list[int] = self.backend_tokenizer.encode(
            text, add_special_tokens=add_special_tokens
        ).ids
        return ids

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]:
        return [self.backend_tokenizer.id_to_token(id) for id in ids]


def prompt_tokens(tokenizer: Any, text: str, *, start: bool) -> list[int]:
    """A prompt's tokens, at least one: special tokens are recognised, and the start token is added if both
    the model's files and `start` say so.

    The loader itself adds it to every prompt if the model has one, wanted or not.
    """
    read = tokenizer.encode(text, encode_special_tokens=True)
    ids = [int(id) for id in read[0].tolist()]
    first = tokenizer.bos_token_id
    if start and first is not None and ids[:1] != [first] and _wants_start(tokenizer, first):
        ids.insert(0, first)
    return ids or [first if first is not None else tokenizer.eos_token_id or 0]


def _wants_start(tokenizer: Any, first: int) -> bool:
    config = getattr(tokenizer, "tokenizer_config_dict", None) or {}
    wanted = config.get("add_bos_token")
    if isinstance(wanted, bool):
        return wanted
    return first in tokenizer.tokenizer.encode("", add_special_tokens=True).ids
