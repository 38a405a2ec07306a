"""A GGUF file with random weights: a real Llama in 500 kB that says arbitrary bytes.

Its answers hold broken UTF-8, control characters and special tokens, which makes them a hard test
of the text path. The same seed gives the same file.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

CONTEXT = 2048
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # kinds of tokens
END = 258
WIDTH, LAYERS, HEADS, INNER = 64, 2, 4, 128
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_model(
    path: Path,
    *,
    seed: int = 1,
    context: int = CONTEXT,
    template: str = TEMPLATE,
    end: str = "<|im_end|>",
    end_kind: int = CONTROL,
    odd: int = 0,
) -> Path:
    """Write the model to `path` and return it. `end`: its end token, and which kind of token that is; `odd`:
    how many tokens it has beyond a multiple of 32."""
    tokens = [*byte_alphabet(), "<|endoftext|>", "<|im_start|>", end, "he"]
    while len(tokens) % 32 != odd:
        tokens.append(f"<|unused{len(tokens)}|>")
    kinds = [NORMAL if at < 256 or token == "he" else CONTROL for at, token in enumerate(tokens)]
    kinds[END] = end_kind

    writer = _begun(path, tokens, kinds, context)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    return _with_weights(path, writer, len(tokens), seed)


def write_sentencepiece_model(path: Path, *, seed: int = 1, context: int = CONTEXT) -> Path:
    """The same with a vocabulary as SentencePiece makes them: bytes that are no letter of it are tokens of
    their own, a space goes before each text, and a start token before that."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = [
        "\N{LOWER ONE EIGHTH BLOCK}",
        *"etaoinshr",
        "\N{LOWER ONE EIGHTH BLOCK}t",
        "he",
        "\u00fc",
    ]
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *pieces]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces)]
    writer = _begun(path, tokens, kinds, context)
    writer.add_tokenizer_model("llama")
    writer.add_token_scores([0.0] * 259 + [-float(at) for at in range(len(pieces))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)
    return _with_weights(path, writer, len(tokens), seed)


def _begun(path: Path, tokens: list[str], kinds: list[int], context: int) -> gguf.GGUFWriter:

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(0)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    return writer


def _with_weights(path: Path, writer: gguf.GGUFWriter, size: int, seed: int) -> Path:
    random = np.random.default_rng(seed)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * 0.3).astype(np.float32))

    def add_ones(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))

    add("token_embd.weight", size, WIDTH)
    add_ones("output_norm.weight")
    add("output.weight", size, WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        add_ones(block + "attn_norm.weight")
        add_ones(block + "ffn_norm.weight")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}{name}.weight", WIDTH, WIDTH)
        add(block + "ffn_gate.weight", INNER, WIDTH)
        add(block + "ffn_up.weight", INNER, WIDTH)
        add(block + "ffn_down.weight", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_alphabet() -> list[str]:
    """The 256 characters that stand for bytes in byte-level vocabularies, in the order of bytes."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    shown = {byte: chr(byte) for byte in visible}
    shown |= {byte: chr(256 + at) for at, byte in enumerate(hidden)}
    return [shown[byte] for byte in range(256)]
