"""The threads that answer lines of batches."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger("openedai")

Line = TypeVar("Line")

IDLE_S = 2.0
"""After which a thread ends that has nothing to do."""


class LineThreads(Generic[Line]):
    """Each goes on with the next line: to start one, which connects to the store, takes longer than a short
    answer. Thread-safe."""

    def __init__(self, answer: Callable[[Line], None], idle: float = IDLE_S) -> None:
        """What `answer` raises is in the log, and its thread goes on."""
        self._answer, self._idle_s = answer, idle
        self._changed = threading.Condition()
        self._waiting: deque[Line] = deque()
        self._idle = 0
        self._threads = 0

    @property
    def threads(self) -> int:
        """How many there are now."""
        return self._threads

    @property
    def idle(self) -> int:
        """How many of them have nothing to do."""
        return self._idle

    def begin(self, line: Line) -> None:
        """Answer it in some thread, soon. Raises RuntimeError if there is none and none can be started."""
        with self._changed:
            self._waiting.append(line)
            if self._idle >= len(self._waiting):
                self._changed.notify()
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="openai-batch-line", daemon=True).start()
        except RuntimeError:  # there are too many: one of these goes on with it, if there is any
            with self._changed:
                self._threads -= 1
                if self._threads or line not in self._waiting:
                    return
                self._waiting.remove(line)
            raise

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                is_there = self._changed.wait_for(lambda: bool(self._waiting), self._idle_s)
                self._idle -= 1
                if not is_there:
                    self._threads -= 1
                    return
                line = self._waiting.popleft()
            try:
                self._answer(line)
            except Exception:
                log.exception("the end of a line of a batch could not be noted")
