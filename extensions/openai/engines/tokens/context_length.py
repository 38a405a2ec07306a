"""Checks that a prompt and its answer fit into a model's context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ...errors import ContextLengthExceeded

START_AND_END = 2  # tokens that a tokenizer may put around a text
MAX_BLANKS = 16_384  # characters; megabytes of them take a tokenizer half a minute
NORMALIZATION_GROWTH = 11
"""By how much a text's bytes grow at most when a tokenizer normalizes its Unicode."""


class RequestTokens(threading.local):
    """The text that a request has tokenized last, in the thread that answers it: its prompt is needed for
    chat's limit, for the context and for the cache.

    Nothing is kept where no request is answered, nor after its end: its prompt would stay in memory, and the
    next request of the thread could tell by its time what this one was.
    """

    _answers = False
    known: tuple[object, str, tuple[int, ...]] | None = None
    """The model, the text and its tokens."""

    def begin(self) -> None:
        """This thread answers a request from now on."""
        self._answers, self.known = True, None

    def end(self) -> None:
        """Its answer is complete, or goes on in another thread."""
        self._answers, self.known = False, None

    def of(
        self, model: object, text: str, tokenize: Callable[[str], tuple[int, ...]]
    ) -> tuple[int, ...]:
        """The tokens of a text. `model` stands for its tokenizer."""
        known = self.known
        if known is not None and known[0] is model and known[1] == text:
            return known[2]
        tokens = tokenize(text)
        if self._answers:
            self.known = model, text, tokens
        return tokens


request_tokens = RequestTokens()


def max_tokens_of(text: str) -> int:
    """An upper bound of a text's tokens: the number of its bytes."""
    return len(text.encode()) + START_AND_END


def check_fits(
    prompt: str | tuple[int, ...],
    max_tokens: int | None,
    context_length: int,
    tokenize: Callable[[str], tuple[int, ...]],
    longest_token: int = 0,
) -> int:
    """An upper bound of the prompt's tokens. Raises ContextLengthExceeded if they and `max_tokens` more (at
    least one) exceed the context.

    A text has at most as many tokens as bytes, so it is tokenized only in doubt; also not if it is too long
    even in tokens of `longest_token` bytes.
    """
    if isinstance(prompt, str):
        check_can_fit((prompt,), max_tokens, context_length, longest_token, param="prompt")
    answer = 1 if max_tokens is None else max_tokens
    tokens = max_tokens_of(prompt) if isinstance(prompt, str) else len(prompt)
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


def check_can_fit(
    texts: Sequence[str],
    max_tokens: int | None,
    context_length: int,
    longest_token: int,
    *,
    param: str,
    trimmed: bool = False,
) -> None:
    """Raise ContextLengthExceeded for texts that cannot fit, without tokenizing them.

    Templates and tokenizers take seconds for megabytes and do not notice a client that leaves. Each text has
    at least one token. A tokenizer may strip up to MAX_BLANKS blanks at its ends; `trimmed`: a template may
    strip any number.
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
