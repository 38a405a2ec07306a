"""The order in which grammars are compiled."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator
from heapq import heapify, heappush

from ....engines.callback_bridge import TICK_S

DELAY_S_PER_CHARACTER = 10e-6  # for which a grammar lets shorter ones pass
PAUSE_PER_COMPILE = 3.0  # pause before the next one, as a multiple of the time to compile


class ShortestFirst:
    """A semaphore that admits shorter grammars first. A long one lets others pass for a time that grows with
    its length, and then no more. Thread-safe."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def enter(self, length: int) -> Generator[None, None, None]:
        """Return when admitted; yields at least every TICK_S until then, and can be closed."""
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
        """Admit the next one."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def _next(self, ticket: tuple[float, int]) -> bool:
        return self._free > 0 and self._waiting[0] == ticket


class Pace:
    """Spaces out grammars that block the engine's thread, which all answers share, for a while.
    Thread-safe."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, seconds: float) -> Generator[None, None, None]:
        """Return when a grammar that takes this long to compile may be passed to the engine; yields at least
        every TICK_S until then."""
        with self._lock:
            start = max(time.monotonic(), self._free_at)
            self._free_at = start + PAUSE_PER_COMPILE * seconds
        while (left := start - time.monotonic()) > 0:
            time.sleep(min(left, TICK_S))
            yield
