"""A Llama in NumPy, from the embedded model's Hugging Face files or its GGUF file, with a `generate` of the
Transformers kind: logits processors before each token, stopping criteria behind it.

Small and plain: one sequence, a cache of keys and values, no batches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from .weights import read_weights

Array = Any
CHUNK = 256  # tokens of a prompt that are read at once


class Cache:
    """Keys and values of the tokens so far, a pair for each layer."""

    def __init__(self, layers: int) -> None:
        self.keys: list[Array | None] = [None] * layers
        self.values: list[Array | None] = [None] * layers
        self.length = 0


class NumpyLlama:
    """The model. `generate` may be called by one thread at a time, as a webui's lock has it."""

    def __init__(self, folder: Path, weights: str = "model.safetensors") -> None:
        """`weights`: the name of their file in the folder, safetensors or GGUF."""
        config = json.loads((folder / "config.json").read_text())
        self.config = SimpleNamespace(**config)
        ends = json.loads((folder / "generation_config.json").read_text())
        self.generation_config = SimpleNamespace(**ends)
        self.weights = dict(read_weights(folder / weights))
        self.heads: int = config["num_attention_heads"]
        self.groups: int = config["num_key_value_heads"]
        self.width: int = config["head_dim"]
        self.layers: int = config["num_hidden_layers"]
        self.random = np.random.default_rng(0)
        self.on_shares: Callable[[Array], None] = lambda shares: None
        """Gets the probabilities that each token is drawn from."""
        steps = np.arange(0, self.width, 2) / self.width
        self.frequencies = 1.0 / config["rope_theta"] ** steps

    def __call__(self, input_ids: Array) -> SimpleNamespace:
        return SimpleNamespace(logits=self.read(input_ids[0], Cache(self.layers))[None])

    def read(self, tokens: Array, cache: Cache) -> Array:
        """The logits behind each token (length x vocabulary)."""
        parts = [self._read(tokens[at : at + CHUNK], cache) for at in range(0, len(tokens), CHUNK)]
        return np.concatenate(parts)

    def _read(self, tokens: Array, cache: Cache) -> Array:
        weight = self.weights
        places = np.arange(cache.length, cache.length + len(tokens))
        state = weight["model.embed_tokens.weight"][tokens]
        for layer in range(self.layers):
            name = f"model.layers.{layer}."
            normal = self._norm(state, weight[name + "input_layernorm.weight"])
            state = state + self._attend(normal, name + "self_attn.", layer, places, cache)
            normal = self._norm(state, weight[name + "post_attention_layernorm.weight"])
            gate = normal @ weight[name + "mlp.gate_proj.weight"].T
            up = normal @ weight[name + "mlp.up_proj.weight"].T
            gated = gate / (1 + np.exp(-gate)) * up
            state = state + gated @ weight[name + "mlp.down_proj.weight"].T
        cache.length += len(tokens)
        return (
            self._norm(state, weight["model.norm.weight"]) @ weight["model.embed_tokens.weight"].T
        )

    def _norm(self, state: Array, weight: Array) -> Array:
        square = np.mean(state * state, axis=-1, keepdims=True)
        return state / np.sqrt(square + self.config.rms_norm_eps) * weight

    def _attend(self, state: Array, name: str, layer: int, places: Array, cache: Cache) -> Array:
        def heads(kind: str, count: int) -> Array:
            projected = state @ self.weights[f"{name}{kind}_proj.weight"].T
            return projected.reshape(len(state), count, self.width).transpose(1, 0, 2)

        query = self._turn(heads("q", self.heads), places)
        key, value = self._turn(heads("k", self.groups), places), heads("v", self.groups)
        before_key, before_value = cache.keys[layer], cache.values[layer]
        if before_key is not None and before_value is not None:
            key = np.concatenate([before_key, key], axis=1)
            value = np.concatenate([before_value, value], axis=1)
        cache.keys[layer], cache.values[layer] = key, value
        repeat = self.heads // self.groups
        key, value = key.repeat(repeat, axis=0), value.repeat(repeat, axis=0)
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(self.width)
        later = np.arange(key.shape[1])[None, :] > places[:, None]
        scores = np.where(later[None], -np.inf, scores)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(len(state), -1)
        return mixed.astype(np.float32) @ self.weights[name + "o_proj.weight"].T

    def _turn(self, heads: Array, places: Array) -> Array:
        """Rotary positions."""
        angles = places[:, None] * self.frequencies[None, :]
        cosine, sine = np.cos(angles), np.sin(angles)
        half = self.width // 2
        left, right = heads[..., :half], heads[..., half:]
        turned = [left * cosine - right * sine, right * cosine + left * sine]
        return np.concatenate(turned, axis=-1).astype(np.float32)

    def generate(
        self,
        inputs: Array,
        max_new_tokens: int = 20,
        *,
        eos_token_id: Sequence[int] = (),
        logits_processor: Sequence[Any] = (),
        stopping_criteria: Sequence[Any] = (),
        do_sample: bool = True,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        suppress_tokens: Sequence[int] = (),
        **_: Any,
    ) -> Array:
        """Prompt and answer (1 x length)."""
        cache = Cache(self.layers)
        tokens = np.asarray(inputs)
        fresh = tokens[0]
        for _step in range(max_new_tokens):
            scores = self.read(fresh, cache)[-1:]
            for processor in logits_processor:
                scores = processor(tokens, scores)
            scores = scores.astype(np.float64).copy()
            scores[0, list(suppress_tokens)] = -np.inf
            chosen = self.choose(scores[0], temperature if do_sample else 0.0, top_k, top_p)
            fresh = np.array([chosen])
            tokens = np.concatenate([tokens, fresh[None]], axis=1)
            # Every criterion is asked, as current versions do.
            over = [criterion(tokens, scores) for criterion in stopping_criteria]
            if any(over):
                break
            if chosen in eos_token_id:
                break
        return tokens

    def choose(self, scores: Array, temperature: float, top_k: int, top_p: float) -> int:
        if temperature == 0:
            self.on_shares((np.arange(len(scores)) == scores.argmax()).astype(float))
            return int(scores.argmax())
        scores = scores / temperature
        if 0 < top_k < len(scores):
            scores = np.where(scores < np.sort(scores)[-top_k], -np.inf, scores)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        if top_p < 1:
            order = np.argsort(-shares)
            beyond = np.cumsum(shares[order]) - shares[order] > top_p
            shares[order[beyond]] = 0
            shares /= shares.sum()
        self.on_shares(shares)
        return int(self.random.choice(len(shares), p=shares))
