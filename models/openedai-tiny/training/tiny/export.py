"""Write the trained weights in Hugging Face form and as GGUF.

    python -m tiny.export --weights build/run/weights.pt

The safetensors file holds 16-bit floats. The GGUF file holds Q8_0 for the
matrices (8-bit blocks of 32 with one scale each) and 32-bit floats for the norms.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from tiny.render import MODEL_DIR
from tiny.shape import DEFAULT, Shape
from tiny.tokenizer import SPECIAL, VISIBLE, write_json

Weights = dict[str, torch.Tensor]
GGUF_NAME = "openedai-tiny.gguf"

_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """The GGUF name of a weight, from its name in the network."""
    if name == "embed_tokens.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, layer, rest = name.split(".", 2)
    return f"blk.{layer}.{_BLOCK[rest.removesuffix('.weight')]}.weight"


def interleave(matrix: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Reorder the rows of a query or key matrix for llama.cpp.

    Here a head's rotary pairs are (i, i + half); llama.cpp wants them side by
    side. The shape (rows, columns) stays.
    """
    rows, columns = matrix.shape
    halves = matrix.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def config(shape: Shape) -> dict[str, Any]:
    """config.json for LlamaForCausalLM."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.max_positions,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": "float16",
        "torch_dtype": "float16",
    }


def write_hugging_face(weights: Weights, shape: Shape, folder: Path, ids: dict[str, int]) -> None:
    """config.json, generation_config.json and model.safetensors."""
    ends: dict[str, Any] = {
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    write_json(folder / "config.json", {**config(shape), **ends})
    ends["eos_token_id"] = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    write_json(folder / "generation_config.json", {**ends, "max_new_tokens": 256})
    halves = {"model." + name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    save_file(halves, str(folder / "model.safetensors"), metadata={"format": "pt"})


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, shape: Shape) -> dict[str, int]:
    """Copy vocabulary, merges, kinds of token and template into the GGUF header."""
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids: dict[str, int] = dict(data["model"]["vocab"])
    ids.update({item["content"]: item["id"] for item in data["added_tokens"]})
    if len(ids) != shape.vocab_size:
        raise ValueError(f"{len(ids)} tokens, but the network has {shape.vocab_size}")
    kinds = [gguf.TokenType.NORMAL] * len(ids)
    for mark in SPECIAL:
        kinds[ids[mark]] = gguf.TokenType.CONTROL
    for mark in VISIBLE:
        kinds[ids[mark]] = gguf.TokenType.USER_DEFINED
    merges = [" ".join(m) if isinstance(m, list) else m for m in data["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(sorted(ids, key=ids.__getitem__))
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(ids["<|endoftext|>"])
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_eot_token_id(ids["<|im_end|>"])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_uint32(gguf.Keys.Tokenizer.FIM_PRE_ID, ids["<|fim_prefix|>"])
    writer.add_uint32(gguf.Keys.Tokenizer.FIM_SUF_ID, ids["<|fim_suffix|>"])
    writer.add_uint32(gguf.Keys.Tokenizer.FIM_MID_ID, ids["<|fim_middle|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))
    return ids


def write_gguf(weights: Weights, shape: Shape, folder: Path) -> dict[str, int]:
    """The GGUF file; returns the token ids by text."""
    writer = gguf.GGUFWriter(str(folder / GGUF_NAME), "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("openedai-tiny")
    writer.add_description("A tiny demonstration model, trained from scratch for OpenedAI.")
    writer.add_license("mit")
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.max_positions)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    ids = _add_tokenizer(writer, folder, shape)
    for name, value in weights.items():
        matrix = value.to(torch.float32).numpy()
        if name.endswith("q_proj.weight"):
            matrix = interleave(matrix, shape.heads)
        elif name.endswith("k_proj.weight"):
            matrix = interleave(matrix, shape.kv_heads)
        if matrix.ndim == 1:
            writer.add_tensor(gguf_name(name), matrix)
            continue
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(gguf_name(name), gguf.quantize(matrix, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return ids


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=MODEL_DIR)
    parser.add_argument(
        "--sharpen",
        type=float,
        default=1.0,
        help="multiply the scores of all tokens: 1.25 writes at temperature 1 as at 0.8 before",
    )
    options = parser.parse_args()
    weights: Weights = torch.load(options.weights, map_location="cpu", weights_only=True)
    # The scores are linear in the last norm's weights, and those are kept exactly in both files.
    weights["norm.weight"] *= options.sharpen
    ids = write_gguf(weights, DEFAULT, options.folder)
    write_hugging_face(weights, DEFAULT, options.folder, ids)
    total = sum(path.stat().st_size for path in options.folder.iterdir())
    print(f"{options.folder}: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
