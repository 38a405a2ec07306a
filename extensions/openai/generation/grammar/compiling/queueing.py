"""The order in which grammars are compiled."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator
from heapq import heapify, heappush

from ....engines.callback_bridge import TICK_S

DELAY_S_PER_CHARACTER = (
    10e-6  # seconds for each character, by which a grammar gives way to shorter ones
)
PAUSE_PER_COMPILE = 3.0  # times as long as one takes to compile, until the next one


class ShortestFirst:
    """Room for so many at once, the shorter ones first. A long one is overtaken for a while that grows with
    its length, and then no more. Thread-safe."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def enter(self, length: int) -> Generator[None, None, None]:
        """Return when it is its turn; yields at least every TICK_S, and can be closed meanwhile."""
        ticket = (time.monotonic() + length * DELAY_S_PER_CHARACTER, next(self._numbers))
        with self._changed:
            heappush(self._waiting, ticket)
        entered = False
        try:
            while not entered:
                with self._changed:
                    entered = self._changed.wait_for(lambda: self._next(ticket), TICK_S)
                    if entered:
                        self._free -= 1
                if not entered:
                    yield
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                heapify(self._waiting)
                self._changed.notify_all()

    def leave(self) -> None:
        """Make room for the next one."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def _next(self, ticket: tuple[float, int]) -> bool:
        return self._free > 0 and self._waiting[0] == ticket


class Pace:
    """Keeps grammars apart that the engine's thread, on which all answers wait, is busy with for a while.
    Thread-safe."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, seconds: float) -> Generator[None, None, None]:
        """Return when one that takes so long to compile may be given to the engine; yields at least every
        TICK_S."""
        with self._lock:
            start = max(time.monotonic(), self._free_at)
            self._free_at = start + PAUSE_PER_COMPILE * seconds
        while (left := start - time.monotonic()) > 0:
            time.sleep(min(left, TICK_S))
            yield
