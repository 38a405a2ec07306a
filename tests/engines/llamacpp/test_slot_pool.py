"""Room in a shared cache: first come, first served, and never more than there is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from extensions.openai.engines.llamacpp.slot_pool import SlotPool

SOON = 0.02  # seconds that something is given which must not happen
LATE = 5.0


def test_what_fits_is_had_at_once() -> None:
    room = SlotPool(10, 9)
    with room.reserve(4) as one, room.reserve(6) as other:
        assert one.wait(0) and other.wait(0)


def test_what_does_not_fit_waits_until_it_does() -> None:
    room = SlotPool(10, 9)
    with room.reserve(5) as second:
        with room.reserve(6) as first:
            # The one that asked first is served first.
            assert second.wait(0)
            assert not first.wait(SOON)
        assert second.held
    with room.reserve(10) as third:
        assert third.wait(0)


def test_nobody_overtakes() -> None:
    room = SlotPool(10, 9)
    with room.reserve(8) as first:
        assert first.wait(0)
        with room.reserve(8) as second, room.reserve(1) as third:
            assert not second.wait(SOON)
            assert not third.wait(SOON), "it would fit, but another one was there before"


def test_who_leaves_the_line_makes_way() -> None:
    room = SlotPool(10, 9)
    with room.reserve(8) as first:
        assert first.wait(0)
        with room.reserve(8) as second:
            assert not second.wait(SOON)
        with room.reserve(1) as third:
            assert third.wait(0)


def test_more_than_there_is_means_all_of_it() -> None:
    room = SlotPool(10, 9)
    with room.reserve(10**9) as everything:
        assert everything.tokens == 10
        assert everything.wait(0)
        with room.reserve(1) as other:
            assert not other.wait(SOON)


def test_where_everybody_has_enough_nobody_waits() -> None:
    room = SlotPool(None, 9)
    with room.reserve(10**9) as first, room.reserve(10**9) as second:
        assert second.wait(0) and first.wait(0)


def test_who_waits_is_woken() -> None:
    room = SlotPool(10, 9)
    with ExitStack() as leaving, ThreadPoolExecutor(1) as pool:
        first = leaving.enter_context(room.reserve(10))
        assert first.wait(0)
        with room.reserve(1) as second:
            waiting = pool.submit(second.wait, LATE)
            leaving.close()
            assert waiting.result(LATE)


def test_an_error_inside_gives_the_tokens_back() -> None:
    room = SlotPool(10, 9)
    try:
        with room.reserve(10) as first:
            assert first.wait(0)
            raise ValueError
    except ValueError:
        pass
    with room.reserve(10) as second:
        assert second.wait(0)


def test_many_threads_never_hold_more_than_there_is() -> None:
    room, lock = SlotPool(10, 9), threading.Lock()
    held, most = 0, 0

    def work(tokens: int) -> None:
        nonlocal held, most
        with room.reserve(tokens) as reservation:
            assert reservation.wait(LATE)
            with lock:
                held += tokens
                most = max(most, held)
            with lock:
                held -= tokens

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, 1 + at % 7) for at in range(200)]:
            done.result(LATE)
    assert held == 0 and most <= 10


def test_no_more_at_once_than_there_are_slots() -> None:
    room = SlotPool(None, 2)
    with room.reserve(1) as second:
        with room.reserve(1) as first, room.reserve(1) as third:
            assert second.wait(0) and first.wait(0)
            assert not third.wait(SOON)
        with room.reserve(1) as fourth:
            assert fourth.wait(0)


def test_a_slot_is_borrowed_only_while_one_is_free() -> None:
    room = SlotPool(None, 2)
    with room.reserve(1) as first:
        assert first.wait(0)
        assert room.try_acquire_spare() and not room.try_acquire_spare()
        with ThreadPoolExecutor(1) as pool, room.reserve(1) as second:
            assert not second.wait(SOON), "it is borrowed"
            waiting = pool.submit(second.wait, LATE)
            room.release_spare()
            assert waiting.result(LATE)
            assert not room.try_acquire_spare()


def test_it_tells_when_nobody_is_inside() -> None:
    room = SlotPool(10, 9)
    assert room.wait_until_empty(0)
    with room.reserve(10) as first:
        assert first.wait(0)
        assert not room.wait_until_empty(SOON)
        with room.reserve(1):
            assert not room.wait_until_empty(0), "who waits is inside as well"
        assert not room.wait_until_empty(0)
    assert room.wait_until_empty(0)
