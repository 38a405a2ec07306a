"""The half of a request that limits and generation know."""

from __future__ import annotations

import time

import pytest

from extensions.openai.access.caller import LOCAL
from extensions.openai.errors import RequestTimedOut
from extensions.openai.limits.active_requests import ActiveRequest, ActiveRequests
from extensions.openai.limits.scheduler import Scheduler
from extensions.openai.observability.record import RequestRecord


def request() -> ActiveRequest:
    return ActiveRequest(RequestRecord(caller=LOCAL))


def test_its_time_counts_from_when_it_came() -> None:
    late = request()
    late.record.started = time.monotonic() - 5
    late.limit_time(0)
    late.check_wanted()
    late.limit_time(6)
    late.check_wanted()
    late.limit_time(4)
    with pytest.raises(RequestTimedOut, match="after 4 seconds"):
        late.check_wanted()


def test_its_place_in_the_queue_is_that_of_its_first_choice() -> None:
    scheduler = Scheduler(queue_limit=5)
    running, waiting = request(), request()
    assert running.queue_position() is None and not running.wants_slots
    running.request_slot(scheduler, 1, further=False)
    running.note_slot()
    first = waiting.request_slot(scheduler, 1, further=False)
    waiting.request_slot(scheduler, 1, further=True)
    assert waiting.wants_slots and waiting.queue_position() == (1, 2)
    assert running.queue_position() is None
    scheduler.release(first)
    assert waiting.queue_position() is None


def test_only_those_that_want_slots_are_found_oldest_first() -> None:
    requests, scheduler = ActiveRequests(), Scheduler(queue_limit=5)
    several = [request() for _ in range(3)]
    for each in several:
        requests.add(each)
    for each in reversed(several[1:]):
        each.request_slot(scheduler, 1, further=False)
    assert requests.matching(lambda each: True) == several[1:]
    assert requests.matching(lambda each: each is several[2]) == several[2:]
    requests.remove(several[1])
    requests.remove(several[1])
    assert requests.matching(lambda each: True) == several[2:]
