"""Threads that come when they are needed and go when they are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from extensions.openai.server.worker_pool import MIN_THREADS, WorkerPool


class Job:
    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self.cancelled = False

    def service(self) -> None:
        self._work()

    def cancel(self) -> None:
        self.cancelled = True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.01)


def test_threads_grow_with_the_work_up_to_the_most_and_shrink_again() -> None:
    workers = WorkerPool(lambda: 30, idle=0.05)
    assert workers.threads == 0
    gate, inside = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        inside.release()
        gate.wait(10)

    for _ in range(40):
        workers.add_task(Job(work))
    for _ in range(30):
        assert inside.acquire(timeout=10)
    assert workers.threads == 30
    assert not inside.acquire(timeout=0.05), "the others wait"
    gate.set()
    for _ in range(10):
        assert inside.acquire(timeout=10)
    wait_for(lambda: workers.threads <= MIN_THREADS)
    assert workers.shutdown(timeout=5)
    assert workers.threads == 0


def test_one_after_the_other_takes_one_thread() -> None:
    workers = WorkerPool(lambda: 30, idle=10)
    for _ in range(20):
        done = threading.Event()
        workers.add_task(Job(done.set))
        assert done.wait(10)
        wait_for(lambda: workers.idle == workers.threads)
    assert workers.threads == 1
    assert workers.shutdown()


def test_the_thread_that_became_idle_last_is_next() -> None:
    workers = WorkerPool(lambda: 30, idle=10)
    gates = [threading.Event() for _ in range(3)]
    ended: list[str] = []

    def work(gate: threading.Event) -> None:
        gate.wait(10)
        ended.append(threading.current_thread().name)

    for gate in gates:
        workers.add_task(Job(partial(work, gate)))
    for count, gate in enumerate(gates, 1):
        gate.set()
        wait_for(lambda count=count: workers.idle == count)  # type: ignore[misc]
    for _ in range(2):
        workers.add_task(Job(partial(work, gates[0])))
        wait_for(lambda: workers.idle == 3)
    assert len(set(ended[:3])) == 3 and ended[3:] == [ended[2]] * 2
    assert workers.shutdown()


def test_a_task_that_fails_does_not_take_its_thread_along(caplog: pytest.LogCaptureFixture) -> None:
    workers = WorkerPool(lambda: 1, idle=10)

    def fail() -> None:
        raise SystemExit("no")

    done = threading.Event()
    workers.add_task(Job(fail))
    workers.add_task(Job(done.set))
    assert done.wait(10)
    assert "outside of the application" in caplog.text
    assert workers.shutdown()


def test_shutting_down_cancels_what_has_not_begun() -> None:
    workers = WorkerPool(lambda: 1, idle=10)
    gate, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        gate.wait(10)

    waiting = Job(began.set)
    workers.add_task(Job(work))
    assert began.wait(10)
    workers.add_task(waiting)
    assert not workers.shutdown(timeout=0.05)
    assert waiting.cancelled
    gate.set()
    wait_for(lambda: workers.threads == 0)


def test_no_more_threads_from_the_system_is_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workers = WorkerPool(lambda: 30, idle=10)
    begun, gate, done = (threading.Event() for _ in range(3))

    def wait() -> None:
        begun.set()
        gate.wait(10)

    workers.add_task(Job(wait))
    assert begun.wait(10)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        workers.add_task(Job(done.set))
    assert workers.threads == 1 and "no further thread could be started" in caplog.text
    gate.set()
    assert done.wait(10)
    assert workers.shutdown()
