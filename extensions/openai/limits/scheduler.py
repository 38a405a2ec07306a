"""Grants the engine's slots to requests, in a fair order.

slots         as many choices run at once as the engine allows
fair queue    keys share the slots by weight, the users of a key share its part, each in order of arrival
batch         gets what interactive requests leave over, never the last free slot, and none while one of them
              waits for its first token; what can be done again gives its slot back to one that waits
spare slots   while several callers are active, none exceeds its share to take the last two slots, and one
              slot stays free for callers served just now: a light user need not wait for a heavy user's
              answer to end, nor share each step of the model with many of them
full queue    the caller with the most requests is refused first, with 429; 503 if all have as many
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from ..access.caller import LOCAL, Caller, Priority
from ..engines.callback_bridge import TICK_S
from ..errors import APIError, QueueFull, QueueTimeout, ShareExceeded, ShuttingDown
from ..settings import Settings
from .fair_queue import FairQueue

TURNS_PER_BATCH_TURN = (
    16  # one of so many turns is for batch requests, even while interactive ones wait
)
SPARE_SLOTS = 2  # at most half of all slots
MIN_RETRY_AFTER_S, MAX_RETRY_AFTER_S = 1, 60
HOLD_SMOOTHING = 0.2  # weight of the last answer in the mean duration


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """Caller, user and priority of a request for a slot."""

    caller: Caller = LOCAL
    user: str | None = None
    priority: Priority = "interactive"
    further: bool = False
    """For a further choice of an admitted request, which is never refused."""
    order: int = 0
    """Among those of the same caller and user that wait; the lowest one is first."""
    give_back: Callable[[], None] | None = None
    """Asks its holder to release the slot: its work can be done again. It must not wait for anything."""


@dataclass(frozen=True, slots=True)
class CallerState:
    """Running and waiting choices of one caller."""

    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of the queue; `running` and `waiting` count choices, `requests_waiting` requests."""

    slots: int
    running: int
    waiting: int
    requests_waiting: int
    limit: int
    callers: Mapping[str, CallerState]


class SlotTicket:
    """A place in the queue, later a slot. Leaving the `with` block releases it."""

    def __init__(self, scheduler: Scheduler, request: SlotRequest, now: float) -> None:
        self._scheduler = scheduler
        self.request = request
        self.since = now
        """When it was created, or granted."""
        self.granted = False
        self.has_begun = False
        self.keeps_slot = request.give_back is None
        self.is_asked_back = False
        self._refusal: APIError | None = None
        self._settled = threading.Event()

    def wait(self) -> bool:
        """Wait at most one TICK_S for the slot; return whether it is granted.

        Raises ShareExceeded, QueueTimeout or ShuttingDown if it is refused.
        """
        if not self._settled.is_set() and not self._settled.wait(TICK_S):
            self._scheduler.review(self)
        if self._refusal is not None:
            raise self._refusal
        return self.granted

    def position(self) -> tuple[int, int] | None:
        """Its place in the queue, from 1, and the queue's length; None once it is granted or refused."""
        return self._scheduler.position(self)

    def begin(self) -> None:
        """Its first token is there."""
        self._scheduler.note_begun(self)

    def ask_back(self) -> None:
        """Its slot is for another one, once it is released."""
        self.keeps_slot = self.is_asked_back = True
        if self.request.give_back is not None:
            self.request.give_back()

    def grant(self, now: float) -> None:
        self.granted, self.since = True, now
        self._settled.set()

    def refuse(self, refusal: APIError) -> None:
        self._refusal = refusal
        self._settled.set()

    def __enter__(self) -> SlotTicket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scheduler.release(self)


