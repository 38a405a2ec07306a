"""Contents of messages on their way to an engine: texts and media in their order."""

from __future__ import annotations

from collections.abc import Iterable

from ..engines.protocol import Media

Parts = list[str | Media]
BETWEEN = "\n\n"
"""Between neighbouring texts that are parts of their own on the wire."""


def joined(parts: Iterable[str | Media]) -> Parts:
    """The parts with neighbouring texts as one."""
    found: Parts = []
    for part in parts:
        if found and isinstance(part, str) and isinstance(found[-1], str):
            found[-1] += BETWEEN + part
        else:
            found.append(part)
    return found


def text_of(parts: Parts) -> str:
    """The text without media."""
    return "".join(part for part in parts if isinstance(part, str))


def seen_of(parts: Parts) -> tuple[str | Media, ...]:
    """All parts where there are media, as engines want them."""
    return tuple(parts) if any(isinstance(part, Media) for part in parts) else ()
