"""Attention over a cache in pages, as FlashAttention computes it, in torch on a processor.

It stands in for the module `flash_attn`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention


def flash_attn_func(
    q: Any, k: Any, v: Any, softmax_scale: float | None = None, causal: bool = False, **_: Any
) -> Any:
    """Shapes: batch x length x heads x width. Causal: the last query sees all keys."""
    queries, keys = q.shape[1], k.shape[1]
    seen = torch.ones(queries, keys, dtype=torch.bool)
    if causal:
        seen = seen.tril(keys - queries)
    mixed = scaled_dot_product_attention(
        *(each.float().transpose(1, 2) for each in (q, k, v)),
        attn_mask=seen,
        scale=softmax_scale,
        enable_gqa=True,
    )
    return mixed.transpose(1, 2).to(q.dtype).contiguous()


def flash_attn_with_kvcache(
    q: Any, k_cache: Any, v_cache: Any, k: Any = None, v: Any = None, cache_seqlens: Any = None,
    block_table: Any = None, softmax_scale: float | None = None, causal: bool = False, **_: Any,
) -> Any:  # fmt: skip
    size, outputs = k_cache.shape[1], []
    for row in range(q.shape[0]):
        before = int(cache_seqlens[row])
        places = torch.arange(before, before + k.shape[1])
        pages = block_table[row].long()
        k_cache[pages[places // size], places % size] = k[row]
        v_cache[pages[places // size], places % size] = v[row]
        every = torch.arange(before + k.shape[1])
        keys, values = (
            each[pages[every // size], every % size][None] for each in (k_cache, v_cache)
        )
        outputs.append(flash_attn_func(q[row : row + 1], keys, values, softmax_scale, causal))
    return torch.cat(outputs)


def flash_attn_varlen_func(*_: Any, **__: Any) -> Any:
    raise NotImplementedError
