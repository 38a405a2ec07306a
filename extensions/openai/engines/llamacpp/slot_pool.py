"""Reserves the resources that answers share: the engine's slots and its cache."""

from __future__ import annotations

import threading


class SlotPool:
    """Slots, and tokens of a shared cache, reserved before an answer begins. Thread-safe.

    llama.cpp ends every running answer with an error when its cache is full, so nothing starts that
    might fill it. First come, first served.
    """

    def __init__(self, tokens: int | None, slots: int) -> None:
        """`tokens`: the size of the shared cache; None if each slot has its own."""
        self._tokens = tokens or 0
        self._free = self._tokens
        self._slots = slots
        self._running = 0
        self._spares_in_use = 0  # slots used for queries beside an answer
        self._condition = threading.Condition()
        self._queue: list[Reservation] = []

    def reserve(self, tokens: int) -> Reservation:
        """Reserve a slot and `tokens` tokens (at most all) for the time of a `with` block."""
        return Reservation(self, min(tokens, self._tokens))

    def try_acquire_spare(self) -> bool:
        """Take a slot for a moment, if one is free now; `release_spare` returns it."""
        with self._condition:
            free = self._running + self._spares_in_use < self._slots
            self._spares_in_use += free
            return free

    def release_spare(self) -> None:
        with self._condition:
            self._spares_in_use -= 1
            self._condition.notify_all()

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
                self._free += reservation.tokens
                self._running -= 1
            else:
                self._queue.remove(reservation)
            self._condition.notify_all()

    def _fits(self, reservation: Reservation) -> bool:
        free = self._running + self._spares_in_use < self._slots
        return free and reservation.tokens <= self._free

    def _acquire(self, reservation: Reservation) -> None:
        self._free -= reservation.tokens
        self._running += 1
        reservation.held = True


class Reservation:
    """A slot and tokens, first waited for, then held."""

    def __init__(self, pool: SlotPool, tokens: int) -> None:
        self._pool = pool
        self.tokens = tokens
        self.held = False

    def __enter__(self) -> Reservation:
        self._pool.enqueue(self)
        return self

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True once it is held."""
        return self.held or self._pool.wait_for(self, timeout)

    def __exit__(self, *_: object) -> None:
        self._pool.release(self)
