"""Finds answers that repeat themselves without end, so that they can be ended."""

from __future__ import annotations

MAX_PATTERN = 512  # characters
MIN_STRETCH = 256
"""Characters that the repetitions have together at the least: rules and blanks of a table are shorter."""
TAIL = 16
"""Characters whose earlier places are the candidates for a period."""


def repeats_at_end(text: str, times: int) -> bool:
    """Whether the end of a text, MIN_STRETCH characters or more, is one pattern of up to MAX_PATTERN
    characters at least `times` times (2 or more) in a row."""
    size = len(text)
    if size < MIN_STRETCH:
        return False
    tail, at = text[-TAIL:], size - TAIL
    first = max(0, at - MAX_PATTERN)
    while (at := text.rfind(tail, first, at + TAIL - 1)) >= 0:
        period = size - TAIL - at
        stretch = max(period * times, MIN_STRETCH)
        # A stretch has a period if it is itself, moved by that.
        if stretch <= size and text[-stretch:-period] == text[size - stretch + period :]:
            return True
    return False


class LoopDetector:
    """Watches one answer. Costs the same for each piece, however long the answer is."""

    def __init__(self, times: int) -> None:
        self._times = max(2, times)
        self._longest = MAX_PATTERN * self._times
        self._text = ""

    def push(self, text: str) -> bool:
        """Take what comes next; return whether the answer repeats itself now."""
        if not text:
            return False
        self._text = (self._text + text)[-self._longest :]
        return repeats_at_end(self._text, self._times)
