"""How many requests the engine works on at once; the rest wait their turn in a bounded queue."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType

from ..engines.pump import TICK
from ..errors import QueueFull


class Ticket:
    """A place in the queue, later a slot. Leave the `with` block to give it back, whatever it is then."""

    def __init__(self, scheduler: Scheduler, *, counts: bool) -> None:
        self._scheduler = scheduler
        self.counts = counts
        """Whether it stands for a request in the queue, or for a further choice of one."""
        self._granted = threading.Event()

    def wait(self) -> bool:
        """Wait at most one TICK for the slot; True once it is ours."""
        return self._granted.is_set() or self._granted.wait(TICK)

    def grant(self) -> None:
        self._granted.set()

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scheduler.leave(self)


class Scheduler:
    """As many run as there are slots, at most `queue_limit` wait, first come first served. Thread-safe."""

    def __init__(self, *, queue_limit: int) -> None:
        self._queue_limit = queue_limit
        self._slots = 1
        self._lock = threading.Lock()
        self._running: set[Ticket] = set()
        self._waiting: deque[Ticket] = deque()

    def enter(self, slots: int, *, admitted: bool = False) -> Ticket:
        """A ticket, granted at once when one of the engine's `slots` is free and nobody waits.

        Raises QueueFull when too many wait, unless the request was admitted before.
        """
        ticket = Ticket(self, counts=not admitted)
        with self._lock:
            self._slots = slots
            if len(self._running) < slots and not self._waiting:
                self._running.add(ticket)
                ticket.grant()
            elif admitted or self._requests_waiting < self._queue_limit:
                self._waiting.append(ticket)
            else:
                raise QueueFull(
                    f"{self._requests_waiting} requests wait already: the server takes no more now. "
                    "Please try again shortly."
                )
        return ticket

    @property
    def running(self) -> int:
        """Choices that have a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        with self._lock:
            return self._requests_waiting

    @property
    def queue_limit(self) -> int:
        """Requests that may wait."""
        return self._queue_limit

    @property
    def _requests_waiting(self) -> int:
        return sum(ticket.counts for ticket in self._waiting)

    def leave(self, ticket: Ticket) -> None:
        """Free the slot, or the place in the queue, and let the next one in."""
        with self._lock:
            if ticket in self._running:
                self._running.remove(ticket)
            elif ticket in self._waiting:
                self._waiting.remove(ticket)
            while self._waiting and len(self._running) < self._slots:
                following = self._waiting.popleft()
                self._running.add(following)
                following.grant()
