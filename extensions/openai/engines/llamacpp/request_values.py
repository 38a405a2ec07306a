"""Seeds, biases and media as llama.cpp takes them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

from ..protocol import BAN, Media

RANDOM_SEED = 0xFFFFFFFF
"""The largest of 32 bits means no seed in llama.cpp."""


def seed_of(asked: int) -> int:
    """The seed that llama.cpp is sent for a request's."""
    return asked % RANDOM_SEED


def seed_behind(seed: int, behind: int) -> int:
    """The seed of a further call for the same answer: the same numbers again would make it repeat itself.

    No seed stays none; hosts also write that as a negative number."""
    return seed if seed < 0 or seed == RANDOM_SEED else (seed + behind) % RANDOM_SEED


def biases_of(asked: Iterable[tuple[int, float]]) -> list[list[float]]:
    """Pairs of a token and what is added to its logit; False is minus infinity."""
    return [[token, False if bias <= BAN else bias] for token, bias in asked]


def encoded(media: Media) -> str:
    """A file as base64."""
    return b64encode(media.data).decode()
