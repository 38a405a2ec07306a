"""The tokens that may come next, with their probabilities after samplers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol, runtime_checkable

from .protocol import GenerateRequest, LikelyToken

NextTokens = Generator["tuple[LikelyToken, ...] | None", None, None]
"""The tokens, once, the likeliest first; None as in Pieces."""


@runtime_checkable
class SamplesNext(Protocol):
    """Reports what the next token is drawn from."""

    def next_tokens(self, request: GenerateRequest) -> NextTokens:
        """The tokens after a prompt that the request's samplers leave, at most `request.logprobs` of them.

        Their log-probabilities are those after samplers. Raises ContextLengthExceeded, InvalidRequest,
        EngineFailed.
        """
