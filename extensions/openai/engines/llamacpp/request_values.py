"""Requests in llama.cpp's format: seeds, biases, media."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from ..protocol import BAN, GenerateRequest, Media

RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's value for no seed."""
LLGUIDANCE = "%llguidance {}\n"
"""Says that a grammar is Lark and not GBNF."""


def seed_of(requested: int) -> int:
    """llama.cpp's seed for that of a request."""
    return requested % RANDOM_SEED


def continuation_seed(seed: int, offset: int) -> int:
    """The seed of a further call for the same answer: with the same seed it would repeat itself.

    No seed stays no seed; hosts also write that as a negative number."""
    return seed if seed < 0 or seed == RANDOM_SEED else (seed + offset) % RANDOM_SEED


def biases_of(requested: Iterable[tuple[int, float]]) -> list[list[float]]:
    """Pairs of a token and what to add to its logit; False is minus infinity."""
    return [[token, False if bias <= BAN else bias] for token, bias in requested]


def encoded(media: Media) -> str:
    """A file as base64."""
    return b64encode(media.data).decode()


def body_of(request: GenerateRequest) -> dict[str, Any]:
    """The request to llama.cpp without the prompt."""
    seed, limit = request.seed, request.max_tokens
    body = {
        **request.sampling,
        "seed": RANDOM_SEED if seed is None else seed_of(seed),
        "n_predict": -1 if limit is None else limit,
        "logit_bias": biases_of(request.logit_bias) if request.logit_bias else [],
        "stream": True,
        "timings_per_token": True,  # the exact token count with every piece
        # `return_progress` is for prompts of several steps: a callback after each, so that reading can be
        # aborted. For a single step it would only cost time.
    }
    if request.grammar is not None:
        body["grammar"] = LLGUIDANCE + request.grammar
    return body
