"""OpenAI's penalties, which count what was sampled, on a sampler that counts the prompt as well.

Source: OpenAI guide, "Frequency and presence penalties": mu[j] - c[j] * frequency - (c[j] > 0) * presence,
where c[j] is how often token j was sampled before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from .base import Native


def wants_uncounted(sampling: Native, context_length: int) -> bool:
    """Whether a penalty is in force that looks at the whole text, as OpenAI's do."""
    penalised = sampling.get("frequency_penalty") or sampling.get("presence_penalty")
    return bool(penalised) and sampling.get("repeat_last_n", 0) >= context_length


def uncounted(
    prompt: Sequence[int], sampling: Native, sampled: Collection[int] = ()
) -> list[tuple[int, float]]:
    """What to add to the logits of a prompt's tokens so that the prompt does not count.

    Exact until a token of the prompt that is not in `sampled` is sampled.
    """
    frequency, presence = sampling["frequency_penalty"], sampling["presence_penalty"]
    return [
        (token, frequency * count + (0 if token in sampled else presence))
        for token, count in Counter(prompt).items()
    ]
