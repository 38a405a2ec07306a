"""Seeds, biases and media in llama.cpp's format."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

from ..protocol import BAN, Media

RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's value for no seed."""


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
