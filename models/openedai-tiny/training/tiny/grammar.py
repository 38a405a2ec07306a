"""Short recipes for many phrasings: "(how|where) do I (set|change) <thing>(?|)"."""

from __future__ import annotations

import random
from collections.abc import Mapping

_NO_SLOTS: Mapping[str, str] = {}


def _close(recipe: str, start: int) -> int:
    """Index just after the bracket that closes the one at `start`."""
    depth = 0
    for index in range(start, len(recipe)):
        depth += {"(": 1, ")": -1}.get(recipe[index], 0)
        if depth == 0:
            return index + 1
    raise ValueError(f"a bracket is not closed in {recipe!r}")


def _split(recipe: str) -> list[str]:
    """The alternatives of a recipe: cut at each "|" that stands outside brackets."""
    depth, begin, parts = 0, 0, []
    for index, mark in enumerate(recipe):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if mark == "|" and depth == 0:
            parts.append(recipe[begin:index])
            begin = index + 1
    return [*parts, recipe[begin:]]


def expand(rng: random.Random, recipe: str, slots: Mapping[str, str] = _NO_SLOTS) -> str:
    """One random reading of a recipe.

    Round brackets hold alternatives split by "|" (they may nest; an empty one
    means "nothing"). "<name>" is replaced by slots["name"] at the very end, so
    a slot may contain brackets itself.
    """
    chosen = rng.choice(_split(recipe))
    pieces: list[str] = []
    index = 0
    while index < len(chosen):
        if chosen[index] == "(":
            after = _close(chosen, index)
            pieces.append(expand(rng, chosen[index + 1 : after - 1]))
            index = after
        else:
            pieces.append(chosen[index])
            index += 1
    text = "".join(pieces)
    for name, value in slots.items():
        text = text.replace(f"<{name}>", value)
    return text
