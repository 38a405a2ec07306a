"""Threads that answer lines: few for many lines, and none for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from extensions.openai.web.batches import line_threads
from extensions.openai.web.batches.line_threads import LineThreads

DEADLINE_S = 60


class Answered:
    """What the threads did. A line waits until `gate` is set."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.by: set[str] = set()
        self.gate = threading.Event()
        self._changed = threading.Condition()

    def answer(self, line: int) -> None:
        assert self.gate.wait(DEADLINE_S)
        with self._changed:
            self.lines.append(line)
            self.by.add(str(threading.get_ident()))
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lines) >= count, DEADLINE_S)


@pytest.fixture
def answered() -> Iterator[Answered]:
    found = Answered()
    yield found
    found.gate.set()


def test_a_thread_goes_on_with_the_next_line(answered: Answered) -> None:
    threads = LineThreads(answered.answer, idle=DEADLINE_S)
    answered.gate.set()
    for line in range(20):
        threads.begin(line)
        answered.wait(line + 1)
        while not threads.idle:
            pass
    assert answered.lines == list(range(20))
    assert threads.threads == 1 and len(answered.by) == 1


def test_lines_at_once_have_a_thread_each(answered: Answered) -> None:
    threads = LineThreads(answered.answer)
    for line in range(5):
        threads.begin(line)
    assert threads.threads == 5
    answered.gate.set()
    answered.wait(5)
    assert sorted(answered.lines) == list(range(5)) and len(answered.by) == 5


def test_threads_without_lines_end(answered: Answered) -> None:
    threads = LineThreads(answered.answer, idle=0.0)
    answered.gate.set()
    threads.begin(1)
    answered.wait(1)
    while threads.threads:
        pass
    threads.begin(2)
    answered.wait(2)


def test_a_line_waits_for_a_thread_if_none_can_be_started(
    answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = LineThreads(answered.answer)

    class Refused(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    shim = SimpleNamespace(Thread=Refused, Condition=threading.Condition)
    with monkeypatch.context() as patched:
        patched.setattr(line_threads, "threading", shim)
        with pytest.raises(RuntimeError):
            threads.begin(1)
    threads.begin(2)
    with monkeypatch.context() as patched:
        patched.setattr(line_threads, "threading", shim)
        threads.begin(3)
    answered.gate.set()
    answered.wait(2)
    assert answered.lines == [2, 3] and len(answered.by) == 1


def test_a_thread_goes_on_behind_a_line_that_fails(
    answered: Answered, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(line: int) -> None:
        if not line:
            raise ValueError("it fails")
        answered.answer(line)

    threads = LineThreads(answer, idle=DEADLINE_S)
    answered.gate.set()
    threads.begin(0)
    while not threads.idle:
        pass
    threads.begin(1)
    answered.wait(1)
    assert threads.threads == 1 and "it fails" in caplog.text
