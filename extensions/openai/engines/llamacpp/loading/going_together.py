"""Checks what llama.cpp cannot do with a model: it would fail without a reason, or abort the process."""

from __future__ import annotations

from ...model_spec import ModelLoadError
from ...tokens.gguf import GGUFHeader
from ...tuning import Tuning

BLOCK = 32
"""Values that all quantised types of a KV cache store together."""
UNLIKE_TOKENS = 128
"""So many tokens may a draft model have more or less than the model, by llama.cpp's rule: often one of both
is padded."""
SIDES = ("bos_token_id", "eos_token_id")
STATES = ("ssm.", "shortconv.", "wkv.", "kda.")
"""How the numbers of recurrent layers begin."""


def has_recurrent_layers(header: GGUFHeader) -> bool:
    begins = tuple(f"{header.architecture}.{each}" for each in STATES)
    return any(key.startswith(begins) for key in header.metadata)


def check_cache_types(header: GGUFHeader, name: str, tuning: Tuning) -> None:
    """Raise ModelLoadError for a quantised KV cache that the model's heads do not fit into."""
    size = header.number("embedding_length") // (header.number("attention.head_count") or 1)
    for flag, chosen, length in (
        ("--cache-type-k", tuning.cache_type_k, "attention.key_length"),
        ("--cache-type-v", tuning.cache_type_v, "attention.value_length"),
    ):
        values = header.number(length) or size
        if chosen not in ("f32", "f16", "bf16") and values % BLOCK:
            raise ModelLoadError(
                f"{flag} {chosen} needs heads of a multiple of {BLOCK} values, and those of {name} have "
                f"{values}: use f16"
            )


def check_draft(header: GGUFHeader, name: str, draft: GGUFHeader, draft_name: str) -> None:
    """Raise ModelLoadError for a draft model whose guesses the model cannot check."""
    own, other = header.metadata, draft.metadata
    if has_recurrent_layers(draft):
        raise ModelLoadError(
            f"--draft-model {draft_name} has recurrent layers, which cannot take a wrong guess back"
        )
    kinds = [each.get("tokenizer.ggml.model") for each in (own, other)]
    sides = [[each.get(f"tokenizer.ggml.{side}") for side in SIDES] for each in (own, other)]
    tokens, others = (_tokens(each) for each in (header, draft))
    both = min(len(tokens), len(others))
    if (
        kinds[0] != kinds[1]
        or sides[0] != sides[1]
        or abs(len(tokens) - len(others)) > UNLIKE_TOKENS
        or tokens[:both] != others[:both]
    ):
        raise ModelLoadError(
            f"--draft-model {draft_name} has other tokens than {name}: take a small model of the same family"
        )


def _tokens(header: GGUFHeader) -> list[object]:
    found = header.metadata.get("tokenizer.ggml.tokens")
    return list(found) if isinstance(found, list) else []
