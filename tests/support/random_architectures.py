"""Random models whose memory is not a plain KV cache: a sliding window, recurrent layers, both kinds.

What such a model keeps of a prompt cannot be cut back at any token. The vocabulary is that of `random_model`.
The same seed gives the same file.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tests.support.random_model import (
    CONTEXT,
    CONTROL,
    END,
    HEADS,
    INNER,
    LAYERS,
    NORMAL,
    TEMPLATE,
    WIDTH,
    byte_alphabet,
)

WINDOW = 64
SPREAD = 0.3
CONVOLUTION, STATE, RANK = 4, 8, 4  # of a Mamba
INNER_STATES = 2 * WIDTH


class _Model:
    def __init__(self, path: Path, architecture: str, layers: int, seed: int) -> None:
        self.writer = writer = gguf.GGUFWriter(path, architecture)
        tokens = [*byte_alphabet(), "<|endoftext|>", "<|im_start|>", "<|im_end|>", "he"]
        while len(tokens) % 32:
            tokens.append(f"<|unused{len(tokens)}|>")
        writer.add_name(f"random-{architecture}")
        writer.add_context_length(CONTEXT)
        writer.add_embedding_length(WIDTH)
        writer.add_block_count(layers)
        writer.add_vocab_size(len(tokens))
        writer.add_file_type(0)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types(
            [NORMAL if at < 256 or each == "he" else CONTROL for at, each in enumerate(tokens)]
        )
        writer.add_token_merges(["h e"])
        writer.add_bos_token_id(256)
        writer.add_eos_token_id(END)
        writer.add_add_bos_token(False)
        writer.add_chat_template(TEMPLATE)
        self._random = np.random.default_rng(seed)
        self.add("token_embd.weight", len(tokens), WIDTH)

    def add(self, name: str, *shape: int) -> None:
        values = self._random.standard_normal(shape) * SPREAD
        self.writer.add_tensor(name, values.astype(np.float32))

    def ones(self, name: str, *shape: int) -> None:
        self.writer.add_tensor(name, np.ones(shape, np.float32))

    def feed_forward(self, block: str) -> None:
        self.add(f"{block}.ffn_gate.weight", INNER, WIDTH)
        self.add(f"{block}.ffn_up.weight", INNER, WIDTH)
        self.add(f"{block}.ffn_down.weight", WIDTH, INNER)

    def attention(self, block: str) -> None:
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            self.add(f"{block}.{name}.weight", WIDTH, WIDTH)

    def end(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def write_sliding_window_model(path: Path, *, seed: int = 1) -> Path:
    """A Cohere 2: three of four layers see the last `WINDOW` tokens only."""
    model = _Model(path, "cohere2", 4, seed)
    writer = model.writer
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_sliding_window(WINDOW)
    writer.add_logit_scale(1.0)
    model.ones("output_norm.weight", WIDTH)
    for layer in range(4):
        block = f"blk.{layer}"
        model.ones(f"{block}.attn_norm.weight", WIDTH)
        model.attention(block)
        model.feed_forward(block)
    model.end()
    return path


def write_hybrid_model(path: Path, *, seed: int = 1) -> Path:
    """An LFM 2: a layer of attention between layers that keep a short state."""
    kinds = (0, HEADS, 0)  # heads of keys and values; none in a recurrent layer
    model = _Model(path, "lfm2", len(kinds), seed)
    writer = model.writer
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(list(kinds))
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_shortconv_l_cache(3)
    model.ones("token_embd_norm.weight", WIDTH)  # of the output
    for layer, heads in enumerate(kinds):
        block = f"blk.{layer}"
        model.ones(f"{block}.attn_norm.weight", WIDTH)
        model.ones(f"{block}.ffn_norm.weight", WIDTH)
        model.feed_forward(block)
        if heads:
            model.attention(block)
            model.ones(f"{block}.attn_q_norm.weight", WIDTH // HEADS)
            model.ones(f"{block}.attn_k_norm.weight", WIDTH // HEADS)
        else:
            model.add(f"{block}.shortconv.conv.weight", WIDTH, 3)
            model.add(f"{block}.shortconv.in_proj.weight", 3 * WIDTH, WIDTH)
            model.add(f"{block}.shortconv.out_proj.weight", WIDTH, WIDTH)
    model.end()
    return path


def write_recurrent_model(path: Path, *, seed: int = 1) -> Path:
    """A Mamba: it keeps a state and no past tokens."""
    model = _Model(path, "mamba", LAYERS, seed)
    writer = model.writer
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(CONVOLUTION)
    writer.add_ssm_inner_size(INNER_STATES)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    model.ones("output_norm.weight", WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        model.ones(f"{block}.attn_norm.weight", WIDTH)
        model.add(f"{block}.ssm_in.weight", 2 * INNER_STATES, WIDTH)
        model.add(f"{block}.ssm_conv1d.weight", INNER_STATES, CONVOLUTION)
        model.add(f"{block}.ssm_conv1d.bias", INNER_STATES)
        model.add(f"{block}.ssm_x.weight", RANK + 2 * STATE, INNER_STATES)
        model.add(f"{block}.ssm_dt.weight", INNER_STATES, RANK)
        model.add(f"{block}.ssm_dt.bias", INNER_STATES)
        writer.add_tensor(
            f"{block}.ssm_a",
            -np.tile(np.arange(1, STATE + 1, dtype=np.float32), (INNER_STATES, 1)) / 64,
        )
        model.ones(f"{block}.ssm_d", INNER_STATES)
        model.add(f"{block}.ssm_out.weight", WIDTH, INNER_STATES)
    model.end()
    return path
