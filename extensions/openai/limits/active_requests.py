"""One request's generation under way: what it may take, whether it is to stop, where it stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..access.caller import Priority
from ..errors import RequestTimedOut
from ..observability.record import RequestRecord
from .scheduler import Scheduler, SlotRequest, SlotTicket

KEEP_ALIVE = b": keep-alive\n\n"


def _nothing() -> None:
    """What most requests have to give back."""


@dataclass(slots=True, eq=False)
class Job:
    """Made for each request; does nothing until it asks for a slot. Thread-safe."""

    record: RequestRecord = field(default_factory=RequestRecord)
    priority: Priority = "interactive"
    stopped: bool = False
    """Its end was asked for: the choices end where they are, as if the model had ended them."""
    leave: Callable[[], None] = _nothing
    """Gives back its place among what its caller may have under way; to be called before the client can
    know that the answer is complete, and ask again."""
    _deadline: float | None = None
    _limit: float = 0.0
    _first: SlotTicket | None = None

    def limit(self, seconds: float) -> None:
        """End it so many seconds after the request came; 0: no limit."""
        if seconds:
            self._limit, self._deadline = seconds, self.record.started + seconds

    def enter(self, scheduler: Scheduler, slots: int, *, further: bool) -> SlotTicket:
        """Ask for a slot for a choice; `further`: for another one than the first. Raises as
        Scheduler.enter does."""
        priority = "batch" if self.record.caller.priority == "batch" else self.priority
        claim = SlotRequest(self.record.caller, self.record.user, priority, further)
        ticket = scheduler.enter(slots, claim)
        if self._first is None:
            self._first = ticket
        return ticket

    def begin(self) -> None:
        """A choice has got its slot."""
        if self.record.admitted is None:
            self.record.admitted = time.monotonic()

    def check(self) -> None:
        """Raises RequestTimedOut when its time is up."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise RequestTimedOut(
                f"The answer was not complete after {self._limit:g} seconds, and was ended."
            )

    @property
    def entered(self) -> bool:
        """Whether it has asked for a slot."""
        return self._first is not None

    def position(self) -> tuple[int, int] | None:
        """Its place in the queue, and how many wait; None when it does not wait."""
        waits = self._first is not None and self.record.admitted is None
        return self._first.position() if waits and self._first is not None else None

    def comment(self) -> bytes:
        """What to say into a silent stream: its place in the queue, if it waits there."""
        position = self.position()
        if position is None:
            return KEEP_ALIVE
        return b": queued, position %d of %d\n\n" % position


class ActiveRequests:
    """All jobs under way. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}

    def add(self, job: Job) -> None:
        with self._lock:
            self._jobs[id(job)] = job

    def remove(self, job: Job) -> None:
        """Does nothing for one that is not there."""
        with self._lock:
            self._jobs.pop(id(job), None)

    def matching(self, wanted: Callable[[Job], bool]) -> list[Job]:
        """Those that have asked for a slot and are `wanted`, oldest first."""
        with self._lock:
            jobs = list(self._jobs.values())
        return [job for job in jobs if job.entered and wanted(job)]
