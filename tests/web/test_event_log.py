"""Events that one thread writes and others read."""

from __future__ import annotations

import threading
import time

import pytest

from extensions.openai.errors import EventsGone
from extensions.openai.web import event_log
from extensions.openai.web.event_log import EVENT_OVERHEAD_BYTES, EventLog


def numbers(log: EventLog, at: int = 0) -> list[bytes]:
    return [each for each in log.read(at) if each is not None]


def test_events_come_in_their_order_from_any_of_them() -> None:
    log = EventLog()
    for each in (b"0", b"1", b"2"):
        log.append(each)
    log.end()
    assert numbers(log) == [b"0", b"1", b"2"]
    assert numbers(log, 2) == [b"2"] and numbers(log, 3) == [] and numbers(log, 9) == []
    assert (log.first, log.count, log.is_over) == (0, 3, True)


def test_the_last_event_ends_it() -> None:
    log = EventLog()
    log.append(b"0", last=True)
    assert log.is_over and log.wait(0.0) and numbers(log) == [b"0"]


def test_none_while_there_is_nothing_new() -> None:
    log = EventLog()
    reading = log.read(0)
    assert next(reading) is None
    log.append(b"0")
    assert next(reading) == b"0" and next(reading) is None
    log.end()
    assert next(reading, b"over") == b"over"


def test_the_oldest_make_room() -> None:
    size = 10 + EVENT_OVERHEAD_BYTES
    log = EventLog(3 * size)
    for number in range(5):
        log.append(b"%010d" % number)
    assert (log.first, log.count, log.size) == (2, 5, 3 * size)
    log.end()
    assert numbers(log, 2) == [b"%010d" % number for number in (2, 3, 4)]
    with pytest.raises(EventsGone, match="before number 2"):
        log.since(1)


def test_the_oldest_wait_for_a_reader() -> None:
    log = EventLog(2 * (1 + EVENT_OVERHEAD_BYTES))
    reader = log.enter(0)
    written = [b"%d" % number for number in range(10)]

    def write() -> None:
        for event in written:
            log.append(event)
        log.end()

    writing = threading.Thread(target=write)
    writing.start()
    found = []
    for event in log.read(0, reader):
        if event is not None:
            found.append(event)
            assert log.first <= len(found)
    writing.join()
    assert found == written and log.first > 0


def test_one_that_has_left_is_not_waited_for() -> None:
    log = EventLog(2 * (1 + EVENT_OVERHEAD_BYTES))
    reader = log.enter(0)

    def write() -> None:
        for number in range(5):
            log.append(b"%d" % number)

    writing = threading.Thread(target=write)
    writing.start()
    deadline = time.monotonic() + 30
    while log.count < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert log.first == 0
    log.leave(reader)
    log.leave(reader)
    writing.join()
    assert (log.first, log.count) == (3, 5)


def test_a_slow_reader_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(2 * (1 + EVENT_OVERHEAD_BYTES))
    reader = log.enter(0)
    monkeypatch.setattr(event_log, "SLOW_READER_S", 0.01)
    for event in (b"0", b"1", b"2"):
        log.append(event)
    monkeypatch.setattr(event_log, "SLOW_READER_S", 3600.0)
    writing = threading.Thread(target=log.append, args=(b"3",), daemon=True)
    writing.start()
    writing.join(30)
    assert (log.first, log.count) == (2, 4)
    with pytest.raises(EventsGone):
        log.since(0, reader)


def test_one_event_stays_however_large() -> None:
    log = EventLog(10)
    log.append(b"x" * 100)
    log.append(b"y" * 100)
    log.end()
    assert numbers(log, 1) == [b"y" * 100] and log.first == 1


def test_all_readers_get_all_events() -> None:
    log, found = EventLog(), list[list[bytes]]()
    readers = [threading.Thread(target=lambda: found.append(numbers(log))) for _ in range(4)]
    for each in readers:
        each.start()
    written = [b"%d" % number for number in range(500)]
    for event in written:
        log.append(event)
    log.end()
    for each in readers:
        each.join()
    assert found == [written] * 4
