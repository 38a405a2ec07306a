"""From callbacks to a generator: order, silence, errors, a slow reader, a reader who leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator

import pytest

from extensions.openai.engines.callback_bridge import (
    MAX_WAITING_ITEMS,
    TICK_S,
    Emit,
    Item,
    iterate_callback,
    run_inline,
)


def test_items_come_in_their_order() -> None:
    def produce(emit: Emit[int]) -> None:
        for number in range(1000):
            assert not emit(number)

    assert [item for item in iterate_callback(produce) if item is not None] == list(range(1000))


def test_nothing_at_all_is_an_empty_generator() -> None:
    assert [item for item in iterate_callback(lambda emit: None) if item is not None] == []


def test_silence_is_told_by_none_within_a_tick() -> None:
    speak = threading.Event()

    def produce(emit: Emit[str]) -> None:
        assert speak.wait(50)
        emit("late")

    items = iterate_callback(produce)
    assert next(items) is None
    speak.set()
    assert next(item for item in items if item is not None) == "late"


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def produce(emit: Emit[str]) -> None:
        emit("a")
        raise LookupError("b")

    items = iterate_callback(produce)
    assert next(items) == "a"
    with pytest.raises(LookupError, match="b"):
        next(items)


def test_closing_tells_the_producer_to_stop() -> None:
    ended = threading.Event()

    def produce(emit: Emit[int]) -> None:
        while not emit(1):
            pass
        ended.set()

    items = iterate_callback(produce)
    assert next(items) == 1
    items.close()
    assert ended.wait(50)


def test_a_producer_waits_for_a_slow_reader_and_loses_nothing() -> None:
    made: list[int] = []
    total = 4 * MAX_WAITING_ITEMS

    def produce(emit: Emit[int]) -> None:
        for number in range(total):
            made.append(number)
            emit(number)

    items = iterate_callback(produce)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < MAX_WAITING_ITEMS and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    threading.Event().wait(2 * TICK_S)  # time enough to run ahead, were it let
    assert len(made) <= MAX_WAITING_ITEMS + 2
    assert [item for item in items if item is not None] == list(range(1, total))


def test_a_reader_who_leaves_frees_a_producer_that_is_held() -> None:
    ended = threading.Event()

    def produce(emit: Emit[int]) -> None:
        while not emit(1):
            pass
        ended.set()

    items = iterate_callback(produce)
    next(items)
    threading.Event().wait(2 * TICK_S)
    items.close()
    assert ended.wait(50)


def test_a_generator_that_is_never_read_starts_nothing() -> None:
    started = threading.Event()
    items = iterate_callback(lambda emit: started.set())
    items.close()
    assert not started.is_set()


def test_a_drive_runs_the_producer_in_its_own_thread() -> None:
    threads: set[int] = set()

    def produce(emit: Emit[int]) -> None:
        threads.add(threading.get_ident())
        for number in range(1000):
            assert not emit(number)

    seen: list[int] = []
    run_inline(
        doubled(iterate_callback(produce)), lambda item: None if item is None else seen.append(item)
    )
    assert seen == list(range(0, 2000, 2))
    assert threads == {threading.get_ident()}


def test_an_item_is_delivered_before_emit_returns() -> None:
    seen: list[int | None] = []

    def produce(emit: Emit[int]) -> None:
        for number in range(3):
            emit(number)
            assert [item for item in seen if item is not None] == list(range(number + 1))

    run_inline(
        doubled(doubled(iterate_callback(produce))), lambda item: seen.append(item and item // 4)
    )


def test_a_silent_producer_is_driven_by_a_clock() -> None:
    heard = threading.Event()

    def deliver(item: str | None) -> None:
        if item is None and threading.current_thread() is not threading.main_thread():
            heard.set()

    def produce(emit: Emit[str]) -> None:
        assert heard.wait(10)

    run_inline(iterate_callback(produce), deliver)


def test_a_drive_raises_what_the_producer_raised_after_its_items() -> None:
    def produce(emit: Emit[str]) -> None:
        emit("a")
        raise LookupError("b")

    seen: list[str | None] = []
    with pytest.raises(LookupError, match="b"):
        run_inline(iterate_callback(produce), seen.append)
    assert "a" in seen


def test_whoever_does_not_want_more_ends_the_producer() -> None:
    emitted: list[bool] = []

    def produce(emit: Emit[int]) -> None:
        while not emitted or not emitted[-1]:
            emitted.append(emit(len(emitted)))

    def deliver(item: int | None) -> None:
        if item == 2:
            raise ConnectionError("left")

    closed: list[bool] = []
    with pytest.raises(ConnectionError, match="left"):
        run_inline(notified_when_closed(iterate_callback(produce), closed), deliver)
    assert emitted == [False, False, True]
    assert closed == [True]


def test_an_error_while_closing_stops_no_clock() -> None:
    def silent(emit: Emit[int]) -> None:
        deadline = time.monotonic() + 30
        while not left.is_set() and time.monotonic() < deadline:
            time.sleep(TICK_S / 10)

    def fails_when_closed() -> Generator[int | None, None, None]:
        try:
            yield from iterate_callback(silent)
        finally:
            raise LookupError("while closing")

    def leave(item: int | None) -> None:
        if threading.current_thread().name == "openai-clock":
            left.set()
            raise ConnectionError("left")

    left = threading.Event()
    with pytest.raises(ConnectionError, match="left"):
        run_inline(fails_when_closed(), leave)
    # The next one is still driven by the clock.
    left.clear()
    with pytest.raises(ConnectionError, match="left"):
        run_inline(iterate_callback(silent), leave)


def say(*items: Item) -> Callable[[Emit[Item]], None]:
    """Something that emits these."""

    def produce(emit: Emit[Item]) -> None:
        for item in items:
            emit(item)

    return produce


def test_several_pumps_after_each_other_are_driven() -> None:
    def both() -> Generator[str | None, None, None]:
        yield from iterate_callback(say("a"))
        yield "between"
        yield from iterate_callback(say("b"))

    seen: list[str | None] = []
    run_inline(both(), seen.append)
    assert [item for item in seen if item is not None] == ["a", "between", "b"]


def test_a_reader_in_between_may_keep_silence_to_himself() -> None:
    def impatient() -> Generator[int, None, None]:
        for item in iterate_callback(say(*range(5))):
            if item is not None:
                yield item

    seen: list[int | None] = []
    run_inline(impatient(), seen.append)
    assert [item for item in seen if item is not None] == [0, 1, 2, 3, 4]


def test_producers_of_many_threads_are_delivered_one_at_a_time() -> None:
    def produce(emit: Emit[int]) -> None:
        def speak() -> None:
            for number in range(500):
                emit(number)

        threads = [threading.Thread(target=speak) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    inside = threading.Lock()
    seen: list[int] = []

    def deliver(item: int | None) -> None:
        assert inside.acquire(blocking=False)
        try:
            if item is not None:
                seen.append(item)
        finally:
            inside.release()

    run_inline(iterate_callback(produce), deliver)
    assert sorted(seen) == sorted(8 * list(range(500)))


def test_a_drive_inside_of_a_producer_is_its_own() -> None:
    def outer(emit: Emit[int]) -> None:
        run_inline(
            iterate_callback(say(*range(3))),
            lambda item: item is not None and emit(item * 10),
        )

    seen: list[int | None] = []
    run_inline(iterate_callback(outer), seen.append)
    assert [item for item in seen if item is not None] == [0, 10, 20]


def doubled(items: Generator[int | None, None, None]) -> Generator[int | None, None, None]:
    """A layer like those between an engine and a page."""
    for item in items:
        yield None if item is None else 2 * item


def notified_when_closed(
    items: Generator[int | None, None, None], closed: list[bool]
) -> Generator[int | None, None, None]:
    try:
        yield from items
    finally:
        closed.append(True)
