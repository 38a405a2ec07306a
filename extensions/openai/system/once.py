"""For messages that are logged once; bounded, as clients choose the names."""

from __future__ import annotations


class Once:
    """Remembers the first `limit` names. Two concurrent threads may both be first."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def first(self, name: str) -> bool:
        """Whether the name is new; always false once `limit` names are remembered."""
        if name in self._seen or len(self._seen) >= self._limit:
            return False
        self._seen.add(name)
        return True
