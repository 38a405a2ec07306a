"""Reserves what answers share: slots, each with what it holds of earlier prompts, and the KV cache."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from .checkpoints import NONE, Checkpoints
from .prompt import EMPTY, Prompt

LEAST_SIMILAR = 0.1
"""How much of a prompt a slot must hold to be chosen for it, and not the one that is missed least."""

STEADY = 1.5
"""By which factor the last two intervals of a steady pace may differ."""


class Clock:
    """Counts how often slots were taken: histories measure time by it."""

    def __init__(self) -> None:
        self.now = 0

    def tick(self) -> int:
        """Called under the lock of the slots."""
        self.now += 1
        return self.now


@dataclass(slots=True, eq=False)
class History:
    """When one conversation was used, which tells which one goes first where there is no room for all.

    It is the one whose next use seems furthest away. What came back at a steady pace is expected to go on so:
    where more conversations take turns than there is room for, the one used last longest ago is the very next
    one. Of all others only their age says something, as with "least recently used".
    """

    last: int = 0
    interval: int = 0
    """Between its last two uses; 0: it was used once."""
    earlier: int = 0
    """The interval before."""

    def used(self, at: int) -> None:
        """Take note of a use; the same one counts once."""
        if at != self.last:
            self.earlier, self.interval = self.interval, at - self.last if self.last else 0
            self.last = at

    def distance(self, now: int) -> int:
        """How far away its next use seems to be, at least 1."""
        age = now - self.last
        if self.earlier and age <= self.interval:
            short, long = sorted((self.earlier, self.interval))
            if long <= STEADY * short:
                return max(1, self.interval - age)
        return max(1, age)


@dataclass(slots=True, eq=False)
class Slot:
    """One of llama.cpp's slots. Only its holder may change what is said of it."""

    id: int
    content: Prompt = EMPTY
    """What it holds, as far as is known."""
    tokens: int = 0
    """How many tokens that is."""
    movable: bool = True
    """Whether its content may be kept elsewhere."""
    reach: Prompt | None = EMPTY
    """What its checkpoints are of: beginnings of this prompt, maybe all of it. None: that is not known."""
    checkpoints: Checkpoints = NONE
    """What is known of them."""
    history: History = field(default_factory=History)
    """Of what it holds."""
    taken: int = 0
    """When it was last taken."""

    def worth(self, now: int) -> float:
        """How much would be computed again without what it holds, and how soon."""
        return self.tokens / self.history.distance(now)


