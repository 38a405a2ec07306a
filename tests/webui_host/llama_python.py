"""A loader that has a library of Python beside it, which samples in the host's process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from .numpy_llama import Cache, NumpyLlama


class Llama:
    """As llama-cpp-python calls its class, and what the host and the adapter use of it."""

    def __init__(self, folder: Path) -> None:
        self.model_path = str(next(folder.glob("*.gguf")))
        self._model = NumpyLlama(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.reset()

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        self._tokenizer.encode_special_tokens = not special
        return list(self._tokenizer.encode(text.decode(), add_special_tokens=add_bos).ids)

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)).encode()

    def set_seed(self, seed: int) -> None:
        self._model.random = np.random.default_rng(seed)

    def reset(self) -> None:
        self._cache = Cache(self._model.layers)
        self.scores = np.zeros((2048, len(self._model.weights["model.embed_tokens.weight"])))
        self.n_tokens = 0

    def eval(self, tokens: Sequence[int]) -> None:
        read = self._model.read(np.array(tokens), self._cache)
        self.n_tokens += len(tokens)
        self.scores[self.n_tokens - 1] = read[-1]

    def generate(
        self,
        tokens: Sequence[int],
        top_k: int = 40,
        top_p: float = 0.95,
        temp: float = 0.8,
        logits_processor: Any = None,
        grammar: Any = None,
        repeat_penalty: float = 1.0,
    ) -> Iterator[int]:
        self.reset()
        output = list(tokens)
        fresh = output
        while True:
            self.eval(fresh)
            scores = self.scores[self.n_tokens - 1]
            if logits_processor is not None:
                scores[:] = logits_processor(np.array(output), scores)
            fresh = [self._model.choose(scores, temp, top_k, top_p)]
            output += fresh
            yield fresh[0]

    def create_completion(
        self,
        prompt: str,
        max_tokens: int,
        temperature: float,
        stream: bool,
        seed: int | None,
        logits_processor: Any,
        **sampling: Any,
    ) -> Iterator[dict[str, Any]]:
        if seed is not None:
            self.set_seed(seed)
        output: list[int] = []
        ends = self._model.generation_config.eos_token_id
        for token in self.generate(
            self.tokenize(prompt.encode(), special=True), temp=temperature, **sampling
        ):
            if token in ends or len(output) == max_tokens:
                break
            before = len(self.detokenize(output).decode())
            output.append(token)
            yield {"choices": [{"text": self.detokenize(output).decode()[before:]}]}


class LlamaCppModel:
    """As the host calls its class."""

    def __init__(self, folder: Path, shared: Any) -> None:
        self.model, self.shared = Llama(folder), shared

    def encode(self, text: str, **_: Any) -> list[int]:
        return self.model.tokenize(text.encode())

    def decode(self, ids: Any, **_: Any) -> str:
        return self.model.detokenize(ids).decode()

    def generate_with_streaming(self, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        text = ""
        for chunk in self.model.create_completion(
            prompt=self.decode(self.encode(prompt)),
            max_tokens=state["max_new_tokens"],
            temperature=state["temperature"] if state["do_sample"] else 0,
            top_p=state["top_p"],
            top_k=state["top_k"],
            repeat_penalty=state["repetition_penalty"],
            stream=True,
            seed=None if state["seed"] == -1 else int(state["seed"]),
            logits_processor=[],
            grammar=None,
        ):
            if self.shared.stop_everything:
                break
            text += chunk["choices"][0]["text"]
            yield text
