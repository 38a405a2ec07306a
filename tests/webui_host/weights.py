"""The weights of a Llama in 32 bit, under the names that Hugging Face's files have for them, whichever file
they are read from. A GGUF file's are those of its blocks: what llama.cpp computes with.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

Array = Any
PARTS = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


@lru_cache(maxsize=4)  # nothing changes them, and hosts come and go by the hundred
def read_weights(path: Path) -> dict[str, Array]:
    """Of a safetensors or a GGUF file."""
    if path.suffix == ".gguf":
        return _read_gguf(path)
    return {name: array.astype(np.float32) for name, array in load_file(path).items()}


def _read_gguf(path: Path) -> dict[str, Array]:
    reader = gguf.GGUFReader(path)

    def value(name: str) -> int:
        return int(reader.get_field(f"llama.{name}").contents())

    stored = {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors
    }
    layers = value("block_count")
    heads = {"q_proj": value("attention.head_count"), "k_proj": value("attention.head_count_kv")}
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    names = ["model.embed_tokens", "model.norm"]
    names += [f"model.layers.{layer}.{part}" for layer in range(layers) for part in PARTS]
    weights = {}
    for name in names:
        weight = stored[f"{known.get_name(name)}.weight"]
        turned = heads.get(name.rpartition(".")[2])
        weights[f"{name}.weight"] = weight if turned is None else _halves(weight, turned)
    return weights


def _halves(weight: Array, heads: int) -> Array:
    """A head's rotary pairs are (i, i + half); side by side in a GGUF file."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)
