"""Write the trained weights as safetensors (16-bit floats) and as GGUF.

    python -m tiny.export --weights build/run/weights.pt

The GGUF file holds Q8_0 for the matrices (8-bit blocks of 32 with one scale each) and 32-bit floats for the norms.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

from tiny.render import MODEL_DIR, config
from tiny.tokenizer import SPECIAL, VISIBLE

_NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
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
    bare = name.removesuffix(".weight")
    if not bare.startswith("layers."):
        return f"{_NAMES[bare]}.weight"
    _, layer, rest = bare.split(".", 2)
    return f"blk.{layer}.{_NAMES[rest]}.weight"


def interleave(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of a query or key matrix for llama.cpp.

    Here a head's rotary pairs are (i, i + half); llama.cpp wants them side by side. The shape (rows, columns) stays.
    """
    rows, columns = matrix.shape
    halves = matrix.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, vocab_size: int) -> None:
    """Copy vocabulary, merges, kinds of token and template into the GGUF header."""
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids = data["model"]["vocab"] | {item["content"]: item["id"] for item in data["added_tokens"]}
    if len(ids) != vocab_size:
        raise ValueError(f"{len(ids)} tokens, but the network has {vocab_size}")
    kinds = [gguf.TokenType.NORMAL] * len(ids)
    for mark in SPECIAL:
        kinds[ids[mark]] = gguf.TokenType.CONTROL
    for mark in VISIBLE:
        kinds[ids[mark]] = gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(sorted(ids, key=ids.__getitem__))
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in data["model"]["merges"]])
    writer.add_bos_token_id(ids["<|endoftext|>"])
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_eot_token_id(ids["<|im_end|>"])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    keys = gguf.Keys.Tokenizer
    for key, part in ((keys.FIM_PRE_ID, "prefix"), (keys.FIM_SUF_ID, "suffix"), (keys.FIM_MID_ID, "middle")):
        writer.add_uint32(key, ids[f"<|fim_{part}|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))


def write_gguf(weights: dict[str, torch.Tensor], sizes: SimpleNamespace, folder: Path) -> None:
    writer = gguf.GGUFWriter(str(folder / "openedai-tiny.gguf"), "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("openedai-tiny")
    writer.add_description("A tiny demonstration model, trained from scratch for OpenedAI.")
    writer.add_license("mit")
    writer.add_vocab_size(sizes.vocab_size)
    writer.add_context_length(sizes.max_position_embeddings)
    writer.add_embedding_length(sizes.hidden_size)
    writer.add_block_count(sizes.num_hidden_layers)
    writer.add_feed_forward_length(sizes.intermediate_size)
    writer.add_head_count(sizes.num_attention_heads)
    writer.add_head_count_kv(sizes.num_key_value_heads)
    writer.add_key_length(sizes.head_dim)
    writer.add_value_length(sizes.head_dim)
    writer.add_rope_dimension_count(sizes.head_dim)
    writer.add_rope_freq_base(sizes.rope_theta)
    writer.add_layer_norm_rms_eps(sizes.rms_norm_eps)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_tokenizer(writer, folder, sizes.vocab_size)
    heads = {"q_proj": sizes.num_attention_heads, "k_proj": sizes.num_key_value_heads}
    for name, value in weights.items():
        matrix = value.to(torch.float32).numpy()
        if count := heads.get(name.split(".")[-2]):
            matrix = interleave(matrix, count)
        kind = None if matrix.ndim == 1 else gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(gguf_name(name), gguf.quantize(matrix, kind) if kind else matrix, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=MODEL_DIR)
    parser.add_argument(
        "--sharpen", type=float, default=1.0, help="multiply all scores: 1.25 writes at temperature 1 as at 0.8 before"
    )
    options = parser.parse_args()
    weights = torch.load(options.weights, map_location="cpu", weights_only=True)
    # The scores are linear in the last norm's weights, and those are kept exactly in both files.
    weights["norm.weight"] *= options.sharpen
    write_gguf(weights, config(), options.folder)
    halves = {"model." + name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    save_file(halves, str(options.folder / "model.safetensors"), metadata={"format": "pt"})


if __name__ == "__main__":
    main()
