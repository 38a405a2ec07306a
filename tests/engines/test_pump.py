"""From callbacks to a generator: order, silence, errors, a slow reader, a reader who leaves."""

from __future__ import annotations

import threading
import time

import pytest

from extensions.openai.engines.pump import CAPACITY, TICK, Emit, pump


def test_items_come_in_their_order() -> None:
    def produce(emit: Emit[int]) -> None:
        for number in range(1000):
            assert not emit(number)

    assert [item for item in pump(produce) if item is not None] == list(range(1000))


def test_nothing_at_all_is_an_empty_generator() -> None:
    assert [item for item in pump(lambda emit: None) if item is not None] == []


def test_silence_is_told_by_none_within_a_tick() -> None:
    speak = threading.Event()

    def produce(emit: Emit[str]) -> None:
        speak.wait(10)
        emit("late")

    items = pump(produce)
    began = time.monotonic()
    assert next(items) is None
    assert time.monotonic() - began < 10 * TICK
    speak.set()
    assert next(item for item in items if item is not None) == "late"


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def produce(emit: Emit[str]) -> None:
        emit("a")
        raise LookupError("b")

    items = pump(produce)
    assert next(items) == "a"
    with pytest.raises(LookupError, match="b"):
        next(items)


def test_closing_tells_the_producer_to_stop() -> None:
    ended = threading.Event()

    def produce(emit: Emit[int]) -> None:
        while not emit(1):
            pass
        ended.set()

    items = pump(produce)
    assert next(items) == 1
    items.close()
    assert ended.wait(5)


def test_a_producer_waits_for_a_slow_reader_and_loses_nothing() -> None:
    made: list[int] = []
    total = 4 * CAPACITY

    def produce(emit: Emit[int]) -> None:
        for number in range(total):
            made.append(number)
            emit(number)

    items = pump(produce)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < CAPACITY and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    threading.Event().wait(2 * TICK)  # time enough to run ahead, were it let
    assert len(made) <= CAPACITY + 2
    assert [item for item in items if item is not None] == list(range(1, total))


def test_a_reader_who_leaves_frees_a_producer_that_is_held() -> None:
    ended = threading.Event()

    def produce(emit: Emit[int]) -> None:
        while not emit(1):
            pass
        ended.set()

    items = pump(produce)
    next(items)
    threading.Event().wait(2 * TICK)
    items.close()
    assert ended.wait(5)


def test_a_generator_that_is_never_read_starts_nothing() -> None:
    started = threading.Event()
    items = pump(lambda emit: started.set())
    items.close()
    assert not started.is_set()
