"""The answers that `--answer-cache` keeps, in memory and within bounds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

OVERHEAD = 512
"""Bytes of an entry besides its answer."""
OF_A_NAME = 64
"""Bytes of a text besides its characters."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer."""

    body: bytes
    id: str | None
    model: str | None
    ignored: tuple[str, ...]
    """Names of fields without effect, as its header has them."""

    @property
    def size(self) -> int:
        return len(self.body) + OVERHEAD + sum(len(name) + OF_A_NAME for name in self.ignored)


class KeptAnswers:
    """The answers of one server. Thread-safe."""

    def __init__(self, most: int) -> None:
        """`most`: bytes of all of them together."""
        self._most, self._size = most, 0
        self.cleared = 0
        """How often all were forgotten."""
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget all answers."""
        with self._lock:
            self._kept.clear()
            self._size = 0
            self.cleared += 1

    def get(self, key: bytes) -> Kept | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def put(self, key: bytes, kept: Kept, cleared: int) -> None:
        """`cleared`: as it was when the work began: what was under way is forgotten with the others."""
        if kept.size > self._most:
            return
        with self._lock:
            if cleared != self.cleared:
                return
            before = self._kept.pop(key, None)
            self._size += kept.size - (0 if before is None else before.size)
            self._kept[key] = kept
            while self._size > self._most:
                _, oldest = self._kept.popitem(last=False)
                self._size -= oldest.size
