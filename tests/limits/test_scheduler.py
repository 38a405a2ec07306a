"""Slots and the queue before them: who is let in, who waits, who is refused."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from extensions.openai.access.caller import Caller
from extensions.openai.errors import (
    APIError,
    QueueFull,
    QueueTimeout,
    ShareExceeded,
    ShuttingDown,
    Unavailable,
)
from extensions.openai.limits.scheduler import (
    TURNS_PER_BATCH_TURN,
    Scheduler,
    SlotRequest,
    SlotTicket,
)


def request(
    name: str, user: str | None = None, *, weight: int = 1, batch: bool = False
) -> SlotRequest:
    caller = Caller(name, frozenset(), weight=weight)
    return SlotRequest(caller, user, "batch" if batch else "interactive")


BATCH = request("night", batch=True)
ALICE, BOB, CAROL = request("alice"), request("bob"), request("carol")


def waits(ticket: SlotTicket) -> bool:
    return not ticket.granted and ticket.position() is not None


def test_slots_are_granted_at_once_and_in_order() -> None:
    scheduler = Scheduler(queue_limit=2)
    first, second, third = (scheduler.request_slot(1) for _ in range(3))
    assert first.wait()
    assert not second.wait()
    with third, second, first:
        pass
    assert second.wait()


def test_leaving_the_queue_gives_the_place_back() -> None:
    scheduler = Scheduler(queue_limit=1)
    running, waiting = scheduler.request_slot(1), scheduler.request_slot(1)
    with pytest.raises(ShareExceeded):
        scheduler.request_slot(1)
    scheduler.release(waiting)
    following = scheduler.request_slot(1)
    scheduler.release(running)
    assert following.wait()


def test_leaving_twice_frees_one_slot_only() -> None:
    scheduler = Scheduler(queue_limit=5)
    first, second, third = (scheduler.request_slot(1) for _ in range(3))
    scheduler.release(first)
    scheduler.release(first)
    assert second.wait()
    assert not third.wait()


def test_more_slots_let_those_in_who_wait() -> None:
    """A host may switch to a model with more slots."""
    scheduler = Scheduler(queue_limit=5)
    running, waiting = scheduler.request_slot(1), scheduler.request_slot(1)
    later = scheduler.request_slot(3)
    scheduler.release(running)
    assert waiting.wait() and later.wait()


def test_keys_take_turns() -> None:
    scheduler = Scheduler(queue_limit=9)
    running = scheduler.request_slot(1, ALICE)
    flood = [scheduler.request_slot(1, ALICE) for _ in range(4)]
    other = scheduler.request_slot(1, BOB)
    assert other.position() == (2, 5) or other.position() == (1, 5)
    scheduler.release(running)
    order = [ticket for ticket in (*flood, other) if ticket.granted]
    scheduler.release(order[0])
    assert other.granted, "at the latest after one of the other key"


def test_a_client_orders_its_own_requests() -> None:
    scheduler = Scheduler(queue_limit=9)
    running = scheduler.request_slot(1, CAROL)
    later, sooner = (scheduler.request_slot(1, replace(ALICE, order=at)) for at in (5, -5))
    other = scheduler.request_slot(1, replace(BOB, order=9))
    scheduler.release(running)
    assert sooner.wait()
    scheduler.release(sooner)
    assert other.wait() and waits(later)


def test_several_choices_count_as_several() -> None:
    """A request with n = 4 holds four slots, so the next ones go to others."""
    scheduler = Scheduler(queue_limit=9)
    first = scheduler.request_slot(4, ALICE)
    further = [scheduler.request_slot(4, replace(ALICE, further=True)) for _ in range(7)]
    held = [first, *further[:3]]
    others = [scheduler.request_slot(4, BOB) for _ in range(2)]
    for ticket in held[:2]:
        scheduler.release(ticket)
    assert all(ticket.granted for ticket in others)


def test_who_fills_the_queue_is_refused_and_others_are_let_in() -> None:
    scheduler = Scheduler(queue_limit=4)
    scheduler.request_slot(1, ALICE)
    flood = [scheduler.request_slot(1, ALICE) for _ in range(4)]
    with pytest.raises(ShareExceeded) as caught:
        scheduler.request_slot(1, ALICE)
    assert (caught.value.status, caught.value.code) == (429, "queue_share_exceeded")
    assert int(caught.value.headers["Retry-After"]) >= 1
    # Another caller takes the place of the last one.
    other = scheduler.request_slot(1, BOB)
    assert waits(other)
    with pytest.raises(ShareExceeded):
        flood[-1].wait()
    assert all(waits(ticket) for ticket in flood[:-1])


def test_a_server_full_of_everybody_is_nobodys_fault() -> None:
    scheduler = Scheduler(queue_limit=2)
    scheduler.request_slot(1, ALICE)
    for who in (BOB, CAROL):
        scheduler.request_slot(1, who)
    with pytest.raises(QueueFull) as caught:
        scheduler.request_slot(1, request("dave"))
    assert (caught.value.status, caught.value.code) == (503, "queue_full")
    assert int(caught.value.headers["Retry-After"]) >= 1


def test_no_queue_at_all() -> None:
    scheduler = Scheduler(queue_limit=0)
    ticket = scheduler.request_slot(1, ALICE)
    with pytest.raises(QueueFull):
        scheduler.request_slot(1, BOB)
    with pytest.raises(ShareExceeded):
        scheduler.request_slot(1, ALICE)
    scheduler.release(ticket)
    assert scheduler.request_slot(1, BOB).wait()


def test_weight_is_a_share_of_the_queue_too() -> None:
    scheduler = Scheduler(queue_limit=4)
    scheduler.request_slot(1, CAROL)
    heavy = request("heavy", weight=3)
    tickets = [scheduler.request_slot(1, heavy) for _ in range(3)]
    light = scheduler.request_slot(1, ALICE)
    with pytest.raises(APIError):
        scheduler.request_slot(1, ALICE)
    assert all(map(waits, (*tickets, light)))


def test_who_has_waited_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler(queue_limit=4, queue_timeout=0.01)
    scheduler.request_slot(1, ALICE)
    waiting = scheduler.request_slot(1, BOB)
    with pytest.raises(QueueTimeout) as caught:
        for _ in range(10):
            waiting.wait()
    assert (caught.value.status, caught.value.code) == (503, "queue_timeout")
    assert scheduler.state().waiting == 0


def test_batch_work_gets_what_is_left() -> None:
    scheduler = Scheduler(queue_limit=9)
    running = scheduler.request_slot(1, ALICE)
    batch = scheduler.request_slot(1, request("bob", batch=True))
    later = scheduler.request_slot(1, ALICE)
    assert batch.position() == (2, 2)
    scheduler.release(running)
    assert later.granted and not batch.granted
    scheduler.release(later)
    assert batch.granted


def test_batch_work_leaves_one_slot_free() -> None:
    scheduler = Scheduler(queue_limit=9)
    batch = [scheduler.request_slot(3, request("bob", batch=True)) for _ in range(4)]
    assert [ticket.granted for ticket in batch] == [True, True, False, False]
    assert scheduler.request_slot(3, ALICE).granted


@pytest.mark.parametrize("slots", [1, 2])
def test_batch_work_is_not_starved(slots: int) -> None:
    scheduler = Scheduler(queue_limit=99)
    running = [scheduler.request_slot(slots, ALICE) for _ in range(slots)]
    batch = scheduler.request_slot(slots, request("bob", batch=True))
    for _ in range(TURNS_PER_BATCH_TURN - 2):
        running.append(scheduler.request_slot(slots, ALICE))
        scheduler.release(running.pop(0))
        assert not batch.granted
    for _ in range(2 * slots):
        running.append(scheduler.request_slot(slots, ALICE))
        scheduler.release(running.pop(0))
    assert batch.granted


def test_batch_work_does_not_begin_before_the_first_token_of_another() -> None:
    scheduler = Scheduler(queue_limit=50)
    alice, running = scheduler.request_slot(4, ALICE), scheduler.request_slot(4, BATCH)
    assert alice.granted and waits(running)
    alice.begin()
    assert running.granted
    bob = scheduler.request_slot(4, BOB)
    waiting = scheduler.request_slot(4, BATCH)
    assert bob.granted and waits(waiting)
    scheduler.release(running)
    assert waits(waiting)
    scheduler.release(bob)  # an answer without tokens
    assert waiting.granted


def test_batch_work_that_waits_for_first_tokens_is_not_starved() -> None:
    scheduler = Scheduler(queue_limit=50)
    reading = scheduler.request_slot(4, ALICE)
    waiting, others = scheduler.request_slot(4, BATCH), 0
    while waits(waiting):
        other = scheduler.request_slot(4, ALICE)
        scheduler.release(reading)
        reading, others = other, others + 1
        assert others < TURNS_PER_BATCH_TURN
    assert others > TURNS_PER_BATCH_TURN // 2


def test_what_can_be_done_again_gives_its_slot_back() -> None:
    asked: list[str] = []
    scheduler = Scheduler(queue_limit=50)

    def lines(*names: str) -> list[SlotTicket]:
        made = [replace(BATCH, give_back=partial(asked.append, name)) for name in names]
        return [scheduler.request_slot(3, each) for each in made]

    first, second, third = lines("first", "second", "third")
    alice = scheduler.request_slot(3, ALICE)
    assert alice.granted and waits(third) and asked == []
    bob, carol = scheduler.request_slot(3, BOB), scheduler.request_slot(3, CAROL)
    assert asked == ["second", "first"]  # the latest one had done least
    scheduler.request_slot(3, BOB)
    assert asked == ["second", "first"]  # each is asked once
    scheduler.release(second)
    scheduler.release(first)
    assert bob.granted and carol.granted and waits(third)


def test_a_turn_of_batch_work_is_not_asked_back() -> None:
    asked: list[str] = []
    scheduler = Scheduler(queue_limit=50)
    running = scheduler.request_slot(1, ALICE)
    line = scheduler.request_slot(1, replace(BATCH, give_back=partial(asked.append, "line")))
    while waits(line):
        following = scheduler.request_slot(1, ALICE)
        scheduler.release(running)
        running = following
    scheduler.request_slot(1, BOB)
    assert line.granted and asked == []


def test_batch_work_gives_up_its_place_in_a_full_queue() -> None:
    scheduler = Scheduler(queue_limit=1)
    scheduler.request_slot(1, ALICE)
    batch = scheduler.request_slot(1, request("bob", batch=True))
    assert waits(scheduler.request_slot(1, ALICE))
    with pytest.raises(QueueFull):
        batch.wait()


def test_one_slot_is_spared_for_who_was_here_just_now() -> None:
    scheduler = Scheduler(queue_limit=99, spare_seconds=60)
    short = scheduler.request_slot(3, BOB)
    scheduler.release(short)
    flood = [scheduler.request_slot(3, ALICE) for _ in range(5)]
    assert [ticket.granted for ticket in flood] == [True, True, False, False, False]
    again = scheduler.request_slot(3, BOB)
    assert again.granted, "without waiting for an answer of the other's"
    scheduler.release(again)
    assert not flood[2].granted


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 6)])
def test_nobody_takes_the_last_slots_while_another_is_about(slots: int, most: int) -> None:
    """Whether that one has nothing running, or something: so its own steps are never shared with many."""
    scheduler = Scheduler(queue_limit=99, spare_seconds=60)
    scheduler.release(scheduler.request_slot(slots, BOB))
    flood = [scheduler.request_slot(slots, ALICE) for _ in range(slots)]
    for _ in range(3):
        assert sum(ticket.granted for ticket in flood) == most
        short = scheduler.request_slot(slots, BOB)
        assert short.granted is (slots > 1)
        assert sum(ticket.granted for ticket in flood) == most
        scheduler.release(short)


def test_a_weight_is_worth_its_share_of_the_last_slots() -> None:
    scheduler = Scheduler(queue_limit=99, spare_seconds=60)
    heavy = request("alice", weight=3)
    scheduler.release(scheduler.request_slot(4, BOB))
    assert [scheduler.request_slot(4, heavy).granted for _ in range(4)] == [True, True, True, False]
    assert scheduler.request_slot(4, BOB).granted


def test_batch_work_leaves_the_last_slots_to_others_as_well() -> None:
    scheduler = Scheduler(queue_limit=99, spare_seconds=60)
    scheduler.release(scheduler.request_slot(4, BOB))
    batch = request("alice", batch=True)
    assert [scheduler.request_slot(4, batch).granted for _ in range(4)] == [
        True,
        True,
        False,
        False,
    ]


def test_two_who_flood_share_all_but_the_spare_slot() -> None:
    scheduler = Scheduler(queue_limit=99, spare_seconds=60)
    scheduler.release(scheduler.request_slot(4, BOB))
    flood = [scheduler.request_slot(4, who) for _ in range(4) for who in (ALICE, CAROL)]
    granted = [ticket.request.caller.name for ticket in flood if ticket.granted]
    assert sorted(granted) in (["alice", "alice", "carol"], ["alice", "carol", "carol"])
    assert scheduler.request_slot(4, BOB).granted


def test_a_spare_slot_is_given_away_when_nobody_comes() -> None:
    scheduler = Scheduler(queue_limit=99, spare_seconds=0.05)
    scheduler.release(scheduler.request_slot(2, BOB))
    scheduler.request_slot(2, ALICE)
    second = scheduler.request_slot(2, ALICE)
    deadline = time.monotonic() + 10
    while not second.wait():
        assert time.monotonic() < deadline


def test_a_key_that_is_alone_has_all_slots() -> None:
    scheduler = Scheduler(queue_limit=99, spare_seconds=60)
    assert all(scheduler.request_slot(4, ALICE).granted for _ in range(4))


def test_users_of_one_key_spare_a_slot_for_each_other() -> None:
    scheduler = Scheduler(queue_limit=99, spare_seconds=60)
    scheduler.release(scheduler.request_slot(2, request("alice", "y")))
    assert scheduler.request_slot(2, request("alice", "x")).granted
    assert not scheduler.request_slot(2, request("alice", "x")).granted
    assert scheduler.request_slot(2, request("alice", "y")).granted


def test_closing_sends_away_who_has_not_begun() -> None:
    scheduler = Scheduler(queue_limit=9)
    running = scheduler.request_slot(1, ALICE)
    further = scheduler.request_slot(1, replace(ALICE, further=True))
    waiting = scheduler.request_slot(1, BOB)
    scheduler.close()
    with pytest.raises(ShuttingDown):
        waiting.wait()
    with pytest.raises(ShuttingDown):
        scheduler.request_slot(1, BOB)
    scheduler.release(running)
    assert further.wait(), "a request that has begun goes on"


def test_the_state_tells_it_all() -> None:
    scheduler = Scheduler(queue_limit=9)
    tickets = [scheduler.request_slot(2, who) for who in (ALICE, BOB, BOB, BOB)]
    tickets.append(scheduler.request_slot(2, replace(BOB, further=True)))
    state = scheduler.state()
    assert (state.slots, state.running, state.waiting, state.limit) == (2, 2, 3, 9)
    assert state.requests_waiting == 2
    assert {name: (each.running, each.waiting) for name, each in state.callers.items()} == {
        "alice": (1, 0),
        "bob": (1, 3),
    }
    for ticket in tickets:
        scheduler.release(ticket)
    assert scheduler.state().callers == {}


def test_threads_never_hold_more_than_the_slots() -> None:
    scheduler = Scheduler(queue_limit=100)
    lock = threading.Lock()
    inside, most = 0, 0

    def work(who: SlotRequest) -> None:
        nonlocal inside, most
        for _ in range(20):
            with scheduler.request_slot(3, who) as ticket:
                while not ticket.wait():
                    pass
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [
        threading.Thread(target=work, args=(request(f"key {at % 4}", batch=at % 3 == 0),))
        for at in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert 1 <= most <= 3
    assert scheduler.state().callers == {}


SLOTS, LIMIT = 2, 3


class Queue(RuleBasedStateMachine):
    """Any order of coming and leaving: slots and limit are kept, and no ticket waits needlessly."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(queue_limit=LIMIT)
        self.tickets: list[SlotTicket] = []

    @rule(who=st.sampled_from([ALICE, BOB, request("carol", batch=True)]))
    def enter(self, who: SlotRequest) -> None:
        full = len([t for t in self.tickets if waits(t)]) >= LIMIT
        try:
            self.tickets.append(self.scheduler.request_slot(SLOTS, who))
        except (Unavailable, ShareExceeded):
            assert full
        self.tickets = [ticket for ticket in self.tickets if ticket.granted or waits(ticket)]

    @rule(at=st.integers(0, 5))
    def leave(self, at: int) -> None:
        if at < len(self.tickets):
            self.scheduler.release(self.tickets.pop(at))

    @invariant()
    def slots_and_limit_are_kept(self) -> None:
        running = [ticket for ticket in self.tickets if ticket.granted]
        waiting = [ticket for ticket in self.tickets if waits(ticket)]
        assert len(running) <= SLOTS and len(waiting) <= LIMIT
        if any(ticket.request.priority == "interactive" for ticket in waiting):
            assert len(running) == SLOTS
        if waiting:
            assert len(running) >= SLOTS - 1, "only batch work leaves a slot free"
        total = len(waiting)
        assert all(
            ticket.position() in [(at, total) for at in range(1, total + 1)] for ticket in waiting
        )


Queue.TestCase.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestQueue = Queue.TestCase
