"""What a log says once, however often it happens; bounded, as clients choose what is remembered."""

from __future__ import annotations


class Once:
    """Remembers the first `limit` names. Two threads that come at once may both be first."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def first(self, name: str) -> bool:
        """Whether the name is new; false for all others once as many as possible are remembered."""
        if name in self._seen or len(self._seen) >= self._limit:
            return False
        self._seen.add(name)
        return True
