"""What the CUDA extension of ExLlamaV3 computes for a Llama in 16 bit, in torch on a processor.

It stands where the compiled extension would be found, so all that is Python in ExLlamaV3 (its generator,
jobs, filters, samplers, pages of the cache, tokenizer, model) runs as it is.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

# Files


class _File:
    def __init__(self, name: str) -> None:
        self.file = Path(name).open("rb")  # noqa: SIM115


def stloader_open_file(name: str) -> _File:
    return _File(name)


def stloader_close_file(handle: _File) -> None:
    handle.file.close()


def stloader_read(handle: _File, offset: int, size: int, tensor: torch.Tensor) -> None:
    handle.file.seek(offset)
    read = np.frombuffer(handle.file.read(size), np.uint8).copy()
    tensor.view(-1).view(torch.uint8).copy_(torch.from_numpy(read))


# Layers


def hgemm(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
    out.copy_(left.float() @ right.float())


def rms_norm(x: Any, weight: Any, y: Any, epsilon: float, bias: float, *more: Any) -> None:
    """`more`: newer versions have a scale before the rest, and may add to what is there."""
    scale = more[0] if len(more) == 3 else 1.0
    x = x.float()
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * scale
    if weight is not None:
        x = x * (weight.float() + bias)
    y.copy_(y + x if len(more) == 3 and more[2] else x)


def silu_mul(gate: Any, up: Any, out: Any, limit: float = 0.0) -> None:
    assert not limit
    out.copy_(torch.nn.functional.silu(gate.float()) * up.float())


def rope(
    q: Any, out_q: Any, k: Any, out_k: Any, frequencies: Any, position: int, positions: Any,
    position_ids: Any, style: Any, factor: float, *_: Any,
) -> None:  # fmt: skip
    """Only the kind of Llama: both halves of a head are turned against each other."""
    at = torch.arange(q.shape[1])[None] + position
    if positions is not None:
        at = torch.arange(q.shape[1])[None] + positions[:, None]
    if position_ids is not None:
        at = position_ids
    angles = at[..., None].float() * frequencies.float()
    cosine, sine = (angles.cos() * factor)[:, :, None], (angles.sin() * factor)[:, :, None]
    for heads, out in ((q, out_q), (k, out_k)):
        if heads is not None:
            left, right = heads.float().chunk(2, -1)
            out.copy_(torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1))


# The generator


def count_match_tensor(left: Any, right: Any, most: int) -> int:
    most = min(most, right.shape[1])
    differ = (left[0, :most] != right[0, :most]).nonzero()
    return int(differ[0]) if len(differ) else most


def cache_rotate(cache: Any, order: Any, spare: Any) -> None:
    pairs = order.reshape(-1, 2).tolist()
    pages = cache.view(cache.shape[0], -1)
    kept = spare.view(-1).view(pages.dtype)[: pages.shape[1]]
    for to, of in pairs:
        (pages[to] if to >= 0 else kept).copy_(pages[of] if of >= 0 else kept)


def partial_strings_match(text: Any, offsets: Any, strings: Any) -> int:
    output = bytes(text).decode("utf-32-le")
    ends = np.frombuffer(offsets, np.int32).tolist()
    partly = -1
    for start, end in pairwise(ends):
        stop = bytes(strings)[start:end].decode("utf-32-le")
        if stop in output:
            return output.index(stop)
        if any(output.endswith(stop[:length]) for length in range(1, len(stop))):
            partly = -2
    return partly


# Samplers


def _noise(like: torch.Tensor, seed: int) -> torch.Tensor:
    uniform = torch.rand(like.shape, generator=torch.Generator().manual_seed(seed))
    return -torch.log((-torch.log(uniform.clamp(min=1e-20))).clamp(min=1e-20))


def gumbel_noise_f16(logits: Any, out: Any, seed: int) -> None:
    out.copy_(logits.float() + _noise(logits, seed))


gumbel_noise_f32 = gumbel_noise_f16


def gumbel_noise_log(shares: Any, out: Any, seed: int) -> None:
    out.copy_(torch.log(shares) + _noise(shares, seed))


def apply_rep_pens(logits: Any, out: Any, past: Any, penalty: float, span: int, _: int) -> None:
    out.copy_(logits)
    seen = past[0, -span:].unique()
    scores = out[0, seen]
    out[0, seen] = torch.where(scores > 0, scores / penalty, scores * penalty)


def apply_pres_freq_pens(
    logits: Any, out: Any, past: Any, presence: float, frequency: float, span: int, _: int
) -> None:
    out.copy_(logits)
    seen, counts = past[0, -span:].unique(return_counts=True)
    out[0, seen] -= presence + frequency * counts


class _Unused:
    """A part that is made for each layer, and only used with quantised ones."""

    def __init__(self, *_: Any) -> None:
        pass


def __getattr__(name: str) -> Any:
    if name.startswith("BC_"):
        return _Unused

    def absent(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"{name} has no counterpart on a processor")

    return absent
