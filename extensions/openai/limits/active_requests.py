"""A request as limits and generation see it: its slots, its deadline, whether it is to stop; and all requests
under way, until the server drains them.

This is the base of `web.context.RequestContext`, the one object of a request: what is below the web layer
knows this half of it, and tests of that layer make one without HTTP.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..access.caller import Priority
from ..errors import RequestTimedOut, ShuttingDown
from ..observability.record import RequestRecord
from .scheduler import Scheduler, SlotRequest, SlotTicket


@dataclass(slots=True, eq=False)
class ActiveRequest:
    """One request; does nothing until it asks for a slot. Thread-safe."""

    record: RequestRecord = field(default_factory=RequestRecord)
    """What it comes to, for those who observe it."""
    priority: Priority = "interactive"
    stopped: bool = False
    """Its end was asked for: the choices end where they are, as if the model had ended them."""
    _deadline: float | None = None
    _time_limit: float = 0.0
    _first_ticket: SlotTicket | None = None

    def limit_time(self, seconds: float) -> None:
        """Let it take that many seconds since it came; 0: no limit."""
        if seconds:
            self._time_limit, self._deadline = seconds, self.record.started + seconds

    def check_wanted(self) -> None:
        """Raise what ends an answer under way, here RequestTimedOut; may be called at any time."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise RequestTimedOut(
                f"The answer was not complete after {self._time_limit:g} seconds, and was ended."
            )

    def request_slot(self, scheduler: Scheduler, slots: int, *, further: bool) -> SlotTicket:
        """Ask for a slot for a choice; `further`: for another one than the first. Raises as
        Scheduler.request_slot does."""
        priority = "batch" if self.record.caller.priority == "batch" else self.priority
        claim = SlotRequest(self.record.caller, self.record.user, priority, further)
        ticket = scheduler.request_slot(slots, claim)
        if self._first_ticket is None:
            self._first_ticket = ticket
        return ticket

    def note_slot(self) -> None:
        """Record that a choice has got its slot."""
        if self.record.admitted is None:
            self.record.admitted = time.monotonic()

    @property
    def wants_slots(self) -> bool:
        """Whether it has asked for a slot."""
        return self._first_ticket is not None

    def queue_position(self) -> tuple[int, int] | None:
        """Its place in the queue, and how many wait; None when it does not wait."""
        if self._first_ticket is None or self.record.admitted is not None:
            return None
        return self._first_ticket.position()


class ActiveRequests:
    """All requests under way, of one server. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._requests: dict[ActiveRequest, None] = {}
        self._draining = False
        self._ending = False

    def add(self, request: ActiveRequest) -> None:
        """Raises ShuttingDown once the server takes no more requests."""
        with self._condition:
            if self._draining:
                raise ShuttingDown("The server is shutting down.")
            self._requests[request] = None

    def remove(self, request: ActiveRequest) -> None:
        """Does nothing for one that is not there."""
        with self._condition:
            self._requests.pop(request, None)
            if self._draining and not self._requests:
                self._condition.notify_all()

    def check_answers_may_go_on(self) -> None:
        """Raises ShuttingDown when answers under way must end now."""
        if self._ending:
            raise ShuttingDown("The server is shutting down; this answer is not complete.")

    def drain(self, patience: float, ending: float) -> bool:
        """Take no more requests; give those under way `patience` seconds, then let them end and wait `ending`
        seconds. True if all have ended."""
        with self._condition:
            self._draining = True
            if self._condition.wait_for(lambda: not self._requests, patience):
                return True
            self._ending = True
            return self._condition.wait_for(lambda: not self._requests, ending)

    def matching(self, wanted: Callable[[ActiveRequest], bool]) -> list[ActiveRequest]:
        """Those that have asked for a slot and are `wanted`, oldest first."""
        with self._condition:
            requests = list(self._requests)
        return [request for request in requests if request.wants_slots and wanted(request)]
