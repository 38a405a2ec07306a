"""`modules.logits`: what may come next, as the host's own API asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from .llama_server import LlamaServer


class NextLogits:
    """Its one function, and the scores that its samplers leave (`modules.sampler_hijack`)."""

    def __init__(self, shared: Any, generation: Any, hijack: Any) -> None:
        self._shared, self._generation, self._hijack = shared, generation, hijack
        hijack.global_scores = None

    def keep(self, shares: Any) -> None:
        """Keep the probabilities that a token is drawn from."""
        with np.errstate(divide="ignore"):
            self._hijack.global_scores = np.log(shares)[None]

    def get_next_logits(
        self,
        prompt: str,
        state: dict[str, Any],
        use_samplers: bool,
        previous: str,
        top_logits: int = 25,
        return_dict: bool = False,
    ) -> Any:
        """A dict of tokens, or None for any failure, which a webui logs."""
        assert use_samplers and return_dict, "we ask for nothing else"
        with suppress(Exception):
            return dict(self._found(prompt, state, top_logits))
        return None

    def _found(self, prompt: str, state: dict[str, Any], count: int) -> Iterator[tuple[str, float]]:
        model = self._shared.model
        if isinstance(model, LlamaServer):
            for entry in model.next_tokens(prompt, state, count):
                yield entry["token"], entry["prob"]
            return
        state["max_new_tokens"] = 1
        for _ in self._generation.generate_reply(prompt, state):
            pass
        scores = self._hijack.global_scores[-1]
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        for token in np.argsort(-shares)[:count]:
            yield self._shared.tokenizer.decode([int(token)]), float(shares[token])
