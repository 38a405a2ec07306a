"""A LoRA with random weights, strong enough to change what a model says."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

RANK = 4


def write_lora(path: Path, *, width: int, seed: int = 1) -> Path:
    """Write one for the queries of a Llama's first layer to `path`, and return it."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    random = np.random.default_rng(seed)
    for end, shape in (("a", (RANK, width)), ("b", (width, RANK))):
        weights = random.standard_normal(shape).astype(np.float32)
        writer.add_tensor(f"blk.0.attn_q.weight.lora_{end}", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
