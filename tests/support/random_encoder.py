"""A GGUF file with random weights that turns pictures and sounds into what a language model reads.

It is a real encoder of llama.cpp (a LLaVA one for pictures, an Ultravox one for sounds), only tiny: so
llama.cpp decodes, resizes and encodes for real, and every pixel matters. The same seed gives the same
file. A picture makes `IMAGE_TOKENS` tokens of any size, half a minute of sound `SOUND_TOKENS`.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, INNER = 32, 2, 64
PICTURE, PATCH = 32, 8  # pixels of each side
IMAGE_TOKENS = (PICTURE // PATCH) ** 2
FRAMES, MELS, STACK = 1500, 80, 50
SOUND_TOKENS = FRAMES // STACK


def write_encoder(
    path: Path, *, model_width: int, vision: bool = True, audio: bool = True, seed: int = 1
) -> Path:
    """Write the encoder for a model whose embeddings have `model_width` numbers, and return `path`."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_file_type(0)
    writer.add_bool("clip.has_vision_encoder", vision)
    writer.add_bool("clip.has_audio_encoder", audio)
    writer.add_bool("clip.use_gelu", True)
    random = np.random.default_rng(seed)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * 0.3).astype(np.float32))

    def add_same(name: str, value: float, *shape: int) -> None:
        writer.add_tensor(name, np.full(shape, value, np.float32))

    def add_norm(name: str) -> None:
        add_same(name + ".weight", 1, WIDTH)
        add_same(name + ".bias", 0, WIDTH)

    def add_block(name: str, biased: tuple[str, ...]) -> None:
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            add(f"{name}.{part}.weight", WIDTH, WIDTH)
            if part in biased:
                add_same(f"{name}.{part}.bias", 0, WIDTH)
        add_norm(name + ".ln1")
        add_norm(name + ".ln2")
        add(name + ".ffn_up.weight", INNER, WIDTH)
        add_same(name + ".ffn_up.bias", 0, INNER)
        add(name + ".ffn_down.weight", WIDTH, INNER)
        add_same(name + ".ffn_down.bias", 0, WIDTH)

    def add_shape(kind: str, projector: str) -> None:
        key = f"clip.{kind}."
        writer.add_string(key + "projector_type", projector)
        writer.add_uint32(key + "embedding_length", WIDTH)
        writer.add_uint32(key + "feed_forward_length", INNER)
        writer.add_uint32(key + "projection_dim", model_width)
        writer.add_uint32(key + "block_count", 1)
        writer.add_uint32(key + "attention.head_count", HEADS)
        writer.add_float32(key + "attention.layer_norm_epsilon", 1e-5)

    if vision:
        add_shape("vision", "mlp")
        writer.add_uint32("clip.vision.image_size", PICTURE)
        writer.add_uint32("clip.vision.patch_size", PATCH)
        writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
        writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
        add("v.class_embd", WIDTH)
        add("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
        add("v.position_embd.weight", IMAGE_TOKENS + 1, WIDTH)
        add_norm("v.pre_ln")
        add_block("v.blk.0", ("attn_q", "attn_k", "attn_v", "attn_out"))
        add("mm.0.weight", model_width, WIDTH)
        add_same("mm.0.bias", 0, model_width)
        add("mm.2.weight", model_width, model_width)
        add_same("mm.2.bias", 0, model_width)
    if audio:
        add_shape("audio", "ultravox")
        writer.add_uint32("clip.audio.num_mel_bins", MELS)
        writer.add_uint32("clip.audio.projector.stack_factor", STACK)
        add("a.conv1d.1.weight", WIDTH, MELS, 3)
        add("a.conv1d.1.bias", WIDTH, 1)
        add("a.conv1d.2.weight", WIDTH, WIDTH, 3)
        add("a.conv1d.2.bias", WIDTH, 1)
        add("a.position_embd.weight", FRAMES, WIDTH)
        add_block("a.blk.0", ("attn_q", "attn_v", "attn_out"))
        add_norm("a.post_ln")
        add_same("mm.a.norm_pre.weight", 1, WIDTH * STACK)
        add("mm.a.mlp.1.weight", 2 * INNER, WIDTH * STACK)
        add_same("mm.a.norm_mid.weight", 1, INNER)
        add("mm.a.mlp.2.weight", model_width, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
