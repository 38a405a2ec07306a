"""A Llama of 135 million parameters with random weights, in Q8_0: the size of a small real model.

It says arbitrary words and never ends by itself. The same seed gives the same file.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, KV_HEADS, INNER = 576, 30, 9, 3, 1536
VOCABULARY, CONTEXT = 49152, 8192
SPREAD = 0.02  # of the weights, as models are initialised


def write_model(path: Path, seed: int = 1, layers: int = LAYERS) -> Path:
    """Write the model to `path` and return it; about 145 MB. Fewer `layers` are the first of
    the same."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random-135m")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_vocabulary(writer)

    random = np.random.default_rng(seed)

    def add(name: str, *shape: int) -> None:
        weights = (random.standard_normal(shape) * SPREAD).astype(np.float32)
        packed = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    def add_ones(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))

    kv_width = WIDTH // HEADS * KV_HEADS
    add("token_embd.weight", VOCABULARY, WIDTH)  # the output is tied to it
    add_ones("output_norm.weight")
    for layer in range(layers):
        block = f"blk.{layer}."
        add_ones(block + "attn_norm.weight")
        add_ones(block + "ffn_norm.weight")
        add(block + "attn_q.weight", WIDTH, WIDTH)
        add(block + "attn_k.weight", kv_width, WIDTH)
        add(block + "attn_v.weight", kv_width, WIDTH)
        add(block + "attn_output.weight", WIDTH, WIDTH)
        add(block + "ffn_gate.weight", INNER, WIDTH)
        add(block + "ffn_up.weight", INNER, WIDTH)
        add(block + "ffn_down.weight", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    """A byte-level vocabulary: the 256 bytes, then made-up words that merge two of their letters."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    shown = {byte: chr(byte) for byte in visible}
    shown |= {byte: chr(256 + at) for at, byte in enumerate(hidden)}
    tokens = [shown[byte] for byte in range(256)]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    merges: list[str] = []
    for first in letters:
        for second in letters:
            merges.append(f"{first} {second}")
            tokens.append(first + second)
    pairs = tokens[256:]
    for first in pairs:
        for second in pairs:
            if len(tokens) >= VOCABULARY - 1:
                break
            merges.append(f"{first} {second}")
            tokens.append(first + second)
    tokens.append("<|end|>")
    normal, control = 1, 3
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([normal] * (VOCABULARY - 1) + [control])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(VOCABULARY - 1)
    writer.add_eos_token_id(VOCABULARY - 1)
    writer.add_add_bos_token(False)
