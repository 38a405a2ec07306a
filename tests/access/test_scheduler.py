"""Slots and the queue before them."""

from __future__ import annotations

import threading

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from extensions.openai.access.scheduler import Scheduler, Ticket
from extensions.openai.errors import QueueFull


def test_slots_are_granted_at_once_and_in_order() -> None:
    scheduler = Scheduler(queue_limit=2)
    first, second, third = (scheduler.enter(1) for _ in range(3))
    assert first.wait()
    assert not second.wait()
    with third, second, first:
        pass
    assert second.wait()


def test_leaving_the_queue_gives_the_place_back() -> None:
    scheduler = Scheduler(queue_limit=1)
    running, waiting = scheduler.enter(1), scheduler.enter(1)
    with pytest.raises(QueueFull):
        scheduler.enter(1)
    scheduler.leave(waiting)
    following = scheduler.enter(1)
    scheduler.leave(running)
    assert following.wait()


def test_leaving_twice_frees_one_slot_only() -> None:
    scheduler = Scheduler(queue_limit=5)
    first, second, third = (scheduler.enter(1) for _ in range(3))
    scheduler.leave(first)
    scheduler.leave(first)
    assert second.wait()
    assert not third.wait()


def test_no_queue_at_all() -> None:
    scheduler = Scheduler(queue_limit=0)
    ticket = scheduler.enter(1)
    with pytest.raises(QueueFull) as caught:
        scheduler.enter(1)
    assert (caught.value.status, caught.value.code) == (503, "queue_full")
    assert int(caught.value.headers["Retry-After"]) >= 1
    scheduler.leave(ticket)
    assert scheduler.enter(1).wait()


def test_more_slots_let_those_in_who_wait() -> None:
    """A host may switch to a model with more slots."""
    scheduler = Scheduler(queue_limit=5)
    running, waiting = scheduler.enter(1), scheduler.enter(1)
    later = scheduler.enter(3)
    scheduler.leave(running)
    assert waiting.wait() and later.wait()


def test_threads_never_hold_more_than_the_slots() -> None:
    scheduler = Scheduler(queue_limit=100)
    lock = threading.Lock()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with scheduler.enter(3) as ticket:
                while not ticket.wait():
                    pass
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert 1 <= most <= 3


class Queue(RuleBasedStateMachine):
    """Any order of coming and leaving, against a plain list of who came."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(queue_limit=3)
        self.line: list[Ticket] = []

    @rule()
    def enter(self) -> None:
        if len(self.line) < 2 + 3:
            self.line.append(self.scheduler.enter(2))
        else:
            with pytest.raises(QueueFull):
                self.scheduler.enter(2)

    @rule(at=st.integers(0, 5))
    def leave(self, at: int) -> None:
        if at < len(self.line):
            self.scheduler.leave(self.line.pop(at))

    @invariant()
    def the_first_two_run(self) -> None:
        assert all(ticket.wait() for ticket in self.line[:2])
        assert not any(ticket._granted.is_set() for ticket in self.line[2:])


Queue.TestCase.settings = hypothesis_settings(
    max_examples=40, stateful_step_count=20, deadline=None
)
TestQueue = Queue.TestCase
