"""How much a JSON text may hold, counted before it is parsed.

A short text can become gigabytes of objects, and parsing it holds Python's lock all the while: 19 MB of
`[],[],` take four seconds. So what stands outside of strings is counted first, a part after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import InvalidRequest

SMALL = 256 << 10  # bytes; what is shorter cannot hold much
PART = 64 << 10  # bytes that are counted at once; others run in between
MAX_VALUES = 1_000_000  # numbers, texts and the like: the token ids of a long prompt are many
MAX_MEMBERS = 200_000  # names in objects
MAX_OBJECTS = 100_000  # objects and arrays

LIMITS = (
    ("values", MAX_VALUES, b",[{"),
    ("names in objects", MAX_MEMBERS, b":"),
    ("objects and arrays", MAX_OBJECTS, b"[{"),
)
"""What is counted: the characters that stand before each."""

STRING = re.compile(rb'"[^"]*"')


def check_bounds(data: bytes) -> None:
    """Raises InvalidRequest for a text with more in it than any request needs."""
    if _within(_parts(data)) is None:
        return
    # Much of it may stand in texts, where it does no harm.
    found = _within(outside_of_strings(data))
    if found is not None:
        what, most = found
        raise InvalidRequest(
            f"The body of the request holds more than {most} {what}.", code="too_many_values"
        )


def _within(parts: Iterator[bytes]) -> tuple[str, int] | None:
    """The first of LIMITS that is passed."""
    counts = [0] * len(LIMITS)
    for part in parts:
        for at, (what, most, marks) in enumerate(LIMITS):
            counts[at] += sum(part.count(mark) for mark in marks)
            if counts[at] > most:
                return what, most
    return None


def _parts(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), PART):
        yield data[at : at + PART]


def outside_of_strings(data: bytes, size: int = PART) -> Iterator[bytes]:
    """The text without its strings, in parts of `size` bytes."""
    at, inside = 0, False
    while at < len(data):
        end = min(at + size, len(data))
        while (
            end < len(data) and data[end - 1] == 0x5C
        ):  # a backslash and what it escapes stay together
            end += 1
        # After this each quote is one that begins or ends a string.
        part = data[at:end].replace(rb"\\", b"").replace(rb"\"", b"")
        at = end
        if inside:
            _, quote, part = part.partition(b'"')
            inside = not quote
        if part.count(b'"') % 2:
            part = part[: part.rindex(b'"')]
            inside = True
        yield STRING.sub(b'""', part)
