"""A Whisper model with random weights, in CTranslate2's format: it hears nothing, but in the right shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEADS, LAYERS, MELS = 32, 2, 1, 80
LANGUAGES = ("en", "de")
TIMES = 1501  # <|0.00|> to <|30.00|>
VOCABULARY = 3000  # of one language: CTranslate2 goes by the number


def write_whisper(folder: Path, *, seed: int = 0) -> Path:
    """Write the model, and return its folder."""
    from ctranslate2.specs import WhisperSpec

    folder.mkdir(parents=True, exist_ok=True)
    tokens = _tokens()
    spec = WhisperSpec(LAYERS, HEADS, LAYERS, HEADS)
    _fill(spec, np.random.default_rng(seed), len(tokens))
    spec.register_vocabulary(tokens)
    ids = {token: at for at, token in enumerate(tokens)}
    spec.validate()
    spec.save(str(folder))
    config = {
        "suppress_ids": [],
        "suppress_ids_begin": [ids["<|endoftext|>"]],
        "lang_ids": [ids[f"<|{each}|>"] for each in LANGUAGES],
        "alignment_heads": [[0, 0]],
    }
    (folder / "config.json").write_text(json.dumps(config))
    _write_tokenizer(folder / "tokenizer.json", tokens)
    return folder


def _tokens() -> list[str]:
    """The bytes as byte-level BPE writes them, made-up words, and the special tokens in Whisper's order."""
    from tokenizers.pre_tokenizers import ByteLevel

    special = _special_tokens()
    plain = sorted(ByteLevel.alphabet())
    words = [f"Ġw{at}" for at in range(VOCABULARY - len(plain) - len(special))]
    return [*plain, *words, *special]


def _special_tokens() -> list[str]:
    return [
        *("<|endoftext|>", "<|startoftranscript|>"),
        *(f"<|{each}|>" for each in LANGUAGES),
        *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"),
        *("<|nospeech|>", "<|notimestamps|>"),
        *(f"<|{at * 0.02:.2f}|>" for at in range(TIMES)),
    ]


def _write_tokenizer(path: Path, tokens: list[str]) -> None:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    plain = [each for each in tokens if not each.startswith("<|")]
    tokenizer = Tokenizer(BPE({each: at for at, each in enumerate(plain)}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = Decoder()
    tokenizer.add_special_tokens(
        [AddedToken(each, special=True) for each in tokens if each.startswith("<|")]
    )
    tokenizer.save(str(path))
    assert json.loads(path.read_text())["added_tokens"][0]["id"] == len(plain)


def _fill(spec: Any, random: np.random.Generator, vocabulary: int) -> None:
    """Put random numbers of the right shapes into all layers."""

    def weight(*shape: int) -> Any:
        return (random.standard_normal(shape) * 0.3).astype(np.float32)

    def linear(layer: Any, outputs: int, inputs: int) -> None:
        layer.weight, layer.bias = weight(outputs, inputs), weight(outputs)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def attention(layer: Any, *, crosses: bool = False) -> None:
        norm(layer.layer_norm)
        shapes = [WIDTH, 2 * WIDTH, WIDTH] if crosses else [3 * WIDTH, WIDTH]
        for each, outputs in zip(layer.linear, shapes, strict=True):
            linear(each, outputs, WIDTH)

    def feed_forward(layer: Any) -> None:
        norm(layer.layer_norm)
        linear(layer.linear_0, 4 * WIDTH, WIDTH)
        linear(layer.linear_1, WIDTH, 4 * WIDTH)

    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = weight(WIDTH, MELS, 3), weight(WIDTH)
    encoder.conv2.weight, encoder.conv2.bias = weight(WIDTH, WIDTH, 3), weight(WIDTH)
    encoder.position_encodings.encodings = weight(1500, WIDTH)
    norm(encoder.layer_norm)
    for layer in encoder.layer:
        attention(layer.self_attention)
        feed_forward(layer.ffn)
    decoder.embeddings.weight = weight(vocabulary, WIDTH)
    decoder.position_encodings.encodings = weight(448, WIDTH)
    decoder.projection.weight = decoder.embeddings.weight
    decoder.scale_embeddings = False
    norm(decoder.layer_norm)
    for layer in decoder.layer:
        attention(layer.self_attention)
        attention(layer.attention, crosses=True)
        feed_forward(layer.ffn)
