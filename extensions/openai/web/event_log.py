"""The events of an answer that is made without its client: written by one thread, read by any."""

from __future__ import annotations

import threading
from collections.abc import Generator

from ..engines.callback_bridge import TICK_S
from ..errors import EventsGone

EVENT_OVERHEAD_BYTES = 64
"""What an event takes in memory besides its text."""
SLOW_READER_S = 60.0
"""How long the oldest events wait for a client that reads slowly, before they are dropped."""


class EventLog:
    """Encoded events, numbered from 0. Thread-safe."""

    def __init__(self, max_bytes: int | None = None) -> None:
        """Beyond `max_bytes` the oldest events are dropped, once all present readers have them; None: none
        is."""
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._events: list[bytes] = []
        self._first = 0
        self._readers: dict[object, int] = {}
        """The next event that each one wants."""
        self._over = False
        self.size = 0
        """Bytes in memory."""

    @property
    def is_over(self) -> bool:
        """Whether there are no more to come."""
        return self._over

    @property
    def first(self) -> int:
        """The number of the oldest event that is there."""
        return self._first

    @property
    def count(self) -> int:
        """All events that there were."""
        return self._first + len(self._events)

    def append(self, event: bytes, *, last: bool = False) -> None:
        with self._changed:
            self._events.append(event)
            self.size += len(event) + EVENT_OVERHEAD_BYTES
            self._over = last
            self._changed.notify_all()
            if self._max_bytes is not None and self.size > self._max_bytes:
                self._drop_oldest(self._max_bytes)

    def end(self) -> None:
        """No more events come."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def enter(self, at: int) -> object:
        """A reader, for `since` and `leave`, that wants the events from this number on."""
        reader = object()
        with self._changed:
            self._readers[reader] = at
        return reader

    def leave(self, reader: object) -> None:
        """It wants no more. Only the first call has an effect."""
        with self._changed:
            self._readers.pop(reader, None)
            self._changed.notify_all()

    def since(self, at: int, reader: object = None) -> tuple[list[bytes], bool]:
        """The events from this number on, after a short wait for one; whether there are no more to come.

        Raises EventsGone if some of them were dropped."""
        with self._changed:
            if reader in self._readers:
                self._readers[reader] = at
                self._changed.notify_all()
            if self.count <= at and not self._over:
                self._changed.wait(TICK_S)
            if at < self._first:
                raise EventsGone(self._first)
            return self._events[at - self._first :], self._over

    def wait(self, seconds: float) -> bool:
        """Whether it is over within this time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._over, seconds)

    def read(self, at: int, reader: object = None) -> Generator[bytes | None, None, None]:
        """The events from this number on, those that are there and those that come; None while there are
        none. Raises EventsGone."""
        while True:
            events, over = self.since(at, reader)
            yield from events
            at += len(events)
            if over and not events:
                return
            if not events:
                yield None

    def _drop_oldest(self, most: int) -> None:
        dropped, size = 0, self.size
        while size > most and dropped < len(self._events) - 1:
            size -= len(self._events[dropped]) + EVENT_OVERHEAD_BYTES
            dropped += 1
        first = self._first + dropped
        self._changed.wait_for(
            lambda: all(at >= first for at in self._readers.values()), SLOW_READER_S
        )
        # One that was too slow has lost events, and is not waited for again.
        self._readers = {reader: at for reader, at in self._readers.items() if at >= first}
        del self._events[:dropped]
        self._first, self.size = first, size
