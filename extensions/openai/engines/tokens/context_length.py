"""Whether a prompt and its answer fit into a model's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...errors import ContextLengthExceeded

START_AND_END = 2  # tokens that a tokenizer may put around a text
# Times as many bytes as before a text has at most in another form of Unicode, as tokenizers may use.
MAX_BLANKS = 16_384  # characters; megabytes of them take a tokenizer half a minute
NORMALIZED = 11


def most_tokens(text: str) -> int:
    """The most tokens that a text may have: as many as it has bytes."""
    return len(text.encode()) + START_AND_END


def check_fits(
    prompt: str | tuple[int, ...],
    max_tokens: int | None,
    context_length: int,
    tokenize: Callable[[str], tuple[int, ...]],
    longest_token: int = 0,
) -> int:
    """The most tokens that the prompt may have. Raises ContextLengthExceeded when it, and `max_tokens`
    more (at least one), are more than the context.

    A text has at most as many tokens as bytes, so it is tokenized only in doubt; nor is it where it is so
    long that no tokens of `longest_token` bytes could make it short enough.
    """
    if isinstance(prompt, str):
        check_bounded((prompt,), max_tokens, context_length, longest_token, param="prompt")
    answer = 1 if max_tokens is None else max_tokens
    tokens = most_tokens(prompt) if isinstance(prompt, str) else len(prompt)
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


def check_bounded(
    texts: Sequence[str],
    max_tokens: int | None,
    context_length: int,
    longest_token: int,
    *,
    param: str,
    trimmed: bool = False,
) -> None:
    """Raises ContextLengthExceeded for texts that cannot fit, however many tokens they are.

    Templates and tokenizers take seconds for megabytes and hear nothing of a client that leaves. Each text
    is a token at least. Blanks at their ends may be cut off by a tokenizer, up to
    MAX_BLANKS of them; `trimmed`: by a template, however many.
    """

    def size(text: str) -> int:
        bare = text.strip()
        return len((bare if trimmed or len(text) - len(bare) <= MAX_BLANKS else text).encode())

    tokens = len(texts)
    if longest_token:
        tokens = max(tokens, sum(map(size, texts)) // longest_token)
    if tokens > context_length:
        raise ContextLengthExceeded(
            prompt_tokens=tokens,
            max_tokens=max_tokens or 0,
            context_length=context_length,
            param=param,
            at_least=True,
        )
