"""Who may use how much of what answers share: the engine's slots, and its cache."""

from __future__ import annotations

import threading


class SlotPool:
    """Slots, and tokens of a shared cache, promised to answers before they begin. Thread-safe.

    llama.cpp ends every running answer with an error when its cache is full, so nothing starts that
    might fill it. First come, first served.
    """

    def __init__(self, tokens: int | None, slots: int) -> None:
        """`tokens`: how many there are; None where all have enough."""
        self._tokens = tokens or 0
        self._free = self._tokens
        self._slots = slots
        self._running = 0
        self._lent = 0  # slots in which something is asked beside an answer
        self._condition = threading.Condition()
        self._line: list[Reservation] = []

    def reserve(self, tokens: int) -> Reservation:
        """A slot and so many tokens (or all there are), for as long as a `with` block."""
        return Reservation(self, min(tokens, self._tokens))

    def try_acquire_spare(self) -> bool:
        """A slot for a moment, if one is free right now; to be given back."""
        with self._condition:
            free = self._running + self._lent < self._slots
            self._lent += free
            return free

    def give_back(self) -> None:
        with self._condition:
            self._lent -= 1
            self._condition.notify_all()

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True when nothing is held and none waits."""
        with self._condition:
            return self._condition.wait_for(lambda: not (self._running or self._line), timeout)

    def join(self, reservation: Reservation) -> None:
        """Take it at once, or stand in line."""
        with self._condition:
            if not self._line and self._fits(reservation):
                self._take(reservation)
            else:
                self._line.append(reservation)

    def take(self, reservation: Reservation, timeout: float) -> bool:
        """Wait in line; True once it is held."""

        def first_and_fits() -> bool:
            return self._line[0] is reservation and self._fits(reservation)

        with self._condition:
            if not self._condition.wait_for(first_and_fits, timeout):
                return False
            self._line.pop(0)
            self._take(reservation)
            self._condition.notify_all()
            return True

    def leave(self, reservation: Reservation) -> None:
        with self._condition:
            if reservation.held:
                self._free += reservation.tokens
                self._running -= 1
            else:
                self._line.remove(reservation)
            self._condition.notify_all()

    def _fits(self, reservation: Reservation) -> bool:
        free = self._running + self._lent < self._slots
        return free and reservation.tokens <= self._free

    def _take(self, reservation: Reservation) -> None:
        self._free -= reservation.tokens
        self._running += 1
        reservation.held = True


class Reservation:
    """A slot and tokens that are waited for, then held."""

    def __init__(self, pool: SlotPool, tokens: int) -> None:
        self._pool = pool
        self.tokens = tokens
        self.held = False

    def __enter__(self) -> Reservation:
        self._pool.join(self)
        return self

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True once it is held."""
        return self.held or self._pool.take(self, timeout)

    def __exit__(self, *_: object) -> None:
        self._pool.leave(self)
