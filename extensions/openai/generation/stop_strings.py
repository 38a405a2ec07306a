"""Stop strings: found across pieces, and never shown, not even in part."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Watches one answer for its stop strings. Not thread-safe: one per choice.

    Text that could become a stop string is held back until the next characters decide. Each `push` costs
    time in the length of its own text and of the longest stop string, not of the answer so far.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in self._stops), default=0)
        self._held = ""
        self.matched: str | None = None

    @property
    def held(self) -> str:
        """Text that is held back."""
        return self._held

    def push(self, text: str) -> str:
        """Take more text; return what may be shown. Sets `matched` when a stop string is complete.

        The match that is complete first counts, whatever the order of the list and however the text
        comes; of several that end together the longest.
        """
        if not self._stops:
            return text
        text = self._held + text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            _, at, self.matched = min(found)
            self._held = ""
            return text[:at]
        keep = self._undecided(text)
        self._held = text[keep:]
        return text[:keep]

    def flush(self) -> str:
        """The held text, once the answer has ended without a match."""
        held, self._held = self._held, ""
        return held

    def _undecided(self, text: str) -> int:
        """Where the longest suffix of `text` begins that is a prefix of a stop string."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            tail = text[start:]
            if any(stop.startswith(tail) for stop in self._stops):
                return start
        return len(text)


def overlap(text: str, mark: str) -> int:
    """The length of the longest suffix of `text` that is a prefix of `mark`."""
    at = text.find(mark[0], max(0, len(text) - len(mark) + 1))
    while at >= 0 and not mark.startswith(text[at:]):
        at = text.find(mark[0], at + 1)
    return len(text) - at if at >= 0 else 0
