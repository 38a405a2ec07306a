"""Limits the number of values in a JSON text, counted before it is parsed.

A short text can become gigabytes of objects, and parsing holds Python's global lock: 19 MB of `[],[],` take
four seconds. So the punctuation outside strings is counted first, in chunks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import InvalidRequest

UNCHECKED_BYTES = 256 << 10  # shorter texts cannot contain too much
CHUNK_BYTES = 64 << 10  # counted at once; other threads run in between
MAX_VALUES = 1_000_000  # the token ids of a long prompt are many
MAX_MEMBERS = 200_000  # names in objects
MAX_OBJECTS = 100_000  # objects and arrays

LIMITS = (
    ("values", MAX_VALUES, b",[{"),
    ("names in objects", MAX_MEMBERS, b":"),
    ("objects and arrays", MAX_OBJECTS, b"[{"),
)
"""What is counted, its maximum, and the characters that precede each."""

STRING = re.compile(rb'"[^"]*"')


def check_bounds(data: bytes) -> None:
    """Raise InvalidRequest for a text with more values than any request needs."""
    if _exceeded(_chunks(data)) is None:
        return
    # Much of it may be in strings, where it is harmless.
    found = _exceeded(outside_strings(data))
    if found is not None:
        what, maximum = found
        raise InvalidRequest(
            f"The request body has more than {maximum} {what}.", code="too_many_values"
        )


def _exceeded(chunks: Iterator[bytes]) -> tuple[str, int] | None:
    """The first of LIMITS that is exceeded."""
    counts = [0] * len(LIMITS)
    for chunk in chunks:
        for at, (what, maximum, marks) in enumerate(LIMITS):
            counts[at] += sum(chunk.count(mark) for mark in marks)
            if counts[at] > maximum:
                return what, maximum
    return None


def _chunks(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), CHUNK_BYTES):
        yield data[at : at + CHUNK_BYTES]


def outside_strings(data: bytes, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The text without its strings, in chunks of `size` bytes."""
    at, inside = 0, False
    while at < len(data):
        end = min(at + size, len(data))
        # Keep a backslash together with the character that it escapes.
        while end < len(data) and data[end - 1] == 0x5C:
            end += 1
        # Without escapes, each quote begins or ends a string.
        part = data[at:end].replace(rb"\\", b"").replace(rb"\"", b"")
        at = end
        if inside:
            _, quote, part = part.partition(b'"')
            inside = not quote
        if part.count(b'"') % 2:
            part = part[: part.rindex(b'"')]
            inside = True
        yield STRING.sub(b'""', part)
