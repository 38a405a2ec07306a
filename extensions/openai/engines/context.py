"""Whether a prompt and its answer fit into a model's context."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ContextLengthExceeded

START_AND_END = 2  # tokens that a tokenizer may put around a text


def check_fits(
    prompt: str | tuple[int, ...],
    max_tokens: int | None,
    context_length: int,
    tokenize: Callable[[str], tuple[int, ...]],
) -> int:
    """The most tokens that the prompt may have. Raises ContextLengthExceeded when it, and `max_tokens`
    more (at least one), are more than the context.

    A text has at most as many tokens as bytes, so it is tokenized only in doubt.
    """
    answer = 1 if max_tokens is None else max_tokens
    tokens = len(prompt.encode()) + START_AND_END if isinstance(prompt, str) else len(prompt)
    if tokens + answer > context_length and isinstance(prompt, str):
        tokens = len(tokenize(prompt))
    if tokens + answer > context_length:
        raise ContextLengthExceeded(
            prompt_tokens=tokens,
            max_tokens=max_tokens or 0,
            context_length=context_length,
            param="prompt",
        )
    return tokens
