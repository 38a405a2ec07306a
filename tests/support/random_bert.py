"""A GGUF file with random weights that turns texts into vectors, or pairs of texts into scores; and what
comes out of it, computed with NumPy.

It is a real BERT of 6 layers, only narrow. The same seed gives the same file. NumPy reads the weights from
the file, and follows the paper: token, position and type embeddings, then layers that normalize after each
half (Devlin et al. 2018), then mean pooling or a classifier on the first token.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LAYERS, HEADS = 6, 4
EPSILON = 1e-12
NORMAL, UNKNOWN, CONTROL = 1, 2, 3  # kinds of tokens
WORDS = "the cat dog password reset forgot sat on mat recover account sun shines how to my".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
START = "\N{LOWER ONE EIGHTH BLOCK}"  # before a token that begins a word


def vocabulary() -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
    whole = [START + piece for piece in (*WORDS, *letters)]
    return [*SPECIAL, *whole, *letters]


def write_bert(
    path: Path,
    *,
    width: int = 48,
    context: int = 128,
    heads: int = HEADS,
    pooling: Literal["mean", "cls"] = "mean",
    scores: bool = False,
    seed: int = 1,
    name: str = "random-bert",
) -> Path:
    """Write the model and return its path. `scores`: with a head that scores pairs, in place of vectors."""
    kinds = {"mean": gguf.PoolingType.MEAN, "cls": gguf.PoolingType.CLS}
    writer, tokens = gguf.GGUFWriter(path, "bert"), vocabulary()
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK if scores else kinds[pooling])
    writer.add_file_type(0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list(tokens)
    types = [NORMAL if at >= len(SPECIAL) else CONTROL for at in range(len(tokens))]
    types[UNK] = UNKNOWN
    writer.add_token_types(types)
    writer.add_token_type_count(2)
    writer.add_bos_token_id(CLS)
    writer.add_eos_token_id(SEP)
    writer.add_sep_token_id(SEP)
    writer.add_pad_token_id(PAD)
    writer.add_unk_token_id(UNK)
    writer.add_mask_token_id(MASK)
    if scores:  # a pair is [CLS] query [SEP] document [SEP]
        writer.add_add_sep_token(False)
        writer.add_add_eos_token(True)
    random = np.random.default_rng(seed)

    def add(name: str, *shape: int, scale: float = 0.3, mean: float = 0.0) -> None:
        values = random.standard_normal(shape) * scale + mean
        writer.add_tensor(name, values.astype(np.float32))

    def add_dense(name: str, out: int, into: int) -> None:
        add(f"{name}.weight", out, into, scale=1 / math.sqrt(into))
        add(f"{name}.bias", out, scale=0.1)

    def add_norm(name: str) -> None:
        add(f"{name}.weight", width, scale=0.1, mean=1.0)
        add(f"{name}.bias", width, scale=0.1)

    add("token_embd.weight", len(tokens), width)
    add("position_embd.weight", context, width)
    add("token_types.weight", 2, width)
    add_norm("token_embd_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add_dense(block + part, width, width)
        add_norm(block + "attn_output_norm")
        add_dense(block + "ffn_up", 2 * width, width)
        add_dense(block + "ffn_down", width, 2 * width)
        add_norm(block + "layer_output_norm")
    if scores:
        add_dense("cls", width, width)
        add_dense("cls.output", 1, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tokens_of(text: str) -> list[int]:
    """A text of the vocabulary's words and letters, between [CLS] and [SEP]: the longest pieces first."""
    return [CLS, *_pieces(text), SEP]


def _pieces(text: str) -> list[int]:
    ids = {piece: at for at, piece in enumerate(vocabulary())}
    found = []
    for word in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()):
        rest = START + word
        while rest:
            length = next(n for n in range(len(rest), 0, -1) if rest[:n] in ids)
            found.append(ids[rest[:length]])
            rest = rest[length:]
    return found


def pair_of(query: str, document: str) -> list[int]:
    """[CLS] query [SEP] document [SEP]."""
    return [*tokens_of(query), *_pieces(document), SEP]


@dataclass(frozen=True)
class NumpyBert:
    """The same model, computed here."""

    weights: dict[str, Array]
    width: int

    @classmethod
    def read(cls, path: Path) -> NumpyBert:
        reader: Any = gguf.GGUFReader(path)
        weights = {each.name: np.array(each.data) for each in reader.tensors}
        return cls(weights, int(weights["token_embd_norm.bias"].shape[0]))

    def states(self, tokens: list[int]) -> Array:
        """The last layer's states, a row for each token."""
        get = self.weights.__getitem__
        states = get("token_embd.weight")[tokens] + get("token_types.weight")[0]
        states = self._norm("token_embd_norm", states + get("position_embd.weight")[: len(tokens)])
        for layer in range(LAYERS):
            block = f"blk.{layer}."
            attended = self._dense(block + "attn_output", self._attention(block, states))
            states = self._norm(block + "attn_output_norm", states + attended)
            inner = self._dense(block + "ffn_down", _gelu(self._dense(block + "ffn_up", states)))
            states = self._norm(block + "layer_output_norm", states + inner)
        return states

    def embedding(self, tokens: list[int], pooling: str = "mean") -> Array:
        """The pooled states, of length 1."""
        states = self.states(tokens)
        pooled: Array = states.mean(axis=0) if pooling == "mean" else states[0]
        return pooled / np.linalg.norm(pooled)  # type: ignore[no-any-return]

    def score(self, tokens: list[int]) -> float:
        """What the head says of a pair: a logit."""
        pooled = np.tanh(self._dense("cls", self.states(tokens)[:1]))
        return float(self._dense("cls.output", pooled)[0, 0])

    def _attention(self, block: str, states: Array) -> Array:
        size = self.width // HEADS
        query, key, value = (
            self._dense(f"{block}attn_{part}", states).reshape(-1, HEADS, size).swapaxes(0, 1)
            for part in "qkv"
        )
        scores = query @ key.swapaxes(1, 2) / math.sqrt(size)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (weights @ value).swapaxes(0, 1).reshape(-1, self.width)  # type: ignore[no-any-return]

    def _dense(self, name: str, states: Array) -> Array:
        return states @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]  # type: ignore[no-any-return]

    def _norm(self, name: str, states: Array) -> Array:
        centred = states - states.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]  # type: ignore[no-any-return]


def _gelu(values: Array) -> Array:
    return 0.5 * values * (1 + np.tanh(math.sqrt(2 / math.pi) * (values + 0.044715 * values**3)))  # type: ignore[no-any-return]
