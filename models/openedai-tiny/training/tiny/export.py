"""Write the trained weights as safetensors (16-bit floats) and as GGUF.

    python -m tiny.export --weights build/run/weights.pt

The GGUF file holds Q8_0 for the matrices (8-bit blocks of 32 with one scale each) and 32-bit floats for the norms.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

from tiny.dataset import MODEL_DIR, config
from tiny.text import arguments

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
    ids, kinds = dict(data["model"]["vocab"]), [gguf.TokenType.NORMAL] * vocab_size
    for token in data["added_tokens"]:
        ids[token["content"]] = token["id"]
        kinds[token["id"]] = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(sorted(ids, key=ids.__getitem__))
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in data["model"]["merges"]])
    for name, mark in {"bos": "endoftext", "eos": "im_end", "eot": "im_end", "pad": "endoftext"}.items():
        getattr(writer, f"add_{name}_token_id")(ids[f"<|{mark}|>"])
    keys = gguf.Keys.Tokenizer
    for key, part in ((keys.FIM_PRE_ID, "prefix"), (keys.FIM_SUF_ID, "suffix"), (keys.FIM_MID_ID, "middle")):
        writer.add_uint32(key, ids[f"<|fim_{part}|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))


def write_gguf(weights: dict[str, torch.Tensor], c: SimpleNamespace, folder: Path) -> None:
    writer = gguf.GGUFWriter(str(folder / "openedai-tiny.gguf"), "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("openedai-tiny")
    writer.add_description("A tiny demonstration model, trained from scratch for OpenedAI.")
    writer.add_license("mit")
    sizes = {
        "vocab_size": c.vocab_size, "context_length": c.max_position_embeddings, "embedding_length": c.hidden_size,
        "block_count": c.num_hidden_layers, "feed_forward_length": c.intermediate_size,
        "head_count": c.num_attention_heads, "head_count_kv": c.num_key_value_heads, "key_length": c.head_dim,
        "value_length": c.head_dim, "rope_dimension_count": c.head_dim, "rope_freq_base": c.rope_theta,
        "layer_norm_rms_eps": c.rms_norm_eps,
    }  # fmt: skip
    for name, value in sizes.items():
        getattr(writer, f"add_{name}")(value)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_tokenizer(writer, folder, c.vocab_size)
    heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}
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
    # --sharpen multiplies the scores of all tokens: 1.25 writes at temperature 1 as at 0.8 before.
    options = arguments(weights=Path, folder=MODEL_DIR, sharpen=1.0)
    weights = torch.load(options.weights, map_location="cpu", weights_only=True)
    # The scores are linear in the last norm's weights, and those are kept exactly in both files.
    weights["norm.weight"] *= options.sharpen
    write_gguf(weights, config(), options.folder)
    halves = {"model." + name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    save_file(halves, str(options.folder / "model.safetensors"), metadata={"format": "pt"})


if __name__ == "__main__":
    main()
