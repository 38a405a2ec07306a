"""Unknown field names in a request: misspelt ones, and those that have no effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from itertools import islice

MIN_LETTERS = 5
"""Shorter names count as misspelt only if they differ in case, hyphens and underscores alone."""
MAX_HEADER_NAMES = 20
PLAIN = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
PLACE = re.compile(r"[A-Za-z0-9_.$\[\]-]{1,64}")


def closest_name(name: str, known: Collection[str], given: Collection[str]) -> str | None:
    """The known name that is one edit away from `name`, if any; one with the same letters before others.

    Never one that is also among the `given`: the request has both, so they are different fields.
    """
    if not PLAIN.fullmatch(name):
        return None
    plain = _plain(name)
    spellings = _spellings(frozenset(known))
    edited = [plain, *_shortened(plain)] if len(plain) >= MIN_LETTERS else [plain]
    close = [
        candidate
        for text in edited
        for candidate in spellings.get(text, ())
        if candidate not in given and _within_one_edit(plain, _plain(candidate))
    ]
    letters = sorted(plain)
    return min(close, key=lambda each: sorted(_plain(each)) != letters, default=None)


def header_of(names: Iterable[str]) -> str:
    """Join names to a response header's value; those that it cannot have are left out."""
    return ", ".join(reported(names))


def reported(names: Iterable[str]) -> list[str]:
    """The names that the header has: clients choose how many there are, and how long each is."""
    return list(islice((name for name in names if PLACE.fullmatch(name)), MAX_HEADER_NAMES))


@lru_cache(maxsize=64)
def _spellings(known: frozenset[str]) -> Mapping[str, tuple[str, ...]]:
    """Known names, indexed by themselves and by their forms without one letter."""
    found: dict[str, list[str]] = {}
    for name in sorted(known):
        plain = _plain(name)
        for text in {plain, *_shortened(plain)}:
            found.setdefault(text, []).append(name)
    return {text: tuple(names) for text, names in found.items()}


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _shortened(text: str) -> list[str]:
    return [text[:at] + text[at + 1 :] for at in range(len(text))]


def _within_one_edit(one: str, other: str) -> bool:
    """Whether one edit (a letter inserted, deleted or replaced, or two neighbours swapped) makes them
    equal."""
    if one == other:
        return True
    if len(one) < MIN_LETTERS:
        return False
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if at is None:
        return abs(len(one) - len(other)) == 1
    one, other = one[at:], other[at:]
    swapped = one[:2] == other[1::-1] and one[2:] == other[2:]
    return swapped or one[1:] == other[1:] or one[1:] == other or one == other[1:]