class Scheduler:
    """Grants slots to tickets. Thread-safe: one lock, held for a few microseconds.

    At most `queue_limit` requests wait, none longer than `queue_timeout` seconds (0: no limit). For
    `spare_seconds` after a caller was served, slots are kept free for it. All three may change at any time.
    """

    def __init__(
        self, *, queue_limit: int, queue_timeout: float = 0.0, spare_seconds: float = 0.0
    ) -> None:
        self.queue_limit = queue_limit
        self.queue_timeout = queue_timeout
        self.spare_seconds = spare_seconds
        self._slots = 1
        self._lock = threading.Lock()
        self._lines: dict[Priority, FairQueue[SlotTicket]] = {
            "interactive": FairQueue(),
            "batch": FairQueue(),
        }
        self._running: set[SlotTicket] = set()
        self._last_seen: dict[AccountKey, tuple[float, int]] = {}  # when, and its weight
        self._interactive_turns = 0  # in a row, while batch requests waited
        self._mean_hold_s = 1.0  # how long a slot is held, on average
        self._closed = False

    @classmethod
    def of(cls, settings: Settings) -> Scheduler:
        """One with the operator's settings."""
        return cls(
            queue_limit=settings.queue_limit,
            queue_timeout=settings.queue_timeout,
            spare_seconds=settings.spare_seconds,
        )

    def configure(self, settings: Settings) -> None:
        """Use these settings from now on; waiting requests keep their place."""
        self.queue_limit = settings.queue_limit
        self.queue_timeout = settings.queue_timeout
        self.spare_seconds = settings.spare_seconds

    def request_slot(self, slots: int, request: SlotRequest = SlotRequest()) -> SlotTicket:
        """Return a ticket for one of the engine's `slots`, granted at once if one is free and none waits.

        Raises ShareExceeded or QueueFull if too many wait, ShuttingDown after `close`; never for a further
        choice.
        """
        now = time.monotonic()
        ticket = SlotTicket(self, request, now)
        with self._lock:
            if self._closed and not request.further:
                raise ShuttingDown("The server is shutting down.")
            self._slots = slots
            self._note_caller(request, now)
            line = self._lines[request.priority]
            caller = request.caller
            line.add(ticket, caller.name, request.user, caller.weight, request.order)
            self._grant(now)
            if not (ticket.granted or request.further):
                self._refuse_over_limit(ticket)
        return ticket

    @property
    def running(self) -> int:
        """The number of choices that have a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """The number of requests in the queue."""
        return self.state().requests_waiting

    def release(self, ticket: SlotTicket) -> None:
        """Release the slot or the place in the queue, and grant the next ticket. Idempotent."""
        now = time.monotonic()
        with self._lock:
            if ticket in self._running:
                self._running.remove(ticket)
                self._mean_hold_s += HOLD_SMOOTHING * (now - ticket.since - self._mean_hold_s)
                self._note_caller(ticket.request, now)
            self._lines[ticket.request.priority].remove(ticket)
            self._grant(now)

    def note_begun(self, ticket: SlotTicket) -> None:
        """Its first token is there: batch requests need not wait for it any more."""
        ticket.has_begun = True
        if len(self._lines["batch"]):
            with self._lock:
                self._grant(time.monotonic())

    def review(self, ticket: SlotTicket) -> None:
        """Check a waiting ticket again: a spare slot may be free by now, or its time is up."""
        now = time.monotonic()
        with self._lock:
            self._grant(now)
            waited = now - ticket.since
            if ticket.granted or ticket.request.further or not 0 < self.queue_timeout < waited:
                return
            self._refuse(ticket, QueueTimeout(
                f"The server is busy: this request has waited for {self.queue_timeout:g} seconds "
                "without getting its turn. Please try again later.",
                retry_after=self._retry_after_s(),
            ))  # fmt: skip

    def position(self, ticket: SlotTicket) -> tuple[int, int] | None:
        """See SlotTicket.position."""
        interactive, batch = self._lines.values()
        with self._lock:
            line = self._lines[ticket.request.priority]
            if ticket.granted or ticket not in line:
                return None
            ahead = line.ahead_of(ticket) + (len(interactive) if line is batch else 0)
            return ahead + 1, len(interactive) + len(batch)

    def state(self) -> QueueState:
        """The state of the queue now."""
        callers: dict[str, CallerState] = {}
        with self._lock:
            for line in self._lines.values():
                for name, (running, waiting) in line.held().items():
                    before = callers.get(name, CallerState(0, 0))
                    callers[name] = CallerState(before.running + running, before.waiting + waiting)
            tickets = [ticket for line in self._lines.values() for ticket in line]
            return QueueState(
                self._slots,
                len(self._running),
                len(tickets),
                sum(not ticket.request.further for ticket in tickets),
                self.queue_limit,
                callers,
            )

    def close(self) -> None:
        """Refuse new and waiting requests: the server stops."""
        with self._lock:
            self._closed = True
            for line in self._lines.values():
                for ticket in list(line):
                    if not ticket.request.further:
                        self._refuse(ticket, ShuttingDown("The server is shutting down."))

    def _grant(self, now: float) -> None:
        """Grant the free slots."""
        interactive, batch = self._lines.values()
        while len(self._running) < self._slots and (len(interactive) or len(batch)):
            line = self._next_line(now)
            ticket = line.take() if line is not None else None
            if ticket is None:
                return
            if line is batch and len(interactive):
                ticket.keeps_slot = True  # it had to wait long enough
            self._interactive_turns = (
                self._interactive_turns + 1 if len(batch) and line is not batch else 0
            )
            self._running.add(ticket)
            ticket.grant(now)
        if len(interactive):
            self._ask_back(len(interactive))

    def _ask_back(self, waiting: int) -> None:
        """Ask for slots of work that can be done again, the latest first: as many as requests wait."""
        if len(self._running) < self._slots:
            return
        can = [each for each in self._running if each.request.give_back is not None]
        waiting -= sum(each.is_asked_back for each in can)
        can = sorted((each for each in can if not each.keeps_slot), key=_since, reverse=True)
        for each in can[: max(0, waiting)]:
            each.ask_back()

    def _next_line(self, now: float) -> FairQueue[SlotTicket] | None:
        """The line that gets a free slot now; None: the slot stays free."""
        interactive, batch = self._lines.values()
        is_last = self._slots > 1 and len(self._running) == self._slots - 1
        first = interactive.peek()
        if first is None:
            leftover = batch.peek()
            stays_free = (
                is_last
                or self._is_one_reading()
                or (leftover is not None and self._stays_free(leftover.request, now))
            )
            return None if stays_free else batch
        if len(batch) and self._interactive_turns >= TURNS_PER_BATCH_TURN - 1:
            return batch
        return None if self._stays_free(first.request, now) else interactive

    def _is_one_reading(self) -> bool:
        """Whether an interactive request waits for its first token: prompts of batch requests are read in the
        same steps. Batch requests wait for some of these, not for ever."""
        return self._interactive_turns < TURNS_PER_BATCH_TURN - 1 and any(
            each.request.priority == "interactive" and not each.has_begun for each in self._running
        )

    def _note_caller(self, request: SlotRequest, now: float) -> None:
        self._last_seen[_account_of(request)] = now, request.caller.weight

    def _stays_free(self, request: SlotRequest, now: float) -> bool:
        """Whether the slot stays free for callers that were served just now.

        No caller exceeds its share with one of the last SPARE_SLOTS, and a caller with running choices leaves
        the very last slot to callers without any. If only one key is active, users are compared instead.
        """
        oldest = now - self.spare_seconds
        self._last_seen = {
            account: seen for account, seen in self._last_seen.items() if seen[0] > oldest
        }
        by_user = len({name for name, _ in self._last_seen}) < 2

        def compared(account: AccountKey) -> AccountKey:
            return account if by_user else (account[0], None)

        mine = compared(_account_of(request))
        others = {compared(key): weight for key, (_, weight) in self._last_seen.items()}
        others.pop(mine, None)
        if not others:
            return False
        running = Counter(compared(_account_of(ticket.request)) for ticket in self._running)
        weight = request.caller.weight
        share = math.ceil(self._slots * weight / (weight + sum(others.values())))
        if running[mine] >= max(share, self._slots - min(SPARE_SLOTS, self._slots // 2)):
            return True
        is_last = len(self._running) == self._slots - 1
        return is_last and running[mine] > 0 and not others.keys() <= running.keys()

    def _refuse_over_limit(self, newcomer: SlotTicket) -> None:
        """If too many wait, refuse one: the newest of the caller that has most waiting for its weight."""
        waiting = [ticket for line in self._lines.values() for ticket in line]
        waiting = [ticket for ticket in waiting if not ticket.request.further]
        if len(waiting) <= self.queue_limit:
            return
        batch = [ticket for ticket in waiting if ticket.request.priority == "batch"]
        if batch and newcomer.request.priority == "interactive":
            self._refuse(max(batch, key=_since), self._queue_full())
            return
        loads = _loads(waiting)
        greediest = max(loads, key=lambda name: loads[name])
        if loads[greediest] > loads[newcomer.request.caller.name]:
            line = self._lines[newcomer.request.priority]
            victim = line.newest(greediest, lambda ticket: not ticket.request.further)
            if victim is not None:
                self._refuse(victim, self._share_exceeded())
                return
        self._lines[newcomer.request.priority].remove(newcomer)
        raise self._refusal_of(newcomer, waiting)

    def _refusal_of(self, newcomer: SlotTicket, waiting: Sequence[SlotTicket]) -> APIError:
        """The refusal of a new request: its caller has more than any other, or the queue is full."""
        loads = _loads([*self._running, *(each for each in waiting if each is not newcomer)])
        mine = loads.pop(newcomer.request.caller.name, 0.0)
        if mine > max(loads.values(), default=0.0):
            return self._share_exceeded()
        return self._queue_full()

    def _queue_full(self) -> QueueFull:
        return QueueFull(
            f"{self.queue_limit} requests wait already: the server takes no more now. "
            "Please try again shortly.",
            retry_after=self._retry_after_s(),
        )

    def _share_exceeded(self) -> ShareExceeded:
        return ShareExceeded(
            "You have more requests here than anybody else, and the queue of "
            f"{self.queue_limit} is full. Please wait for some of yours to end.",
            retry_after=self._retry_after_s(),
        )

    def _refuse(self, ticket: SlotTicket, refusal: APIError) -> None:
        self._lines[ticket.request.priority].remove(ticket)
        ticket.refuse(refusal)

    def _retry_after_s(self) -> int:
        """Seconds after which about half of the current requests will have ended."""
        here = sum(map(len, self._lines.values())) + len(self._running)
        return max(
            MIN_RETRY_AFTER_S,
            min(MAX_RETRY_AFTER_S, math.ceil(self._mean_hold_s * here / max(1, self._slots) / 2)),
        )


def merged(states: Sequence[QueueState]) -> QueueState:
    """Several queues as one."""
    first, *rest = states
    if not rest:
        return first
    callers: dict[str, CallerState] = {}
    for state in states:
        for name, each in state.callers.items():
            before = callers.get(name, CallerState(0, 0))
            callers[name] = CallerState(
                before.running + each.running, before.waiting + each.waiting
            )
    return QueueState(
        sum(state.slots for state in states),
        sum(state.running for state in states),
        sum(state.waiting for state in states),
        sum(state.requests_waiting for state in states),
        sum(state.limit for state in states),
        callers,
    )


AccountKey = tuple[str, str | None]


def _account_of(request: SlotRequest) -> AccountKey:
    return request.caller.name, request.user


def _loads(tickets: Iterable[SlotTicket]) -> dict[str, float]:
    """The number of these tickets of each caller, divided by its weight."""
    loads: dict[str, float] = {}
    for ticket in tickets:
        caller = ticket.request.caller
        loads[caller.name] = loads.get(caller.name, 0.0) + 1 / caller.weight
    return loads


def _since(ticket: SlotTicket) -> float:
    return ticket.since
