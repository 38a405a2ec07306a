"""The threads that answer requests: as many as are needed, started when they are and ended when not."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("openedai")

KEPT = 4  # threads that stay when there is nothing to do


class Task(Protocol):
    """What waitress wants done."""

    def service(self) -> None: ...

    def cancel(self) -> None: ...


class WorkerPool:
    """In the place of waitress's ThreadedTaskDispatcher, which has a fixed number of threads.

    A request that waits in the queue holds a thread, so there may be many; most of the time few are
    needed. A task goes to the thread that became idle last, whose memory is still in the processor's
    caches. Thread-safe.
    """

    def __init__(self, most: Callable[[], int], idle: float) -> None:
        """`most()`: how many threads there may be now; `idle`: seconds after which those end that have
        nothing to do, beyond KEPT."""
        self._most = most
        self._idle_s = idle
        self._lock = threading.Lock()
        self._tasks: deque[Task] = deque()
        self._idle: list[_Worker] = []
        self._threads = 0
        self._numbers = 0
        self._stopping = False
        self._ended = threading.Condition(self._lock)

    @property
    def threads(self) -> int:
        """How many there are now."""
        return self._threads

    @property
    def is_pressed(self) -> bool:
        """Whether a thread that has done its task should look for another one, or for its end."""
        return bool(self._tasks) or self._stopping

    def add_task(self, task: Task) -> None:
        """Do it in some thread, soon."""
        with self._lock:
            if self._idle:
                self._idle.pop().give(task)
                return
            self._tasks.append(task)
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
            with self._lock:
                self._threads -= 1

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5.0) -> bool:
        """End the threads that have nothing to do, and the others as soon as they are done. False when
        some are still at work after `timeout` seconds."""
        with self._lock:
            self._stopping = True
            for worker in self._idle:
                worker.give(None)
            self._idle.clear()
            ended = self._ended.wait_for(lambda: not self._threads, timeout)
            pending = list(self._tasks) if cancel_pending else []
            self._tasks.clear()
        for task in pending:
            task.cancel()
        return ended

    def _work(self) -> None:
        worker = _Worker()
        while (task := self._next(worker)) is not None:
            try:
                task.service()
            except BaseException:  # a thread must outlive its task
                log.exception("a request failed outside of the application")

    def _next(self, worker: _Worker) -> Task | None:
        """The next task; None when this thread is to end."""
        with self._lock:
            if self._tasks and not self._stopping:
                return self._tasks.popleft()
            if self._stopping:
                self._end()
                return None
            self._idle.append(worker)
        while not worker.woken.acquire(timeout=self._idle_s):
            with self._lock:
                if worker in self._idle and self._threads > KEPT:
                    self._idle.remove(worker)
                    self._end()
                    return None
        task, worker.task = worker.task, None
        if task is None:
            with self._lock:
                self._end()
        return task

    def _end(self) -> None:
        self._threads -= 1
        self._ended.notify_all()


class _Worker:
    """An idle thread, and what it is given."""

    def __init__(self) -> None:
        self.woken = threading.Lock()
        self.woken.acquire()
        self.task: Task | None = None

    def give(self, task: Task | None) -> None:
        """Wake it; None: to end it."""
        self.task = task
        self.woken.release()
