"""OpenAI's penalties, which count what was sampled, on a sampler that counts the prompt as well.

Source: OpenAI guide, "Frequency and presence penalties": mu[j] - c[j] * frequency - (c[j] > 0) * presence,
where c[j] is how often token j was sampled before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .protocol import Native


class PromptCounts:
    """What takes back that a sampler counts the prompt's tokens. Not thread-safe."""

    def __init__(self, prompt: Sequence[int], sampling: Native) -> None:
        """`sampling` holds both penalties."""
        self._frequency = sampling["frequency_penalty"]
        self._presence = sampling["presence_penalty"]
        self._counts = Counter(prompt)
        self._unsampled = set(prompt) if self._presence else set()

    def bias(self) -> list[tuple[int, float]]:
        """What to add to the logits of the prompt's tokens, until one of them is sampled for the first time
        under a presence penalty: then that penalty is due."""
        presence = self._presence
        return [
            (token, self._frequency * count + (presence if token in self._unsampled else 0))
            for token, count in self._counts.items()
        ]

    def sampled(self, tokens: Iterable[int]) -> bool:
        """Told what was sampled; whether `bias` is another now."""
        found = self._unsampled.intersection(tokens)
        self._unsampled -= found
        return bool(found)
