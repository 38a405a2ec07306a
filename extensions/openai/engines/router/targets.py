"""The servers behind one name: which of them gets a request, and which are left alone for a while.

- *least outstanding*: the one with the fewest requests for its weight
- *prefix affinity*: requests that begin alike go to one server, whose cache has that beginning;
  rendezvous hashing, so that a server that goes or comes moves only its own. Not where that server has more
  than LOAD_BOUND times its share of the requests
- *breaker*: after FAILURES in a row a server gets none for a while, then one to try, and longer each time
- *draining*: a server that the operator takes away gets no more requests
- a server that says it is full is left alone as long as it says; one whose health says no, until it says yes
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from ..protocol import Engine

FAILURES = 3
FIRST_BREAK_S, LONGEST_BREAK_S = 2.0, 60.0
LONGEST_PAUSE_S = 30.0
LOAD_BOUND = 1.25

State = Literal["up", "full", "broken", "down", "draining"]


@dataclass(slots=True)
class Target:
    """One server. Changed under the lock of its Targets only."""

    name: str
    engine: Engine
    weight: int = 1
    outstanding: int = 0
    requests: int = 0
    failures: int = 0
    is_healthy: bool = True
    """What its own endpoint says."""
    failed_in_a_row: int = 0
    broken_until: float = 0.0
    break_s: float = FIRST_BREAK_S
    is_tried: bool = False
    """Whether one request tries it behind a break."""
    full_until: float = 0.0
    is_draining: bool = False
    """Whether it gets no more requests."""

    def state(self, now: float) -> State:
        if self.is_draining:
            return "draining"
        if not self.is_healthy:
            return "down"
        if self.failed_in_a_row >= FAILURES and (now < self.broken_until or self.is_tried):
            return "broken"
        return "full" if now < self.full_until else "up"

    @property
    def load(self) -> float:
        return self.outstanding / self.weight


@dataclass(frozen=True, slots=True)
class TargetReport:
    """A server as operators see it."""

    name: str
    state: State
    outstanding: int
    requests: int
    failures: int


class Targets:
    """All of them. Thread-safe."""

    def __init__(
        self, targets: Sequence[Target], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._targets = tuple(targets)
        self._leaving: tuple[Target, ...] = ()
        self._clock = clock
        self._lock = threading.Lock()

    @property
    def all(self) -> tuple[Target, ...]:
        return self._targets

    def change(self, targets: Sequence[Target]) -> None:
        """Use these from now on. One whose engine stays is the same server, and keeps what is known of it;
        one that goes is reported until its last request has ended."""
        with self._lock:
            known = {id(each.engine): each for each in (*self._targets, *self._leaving)}
            found = []
            for new in targets:
                target = known.pop(id(new.engine), new)
                target.weight, target.is_draining = new.weight, new.is_draining
                target.is_healthy = True  # until it is asked again
                found.append(target)
            self._targets = tuple(found)
            for each in known.values():
                each.is_draining = True
            self._leaving = tuple(known.values())

    def take(self, prefix: bytes, tried: Sequence[Target] = ()) -> Target | None:
        """The server for a request that begins with `prefix`, not one of those that were tried; None:
        there is none. Give it back with `done`, `failed` or `full`."""
        now = self._clock()
        with self._lock:
            left = [each for each in self._targets if each not in tried]
            for states in (("up",), ("full",), ("broken", "down")):
                able = [each for each in left if each.state(now) in states]
                if able:
                    break
            else:
                return None
            chosen = self._preferred(prefix, able) or min(able, key=lambda each: each.load)
            chosen.outstanding += 1
            chosen.requests += 1
            if chosen.failed_in_a_row >= FAILURES:
                chosen.is_tried = True
            return chosen

    def _preferred(self, prefix: bytes, able: Sequence[Target]) -> Target | None:
        """The one that had requests with this beginning; None where it has more than its share."""
        if not prefix:
            return None
        preferred = max(able, key=lambda each: _rank(prefix, each))
        total = 1 + sum(each.outstanding for each in able)
        share = preferred.weight / sum(each.weight for each in able)
        bound = max(1.0, LOAD_BOUND * total * share)
        return preferred if preferred.outstanding + 1 <= bound else None

    def done(self, target: Target, *, has_answered: bool = True) -> None:
        """A request has ended; `has_answered`: the server has shown that it works."""
        with self._lock:
            target.outstanding -= 1
            target.is_tried = False
            if has_answered:
                target.failed_in_a_row, target.break_s = 0, FIRST_BREAK_S
                target.full_until = 0.0

    def failed(self, target: Target) -> None:
        """The server failed at a request."""
        with self._lock:
            target.outstanding -= 1
            target.failures += 1
            target.failed_in_a_row += 1
            if target.failed_in_a_row > FAILURES:
                target.break_s = min(LONGEST_BREAK_S, 2 * target.break_s)
            target.is_tried = False
            target.broken_until = self._clock() + target.break_s

    def full(self, target: Target, retry_after: float) -> None:
        """The server takes no more now."""
        with self._lock:
            target.outstanding -= 1
            target.is_tried = False
            target.full_until = self._clock() + min(LONGEST_PAUSE_S, retry_after)

    def set_health(self, target: Target, *, is_healthy: bool) -> None:
        """What the server's own endpoint says; a server that is well again has no break."""
        with self._lock:
            if is_healthy and not target.is_healthy:
                target.failed_in_a_row, target.break_s = 0, FIRST_BREAK_S
            target.is_healthy = is_healthy

    def report(self) -> list[TargetReport]:
        now = self._clock()
        with self._lock:
            names = {each.name for each in self._targets}
            leaving = [e for e in self._leaving if e.outstanding and e.name not in names]
            return [
                TargetReport(
                    each.name, each.state(now), each.outstanding, each.requests, each.failures
                )
                for each in (*self._targets, *leaving)
            ]


def report_of(engine: object) -> list[TargetReport]:
    """The servers behind an engine; none where it is not a router."""
    report: Callable[[], list[TargetReport]] | None = getattr(engine, "report", None)
    return [] if report is None else report()


def _rank(prefix: bytes, target: Target) -> float:
    """Rendezvous hashing with weights: of all that rank a prefix, the highest has it."""
    digest = blake2b(prefix + target.name.encode(), digest_size=8).digest()
    part = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return float(part ** (1 / target.weight))
