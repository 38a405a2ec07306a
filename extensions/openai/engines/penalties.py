"""OpenAI's penalties, which count sampled tokens only, on a sampler that counts the prompt's too.

Source: OpenAI guide, "Frequency and presence penalties": mu[j] - c[j] * frequency - (c[j] > 0) * presence,
where c[j] is how often token j has been sampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .protocol import Native


class PromptCounts:
    """Cancels a sampler's penalties for the prompt's tokens. Not thread-safe."""

    def __init__(self, prompt: Sequence[int], sampling: Native) -> None:
        """`sampling` holds both penalties."""
        self._frequency = sampling["frequency_penalty"]
        self._presence = sampling["presence_penalty"]
        self._counts = Counter(prompt)
        self._unsampled = set(prompt) if self._presence else set()

    def bias(self) -> list[tuple[int, float]]:
        """Pairs of prompt token and what to add to its logit. Valid until a prompt token is sampled for the
        first time under a presence penalty: from then on, that penalty applies to it."""
        presence = self._presence
        return [
            (token, self._frequency * count + (presence if token in self._unsampled else 0))
            for token, count in self._counts.items()
        ]

    def sampled(self, tokens: Iterable[int]) -> bool:
        """Record sampled tokens; whether that changes `bias`."""
        found = self._unsampled.intersection(tokens)
        self._unsampled -= found
        return bool(found)
