"""Whether the server is stopping, and how many requests are under way."""

from __future__ import annotations

import threading

from ..errors import ShuttingDown


class Lifecycle:
    """Of one server. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._active = 0
        self._draining = False
        self._ending = threading.Event()

    def begin_request(self) -> None:
        """Count a request as under way. Raises ShuttingDown once the server takes no more."""
        with self._condition:
            if self._draining:
                raise ShuttingDown("The server is shutting down.")
            self._active += 1

    def end_request(self) -> None:
        with self._condition:
            self._active -= 1
            self._condition.notify_all()

    def check_answers_may_go_on(self) -> None:
        """Raises ShuttingDown when answers under way must end now."""
        if self._ending.is_set():
            raise ShuttingDown("The server is shutting down; this answer is not complete.")

    def drain(self, patience: float, ending: float) -> bool:
        """Take no more requests; give those under way `patience` seconds, then let them end and
        wait `ending` seconds. True if all have ended."""
        with self._condition:
            self._draining = True
            if self._condition.wait_for(lambda: self._active == 0, patience):
                return True
            self._ending.set()
            return self._condition.wait_for(lambda: self._active == 0, ending)
