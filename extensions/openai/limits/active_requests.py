"""A request as limits and generation see it: slots, deadline, stop; and the register of active requests.

`ActiveRequest` is the base of `web.context.RequestContext`, the one object of a request. Layers below the web
know only this half of it, and their tests make one without HTTP.
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
    """One request. Thread-safe."""

    record: RequestRecord = field(default_factory=RequestRecord)
    """What observers get."""
    priority: Priority = "interactive"
    order: int = 0
    """Among the waiting requests of its caller and user; the lowest one is first."""
    stopped: bool = False
    """A client asked to stop it: its choices end early, as if the model had ended them."""
    give_back: Callable[[], None] | None = None
    """Called when another request needs its slot; None: it keeps that."""
    _deadline: float | None = None
    _time_limit: float = 0.0
    _first_ticket: SlotTicket | None = None

    def limit_time(self, seconds: float) -> None:
        """Limit its time to so many seconds from its arrival; 0: no limit."""
        if seconds:
            self._time_limit, self._deadline = seconds, self.record.started + seconds

    def check_wanted(self) -> None:
        """Raise RequestTimedOut if its time is up. Subclasses check for more."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise RequestTimedOut(
                f"The answer was not complete after {self._time_limit:g} seconds, and was ended."
            )

    def request_slot(self, scheduler: Scheduler, slots: int, *, further: bool) -> SlotTicket:
        """Request a slot for a choice; `further`: it is not the first choice. Raises the errors of
        Scheduler.request_slot."""
        ticket = scheduler.request_slot(slots, self._claim(further=further))
        if self._first_ticket is None:
            self._first_ticket = ticket
        return ticket

    def request_side_slot(self, scheduler: Scheduler, slots: int) -> SlotTicket:
        """Request a slot of another model, which makes something that the answer needs. Its place in that
        queue is not the request's."""
        return scheduler.request_slot(slots, self._claim(further=False))

    def _claim(self, *, further: bool) -> SlotRequest:
        priority = "batch" if self.record.caller.priority == "batch" else self.priority
        about = (self.record.caller, self.record.user, priority, further, self.order)
        return SlotRequest(*about, self.give_back)

    def note_slot(self) -> None:
        """Record when the first choice got its slot."""
        if self.record.admitted is None:
            self.record.admitted = time.monotonic()

    @property
    def wants_slots(self) -> bool:
        """Whether it has requested a slot."""
        return self._first_ticket is not None

    @property
    def body_bytes(self) -> int:
        """The size of its body; 0: not known."""
        return 0

    def queue_position(self) -> tuple[int, int] | None:
        """Its place in the queue, and the queue's length; None: it is not waiting."""
        if self._first_ticket is None or self.record.admitted is not None:
            return None
        return self._first_ticket.position()


class ActiveRequests:
    """The active requests of one server. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._requests: dict[ActiveRequest, None] = {}
        self._draining = False
        self._ending = False

    def add(self, request: ActiveRequest) -> None:
        """Raises ShuttingDown once the server drains."""
        with self._condition:
            if self._draining:
                raise ShuttingDown("The server is shutting down.")
            self._requests[request] = None

    def remove(self, request: ActiveRequest) -> None:
        """Has no effect for a request that is not registered."""
        with self._condition:
            self._requests.pop(request, None)
            if self._draining and not self._requests:
                self._condition.notify_all()

    def check_answers_may_go_on(self) -> None:
        """Raises ShuttingDown if active answers must end now."""
        if self._ending:
            raise ShuttingDown("The server is shutting down; this answer is not complete.")

    @property
    def is_draining(self) -> bool:
        """Whether new requests are refused, because the server stops."""
        return self._draining

    def drain(self, patience: float, ending: float) -> bool:
        """Refuse new requests and wait `patience` seconds for active ones; then end them and wait `ending`
        seconds. Return whether all have ended."""
        with self._condition:
            self._draining = True
            if self._condition.wait_for(lambda: not self._requests, patience):
                return True
            self._ending = True
            return self._condition.wait_for(lambda: not self._requests, ending)

    def matching(self, wanted: Callable[[ActiveRequest], bool]) -> list[ActiveRequest]:
        """The `wanted` requests among those that have requested a slot, oldest first."""
        with self._condition:
            requests = list(self._requests)
        return [request for request in requests if request.wants_slots and wanted(request)]
