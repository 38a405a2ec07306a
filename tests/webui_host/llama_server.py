"""A loader that has llama.cpp's own server beside it: real, on a port of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import xllamacpp

from extensions.openai.engines.llamacpp.loading.params import Cache, params_for
from tests.support.process import free_port


@lru_cache(maxsize=4)
def listener(model: Path, context: int, slots: int, mmproj: Path | None) -> tuple[int, Any]:
    """The port of a server for a model file, and the server itself; one for all who ask for the same."""
    params = params_for(model, Cache(context, slots, slots), threads=1, mmproj=mmproj)
    params.hostnames, params.port, params.verbosity = ["127.0.0.1"], free_port(), -1
    return params.port, xllamacpp.Server(params)


class LlamaServer:
    """As the host calls its class."""

    last_completion_token_count = last_prompt_token_count = 0

    def __init__(
        self, model: Path, shared: Any, context: int, slots: int, mmproj: Path | None = None
    ) -> None:
        self.model_path, self.shared = str(model), shared
        self.port, self._server = listener(model, context, slots, mmproj)
        props = httpx.get(f"http://127.0.0.1:{self.port}/props", timeout=60).json()
        self.bos_token, self.media_marker = props["bos_token"], props.get("media_marker")
        models = httpx.get(f"http://127.0.0.1:{self.port}/v1/models", timeout=60).json()
        self.vocabulary_size = models["data"][0]["meta"]["n_vocab"]

    def _ask(self, path: str, **body: Any) -> Any:
        answer = httpx.post(f"http://127.0.0.1:{self.port}{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def encode(self, text: str, add_bos_token: bool = False, **_: Any) -> list[int]:
        return list(self._ask("/tokenize", content=text, add_special=add_bos_token)["tokens"])

    def decode(self, token_ids: Any, **_: Any) -> str:
        return str(self._ask("/detokenize", tokens=[int(id) for id in token_ids])["content"])

    def prepare_payload(self, state: dict[str, Any]) -> dict[str, Any]:
        return {
            "temperature": state["temperature"] if state["do_sample"] else 0,
            "top_k": state["top_k"],
            "top_p": state["top_p"],
            "min_p": state["min_p"],
            "repeat_penalty": state["repetition_penalty"],
            "presence_penalty": state["presence_penalty"],
            "frequency_penalty": state["frequency_penalty"],
            "xtc_probability": state["xtc_probability"],
            "typical_p": state["typical_p"],
            "seed": state["seed"],
            "ignore_eos": state["ban_eos_token"],
            "logit_bias": [[int(id), bias] for id, bias in state.get("logit_bias", {}).items()],
        }

    def next_tokens(self, prompt: str, state: dict[str, Any], count: int) -> list[dict[str, Any]]:
        """What the server draws the next token from."""
        body = self.prepare_payload(state) | {
            "prompt": self.encode(prompt, add_bos_token=state["add_bos_token"]),
            "n_predict": 1,
            "n_probs": count,
            "post_sampling_probs": True,
        }
        answer = self._ask("/completion", **body)
        return list(answer["completion_probabilities"][0]["top_probs"])

    def generate_with_streaming(self, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        body = self.prepare_payload(state) | {
            "prompt": self.encode(prompt, add_bos_token=state["add_bos_token"]),
            "n_predict": state["max_new_tokens"],
            "stream": True,
        }
        text = ""
        url = f"http://127.0.0.1:{self.port}/completion"
        with httpx.stream("POST", url, json=body, timeout=60) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if self.shared.stop_everything:
                    break
                if line.startswith("data: "):
                    text += json.loads(line[6:])["content"]
                    yield text
