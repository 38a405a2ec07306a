"""The order of turns: no starvation, weights, users, first come first served within one."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from extensions.openai.limits.fair_queue import FairQueue

KEYS = ("alice", "bob", "carol")
WEIGHTS = {"alice": 1, "bob": 2, "carol": 5}


def served(queue: FairQueue[str], *, keep: bool = False) -> list[str]:
    """Everybody's turn, one after the other; each ends before the next begins unless all are kept."""
    order = []
    while (item := queue.take()) is not None:
        order.append(item)
        if not keep:
            queue.remove(item)
    return order


def test_keys_take_turns_whoever_asked_first() -> None:
    queue = FairQueue[str]()
    for at in range(4):
        queue.add(f"a{at}", "alice")
    for at in range(2):
        queue.add(f"b{at}", "bob")
    assert served(queue) == ["a0", "b0", "a1", "b1", "a2", "a3"]


def test_users_of_a_key_share_its_turns() -> None:
    queue = FairQueue[str]()
    for at in range(3):
        queue.add(f"x{at}", "alice", "x")
    queue.add("y0", "alice", "y")
    for at in range(3):
        queue.add(f"b{at}", "bob")
    assert served(queue) == ["x0", "b0", "y0", "b1", "x1", "b2", "x2"]


@given(st.lists(st.integers(-2, 2), max_size=12))
@hypothesis_settings(max_examples=40, deadline=None)
def test_an_order_holds_within_one_user_only(orders: list[int]) -> None:
    queue = FairQueue[str]()
    for at, order in enumerate(orders):
        queue.add(f"x{at}", "alice", "x", order=order)
        queue.add(f"y{at}", "alice", "y")
    alone = sorted(range(len(orders)), key=lambda at: orders[at])  # equals stay as they came
    turns = served(queue)
    assert [item for item in turns if item[0] == "x"] == [f"x{at}" for at in alone]
    assert [item[0] for item in turns] == ["x", "y"] * len(orders)


def test_weights_are_shares_of_turns() -> None:
    queue = FairQueue[str]()
    for at in range(30):
        queue.add(f"alice {at}", "alice", weight=1)
        queue.add(f"bob {at}", "bob", weight=2)
    counts = Counter(item.split()[0] for item in served(queue)[:30])
    assert counts == {"alice": 10, "bob": 20}


def test_who_holds_more_of_the_slots_waits() -> None:
    """Long answers hold slots for long; turns alone would let them take over all slots."""
    queue = FairQueue[str]()
    for at in range(6):
        queue.add(f"long {at}", "alice")
    assert [queue.take() for _ in range(3)] == ["long 0", "long 1", "long 2"]
    for at in range(3):
        queue.add(f"short {at}", "bob")
    assert [queue.take() for _ in range(3)] == ["short 0", "short 1", "short 2"]
    assert queue.take() == "long 3", "both hold three, and the turn is the other's"


def test_a_stream_of_new_users_starves_nobody() -> None:
    queue = FairQueue[str]()
    for at in range(3):
        queue.add(f"old {at}", "alice", "old")
    order = []
    for at in range(20):
        queue.add(f"new {at}", "alice", f"user {at}")
        item = queue.take()
        assert item is not None
        queue.remove(item)
        order.append(item)
    assert {"old 0", "old 1"} <= set(order[:12])


def test_nothing_is_kept_of_who_has_left() -> None:
    queue = FairQueue[str]()
    for at in range(100):
        queue.add(f"{at}", f"key {at}", f"user {at}")
    for at in range(100):
        queue.remove(f"{at}")
    queue.remove("nobody")
    assert len(queue) == 0 and not queue.held()
    for at in range(100):
        with pytest.raises(KeyError):
            queue.ahead_of(f"{at}")


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(["x", "y", None]))))
@hypothesis_settings(max_examples=100, deadline=None)
def test_the_place_in_the_queue_is_the_turn_that_comes(arrivals: list[tuple[str, str]]) -> None:
    queue = FairQueue[int]()
    for at, (key, user) in enumerate(arrivals):
        queue.add(at, key, user)
    places = {item: queue.ahead_of(item) for item in queue}
    order: dict[int, int] = {}
    while (item := queue.take()) is not None:
        order[item] = len(order)
        queue.remove(item)
    # A turn that is due at the same time as another's may go either way, in each of three users' rounds.
    ties = len(KEYS) * 3
    assert all(abs(places[item] - order[item]) <= ties for item in places)


class Turns(RuleBasedStateMachine):
    """Any order of coming, being served and leaving, with what must hold of it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue[int]()
        self.number = 0
        self.lines: dict[tuple[str, str], deque[int]] = {}
        self.runs: dict[int, tuple[str, str]] = {}
        self.passed: dict[str, Counter[str]] = {}
        """How often others were served since a key began to wait with nothing running."""

    @rule(key=st.sampled_from(KEYS), user=st.sampled_from(["x", "y"]))
    def come(self, key: str, user: str) -> None:
        self.number += 1
        self.queue.add(self.number, key, user, WEIGHTS[key])
        self.lines.setdefault((key, user), deque()).append(self.number)

    @rule()
    def serve(self) -> None:
        expected = self.queue.peek()
        item = self.queue.take()
        assert item == expected
        if item is None:
            assert not any(self.lines.values())
            return
        place = next(place for place, line in self.lines.items() if line and line[0] == item)
        self.lines[place].popleft()
        self.runs[item] = place
        self.passed.pop(place[0], None)
        for key, counts in self.passed.items():
            counts[place[0]] += 1
            # Twice: newcomers are let in at the end of the round that is going on.
            allowed = 2 * (WEIGHTS[place[0]] / WEIGHTS[key] + 1)
            assert counts[place[0]] <= allowed, f"{key} was passed over too often"

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.runs)))
        del self.runs[item]
        self.queue.remove(item)

    @precondition(lambda self: any(self.lines.values()))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(p for p, line in self.lines.items() if line)))
        item = data.draw(st.sampled_from(list(self.lines[place])))
        self.lines[place].remove(item)
        self.queue.remove(item)

    @invariant()
    def counts_are_right(self) -> None:
        running = Counter(key for key, _ in self.runs.values())
        waiting: Counter[str] = Counter()
        for (key, _), line in self.lines.items():
            waiting[key] += len(line)
        held = self.queue.held()
        assert set(held) == {key for key in KEYS if running[key] or waiting[key]}
        assert all(held[key] == (running[key], waiting[key]) for key in held)
        for key in KEYS:
            if waiting[key] and not running[key]:
                self.passed.setdefault(key, Counter())
            else:
                self.passed.pop(key, None)


Turns.TestCase.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=60, deadline=None
)
TestTurns = Turns.TestCase
