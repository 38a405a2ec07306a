"""The threads that answer requests: as many as are needed, started when they are and ended when not."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("openedai")

KEPT = 4  # threads that stay when there is nothing to do
IDLE = 10.0  # seconds after which others end


class Task(Protocol):
    """What waitress wants done."""

    def service(self) -> None: ...

    def cancel(self) -> None: ...


class Workers:
    """In the place of waitress's ThreadedTaskDispatcher, which has a fixed number of threads.

    A request that waits in the queue holds a thread, so there may be many; most of the time few are
    needed. Thread-safe.
    """

    def __init__(self, most: Callable[[], int]) -> None:
        """`most()`: how many threads there may be now."""
        self._most = most
        self._condition = threading.Condition()
        self._tasks: deque[Task] = deque()
        self._threads = 0
        self._idle = 0
        self._numbers = 0
        self._stopping = False

    @property
    def threads(self) -> int:
        """How many there are now."""
        return self._threads

    def add_task(self, task: Task) -> None:
        """Do it in some thread, soon."""
        with self._condition:
            self._tasks.append(task)
            if self._idle >= len(self._tasks):
                self._condition.notify()
                return
            if self._threads >= self._most():
                return
            self._threads += 1
            self._numbers += 1
            number = self._numbers
        try:
            threading.Thread(target=self._work, name=f"openai-http-{number}", daemon=True).start()
        except RuntimeError:
            # The system gives no more threads: those that there are will come to it.
            log.warning("no thread could be started beside %d", self._threads - 1)
            with self._condition:
                self._threads -= 1

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5.0) -> bool:
        """End the threads that have nothing to do, and the others as soon as they are done. False when
        some are still at work after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            ended = self._condition.wait_for(
                lambda: not self._threads, max(0.0, deadline - time.monotonic())
            )
            pending = list(self._tasks) if cancel_pending else []
            self._tasks.clear()
        for task in pending:
            task.cancel()
        return ended

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                task.service()
            except BaseException:  # a thread must outlive its task
                log.exception("a request failed outside of the application")

    def _next(self) -> Task | None:
        """The next task; None when this thread is to end."""
        with self._condition:
            self._idle += 1
            while not self._tasks and not self._stopping:
                if not self._condition.wait(IDLE) and not self._tasks and self._threads > KEPT:
                    break
            self._idle -= 1
            if self._tasks and not self._stopping:
                return self._tasks.popleft()
            self._threads -= 1
            self._condition.notify_all()
            return None
