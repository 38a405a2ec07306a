"""How an engine uses the machine: what llama.cpp's users set for real models. Every default leaves it to the
engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
"""Types of the KV cache, by llama.cpp's names."""
FlashAttention = Literal["auto", "on", "off"]
Numa = Literal["off", "distribute", "isolate", "numactl"]
RopeScaling = Literal["model", "none", "linear", "yarn"]
SplitMode = Literal["layer", "row", "none"]
Fit = Literal["on", "off"]
Speculation = Literal["off", "ngram-simple", "ngram-map-k", "ngram-mod"]

CACHE_TYPES, FLASH_ATTENTION = get_args(CacheType), get_args(FlashAttention)
NUMAS, ROPE_SCALINGS, SPLIT_MODES = get_args(Numa), get_args(RopeScaling), get_args(SplitMode)
FITS, SPECULATIONS = get_args(Fit), get_args(Speculation)

BYTES_OF_32: dict[CacheType, int] = {
    "f32": 128,
    "f16": 64,
    "bf16": 64,
    "q8_0": 34,
    "q5_1": 24,
    "q5_0": 22,
    "q4_1": 20,
    "q4_0": 18,
    "iq4_nl": 18,
}
"""Bytes for 32 values of each type."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """The operator's choices."""

    cache_ram: int = -1
    """MiB for prompts whose slot went to another request; -1: an eighth of the machine's memory, at most
    8 GiB, and 16 MiB for a tiny model."""
    cache_disk: Path | None = None
    """A folder for such prompts, to have them again after a restart."""
    cache_disk_size: int = 8192
    """MiB that all files in it may have."""
    cache_type_k: CacheType = "f16"
    cache_type_v: CacheType = "f16"
    flash_attn: FlashAttention = "auto"
    """auto: off where a processor is faster without it, else as the engine chooses."""
    batch_size: int = 0
    """Tokens of a prompt per step; 0: 512."""
    ubatch_size: int = 0
    """Tokens that are computed at once; 0: as `batch_size`, or 128 where `flash_attn` is auto and off."""
    threads_batch: int = 0
    """Threads that read prompts; 0: as many as answer."""
    numa: Numa = "off"
    mlock: bool = False
    """Keep the model in memory: never swapped out."""
    no_mmap: bool = False
    """Read the model file into memory, instead of mapping it."""
    rope_scaling: RopeScaling = "model"
    rope_freq_base: float = 0.0
    """0: the model's own."""
    rope_freq_scale: float = 0.0
    """0: the model's own."""
    yarn_orig_ctx: int = 0
    """The context that the model was trained with; 0: the model's own."""
    tensor_split: tuple[float, ...] = ()
    """The part of the model that each GPU gets, in proportions."""
    split_mode: SplitMode = "layer"
    main_gpu: int = 0
    fit: Fit = "on"
    """Whether the layers and parts of each GPU that the operator leaves open are chosen by what fits."""
    fit_target: int = -1
    """MiB that this leaves free on each GPU; -1: llama.cpp's own, 1024."""
    draft_model: Path | None = None
    """A small model with the same tokens, whose guesses the model checks."""
    speculative: Speculation = "off"
    """Guesses from what was written before, which the model checks."""
    draft_max: int = 0
    """Tokens guessed at once; 0: llama.cpp's own."""

    def kv_bytes(self, f16_bytes: int) -> int:
        """The bytes of a KV cache that has so many in f16: keys and values take half each."""
        both = BYTES_OF_32[self.cache_type_k] + BYTES_OF_32[self.cache_type_v]
        return f16_bytes * both // (2 * BYTES_OF_32["f16"])


DEFAULT_TUNING = Tuning()
SAME_ANSWERS = ("cache_ram", "cache_disk", "cache_disk_size")
"""The choices that change no answer."""