class SlotPool:
    """Slots, and tokens of a shared cache, reserved before an answer begins. Thread-safe.

    llama.cpp ends every running answer with an error when its cache is full, so nothing starts that
    might fill it. First come, first served.
    """

    def __init__(self, tokens: int | None, slots: int) -> None:
        """`tokens`: the size of the shared cache; None if each slot has its own."""
        self._tokens = tokens or 0
        self._free_tokens = self._tokens
        self._free = [Slot(id) for id in range(slots)]
        self.clock = Clock()
        self.stays: Callable[[Slot, Prompt], bool] = lambda slot, prompt: False
        """Whether a slot is left alone by a prompt that begins as what it holds, but goes on otherwise."""
        self._running = 0
        self._condition = threading.Condition()
        self._queue: list[Reservation] = []

    def reserve(self, tokens: int, prompt: Prompt = EMPTY) -> Reservation:
        """Reserve a slot, the best one for `prompt`, and `tokens` tokens (at most all) for the time of a
        `with` block."""
        return Reservation(self, min(tokens, self._tokens), prompt)

    def take_spare(self, prompt: Prompt = EMPTY) -> Slot | None:
        """Take a slot for a moment, if one is free now, for a query beside an answer to `prompt`;
        `return_spare` gives it back."""
        with self._condition:
            return self._take(prompt) if self._free else None

    def take_purged(self) -> Slot | None:
        """Take the idle slot whose next use seems furthest away, if what idle slots hold and what answers
        have reserved is more than the shared cache holds; `return_spare` gives it back, emptied."""
        if not self._tokens:
            return None
        with self._condition:
            held = [slot for slot in self._free if slot.tokens]
            reserved = self._tokens - self._free_tokens
            if not held or sum(slot.tokens for slot in held) + reserved <= self._tokens:
                return None
            now = self.clock.now
            last = max(held, key=lambda slot: slot.history.distance(now))
            self._free.remove(last)
            return last

    def take_holding(self, prompt: Prompt, least: int) -> Slot | None:
        """Take the idle slot that shares the most with a prompt, if `least` tokens; `return_spare` gives it
        back."""
        with self._condition:
            found = self._longest(prompt, least - 1)
            if found is not None:
                self._free.remove(found)
            return found

    def return_spare(self, slot: Slot) -> None:
        with self._condition:
            self._free.append(slot)
            self._condition.notify_all()

    def idle(self) -> list[Slot]:
        """Those that are free, the one used last at the end. For when no more answers begin."""
        with self._condition:
            return sorted(self._free, key=lambda slot: slot.history.last)

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True when there are no reservations."""
        with self._condition:
            return self._condition.wait_for(lambda: not (self._running or self._queue), timeout)

    def enqueue(self, reservation: Reservation) -> None:
        """Acquire it at once, or queue it."""
        with self._condition:
            if not self._queue and self._fits(reservation):
                self._acquire(reservation)
            else:
                self._queue.append(reservation)

    def wait_for(self, reservation: Reservation, timeout: float) -> bool:
        """Wait in the queue; True once it is acquired."""

        def first_and_fits() -> bool:
            return self._queue[0] is reservation and self._fits(reservation)

        with self._condition:
            if not self._condition.wait_for(first_and_fits, timeout):
                return False
            self._queue.pop(0)
            self._acquire(reservation)
            self._condition.notify_all()
            return True

    def release(self, reservation: Reservation) -> None:
        with self._condition:
            if reservation.held:
                self._free_tokens += reservation.tokens
                self._running -= 1
                self._free.append(reservation.slot)
            else:
                self._queue.remove(reservation)
            self._condition.notify_all()

    def _fits(self, reservation: Reservation) -> bool:
        return bool(self._free) and reservation.tokens <= self._free_tokens

    def _acquire(self, reservation: Reservation) -> None:
        self._free_tokens -= reservation.tokens
        self._running += 1
        reservation.slot = self._take(reservation.prompt)
        reservation.held = True

    def _take(self, prompt: Prompt) -> Slot:
        """The free slot with the longest beginning of the prompt, or else the one that is missed least: also
        where a copy of that beginning can be had."""
        now = self.clock.tick()
        best = self._longest(prompt, int(LEAST_SIMILAR * prompt.size))
        if best is None or self.stays(best, prompt):
            best = min(self._free, key=lambda slot: slot.worth(now))
        self._free.remove(best)
        best.taken = now
        return best

    def _longest(self, prompt: Prompt, more_than: int) -> Slot | None:
        """The free slot that shares the most with a prompt, if more than so many tokens."""
        best, most = None, more_than
        for slot in self._free:
            shared = prompt.shared_with(slot.content) if slot.tokens > most else 0
            if shared > most:
                best, most = slot, shared
        return best


class Reservation:
    """A slot and tokens, first waited for, then held."""

    slot: Slot
    """Once it is held."""

    def __init__(self, pool: SlotPool, tokens: int, prompt: Prompt) -> None:
        self._pool = pool
        self.tokens = tokens
        self.prompt = prompt
        self.held = False

    def __enter__(self) -> Reservation:
        self._pool.enqueue(self)
        return self

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True once it is held."""
        return self.held or self._pool.wait_for(self, timeout)

    def __exit__(self, *_: object) -> None:
        self._pool.release(self)
