"""Room in a shared cache: first come, first served, and never more than there is.

What goes first is what seems to be wanted last: a steady pace is expected to last, others go by age."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from extensions.openai.engines.llamacpp.prompt_cache.slot_pool import History, SlotPool

SOON = 0.02  # seconds that something is given which must not happen
LATE = 50.0


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
        spare = room.take_spare()
        assert spare is not None and room.take_spare() is None
        with ThreadPoolExecutor(1) as pool, room.reserve(1) as second:
            assert not second.wait(SOON), "it is borrowed"
            waiting = pool.submit(second.wait, LATE)
            room.return_spare(spare)
            assert waiting.result(LATE)
            assert room.take_spare() is None


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


KEPT = 6  # conversations


def used_at(*uses: int) -> History:
    found = History()
    for at in uses:
        found.used(at)
    return found


def test_what_was_used_once_goes_by_its_age() -> None:
    assert [used_at(3).distance(now) for now in (3, 4, 9)] == [1, 1, 6]


def test_a_steady_pace_is_expected_to_go_on() -> None:
    steady = used_at(10, 20, 30)
    assert [steady.distance(now) for now in (30, 33, 39, 40)] == [10, 7, 1, 1]
    assert steady.distance(45) == 15, "it is late: maybe it has ended"


def test_a_pace_that_changes_says_nothing() -> None:
    assert used_at(1, 2, 30).distance(33) == 3


def test_one_use_counts_once() -> None:
    assert used_at(10, 10, 20, 20, 30, 30).distance(30) == 10


def misses(requests: Iterable[int], *, by_age: bool = False) -> float:
    """The share of requests for conversations that were not among the KEPT that are kept."""
    known: dict[int, History] = {}
    kept: set[int] = set()
    missed = now = 0
    for now, wanted in enumerate(requests, 1):
        if wanted not in kept:
            missed += 1
            if len(kept) == KEPT:
                kept.remove(
                    max(
                        kept,
                        key=lambda each: (
                            now - known[each].last if by_age else known[each].distance(now)
                        ),
                    )
                )
            kept.add(wanted)
        known.setdefault(wanted, History()).used(now)
    return missed / now


def of_users(active: int, count: int, seed: int) -> list[int]:
    """Users each of whom has conversations of six turns on average, one after the other."""
    drawn = random.Random(seed)
    at = {user: drawn.random() for user in range(active)}
    current = {user: user for user in range(active)}
    found = []
    for number in range(count):
        user = min(at, key=lambda each: at[each])
        found.append(current[user])
        at[user] += drawn.lognormvariate(0, 1)
        if drawn.random() < 1 / 6:
            current[user] = active + number
    return found


@pytest.mark.parametrize("turns", [7, 8, 12])
def test_of_conversations_in_turn_nearly_what_fits_is_kept(turns: int) -> None:
    requests = list(range(turns)) * 60
    assert misses(requests, by_age=True) == 1
    best = (turns - KEPT) / (turns - 1)  # of one that knows what comes
    assert misses(requests) < best + 3 / 60, "after three rounds"


@pytest.mark.parametrize("active", [6, 8, 12])
def test_of_other_conversations_as_much_is_kept_as_by_age(active: int) -> None:
    found = [
        (misses(each), misses(each, by_age=True))
        for each in (of_users(active, 1000, seed) for seed in range(4))
    ]
    assert sum(mine for mine, _ in found) < 1.03 * sum(age for _, age in found)


def test_a_turn_that_ends_leaves_no_trace() -> None:
    assert misses([*list(range(8)) * 20, *list(range(100, 105)) * 20]) < 0.5 * (1 + 5 / 20)
