"""The threads that answer requests: started on demand, ended when idle."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("openedai")

MIN_THREADS = 4  # that stay when idle


class Task(Protocol):
    """A task of waitress."""

    def service(self) -> None: ...

    def cancel(self) -> None: ...


class WorkerPool:
    """Replaces waitress's ThreadedTaskDispatcher, which has a fixed number of threads.

    A request that waits in the queue occupies a thread, so many may be needed, but mostly few are. A task
    goes to the thread that became idle last, whose memory is still in the CPU's caches. Thread-safe.
    """

    def __init__(self, max_threads: Callable[[], int], idle: float) -> None:
        """`max_threads()`: the current maximum; `idle`: seconds after which idle threads end, except
        MIN_THREADS."""
        self._max_threads = max_threads
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
        """The current number of threads."""
        return self._threads

    @property
    def idle(self) -> int:
        """How many of them have nothing to do."""
        return len(self._idle)

    @property
    def has_other_work(self) -> bool:
        """Whether a thread that has finished its task should return to the pool."""
        return bool(self._tasks) or self._stopping

    def add_task(self, task: Task) -> None:
        """Run it in some thread, soon."""
        with self._lock:
            if self._idle:
                self._idle.pop().give(task)
                return
            self._tasks.append(task)
            if self._threads >= self._max_threads():
                return
            self._threads += 1
            self._numbers += 1
            number = self._numbers
        try:
            threading.Thread(target=self._work, name=f"openai-http-{number}", daemon=True).start()
        except RuntimeError:
            # The system is out of threads: an existing one will run the task.
            log.warning("no further thread could be started (%d running)", self._threads - 1)
            with self._lock:
                self._threads -= 1

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5.0) -> bool:
        """End idle threads at once, and others after their task. False if some are still running after
        `timeout` seconds."""
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
        """The next task; None: this thread must end."""
        with self._lock:
            if self._tasks and not self._stopping:
                return self._tasks.popleft()
            if self._stopping:
                self._end()
                return None
            self._idle.append(worker)
        while not worker.woken.acquire(timeout=self._idle_s):
            with self._lock:
                if worker in self._idle and self._threads > MIN_THREADS:
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
    """An idle thread and its next task."""

    def __init__(self) -> None:
        self.woken = threading.Lock()
        self.woken.acquire()
        self.task: Task | None = None

    def give(self, task: Task | None) -> None:
        """Wake the thread with a task, or with None to end it."""
        self.task = task
        self.woken.release()
