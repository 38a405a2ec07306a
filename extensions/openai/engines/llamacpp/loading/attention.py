"""How attention is computed where the operator leaves it open.

On a processor llama.cpp's flash attention is slower in steps of few tokens: an answer behind 1,500
tokens takes twice as long. Without it a step needs memory for each of its tokens with each one before,
and is quick as long as that is little: so it has few tokens. docs/performance.md has the figures.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ....system.machine import memory_bytes
from ...tokens.gguf import GGUFHeader
from ...tuning import Tuning
from .going_together import has_recurrent_layers
from .params import Cache, gpu_bytes, is_tiny

PLAIN_UBATCH = 128
"""Tokens computed at once without flash attention."""
PART_OF_MEMORY = 32
"""A step takes this part of the machine's memory, at most."""
BYTES_OF_A_WEIGHT = 4  # that a token gives another one


def with_attention(
    tuning: Tuning,
    model: Path,
    header: GGUFHeader,
    cache: Cache,
    *,
    gpu_layers: int,
    mmproj: Path | None = None,
) -> Tuning:
    """`tuning` without flash attention where it is left open and slower; else as it is."""
    if tuning.flash_attn != "auto" or tuning.cache_type_v not in ("f32", "f16", "bf16"):
        return tuning
    if is_tiny(model) or gpu_bytes(gpu_layers):
        return tuning
    # Flash attention skips the tokens of other slots. A picture is one step. Steps of few tokens read the
    # weights of each expert again and again.
    if cache.shared or mmproj is not None or header.number("expert_count"):
        return tuning
    if has_recurrent_layers(header):
        return tuning
    at_once = min(PLAIN_UBATCH, tuning.batch_size or PLAIN_UBATCH)
    ubatch = tuning.ubatch_size or at_once
    heads = max(1, header.number("attention.head_count"))
    if heads * cache.context * ubatch * BYTES_OF_A_WEIGHT > memory_bytes() // PART_OF_MEMORY:
        return tuning
    return replace(tuning, flash_attn="off", ubatch_size=ubatch)
