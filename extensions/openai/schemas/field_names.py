"""Names of fields that a request has and no type knows: misspelt ones, and those that have no effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

MIN_LETTERS = 5
"""Shorter names are taken for misspelt only where case, hyphens and underscores are all that differs."""
MAX_NAMED = 20
"""Names that a response header lists."""
PLAIN = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
PLACE = re.compile(r"[A-Za-z0-9_.$\[\]-]{1,64}")


def meant_by(name: str, known: Collection[str], given: Collection[str]) -> str | None:
    """The known name that `name` is one edit away from; None where there is none.

    Not one that is among the `given` as well: who writes both means two different fields.
    """
    if not PLAIN.fullmatch(name):
        return None
    plain = _plain(name)
    spellings = _spellings(frozenset(known))
    edited = [plain, *_shortened(plain)] if len(plain) >= MIN_LETTERS else [plain]
    for text in edited:
        for candidate in spellings.get(text, ()):
            if candidate not in given and _near(plain, _plain(candidate)):
                return candidate
    return None


def header_of(names: Iterable[str]) -> str:
    """Names for the value of a response header; those that could not stand there are left out."""
    return ", ".join([name for name in names if PLACE.fullmatch(name)][:MAX_NAMED])


@lru_cache(maxsize=64)
def _spellings(known: frozenset[str]) -> Mapping[str, tuple[str, ...]]:
    """Known names by what they are without one letter, and by themselves."""
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


def _near(one: str, other: str) -> bool:
    """Whether one edit (a letter more, less or another, or two neighbours swapped) makes them equal."""
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
