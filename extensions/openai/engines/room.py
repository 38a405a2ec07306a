"""Who may use how much of a cache that answers share."""

from __future__ import annotations

import threading


class Room:
    """Tokens of a shared cache, promised to answers before they begin. Thread-safe.

    llama.cpp ends every running answer with an error when its cache is full, so nothing starts that
    might fill it. First come, first served.
    """

    def __init__(self, tokens: int | None) -> None:
        """`tokens`: how many there are; None where everybody has enough."""
        self._tokens = tokens or 0
        self._free = self._tokens
        self._condition = threading.Condition()
        self._line: list[Reservation] = []

    def reserve(self, tokens: int) -> Reservation:
        """A place in the line for so many tokens (or all there are); leave its `with` block to give
        them back."""
        return Reservation(self, min(tokens, self._tokens))

    def join(self, reservation: Reservation) -> None:
        with self._condition:
            self._line.append(reservation)

    def take(self, reservation: Reservation, timeout: float) -> bool:
        def first_and_fits() -> bool:
            return self._line[0] is reservation and reservation.tokens <= self._free

        with self._condition:
            if not self._condition.wait_for(first_and_fits, timeout):
                return False
            self._line.pop(0)
            self._free -= reservation.tokens
            reservation.held = True
            self._condition.notify_all()
            return True

    def leave(self, reservation: Reservation) -> None:
        with self._condition:
            if reservation.held:
                self._free += reservation.tokens
            else:
                self._line.remove(reservation)
            self._condition.notify_all()


class Reservation:
    """Tokens that wait for their turn, then are held."""

    def __init__(self, room: Room, tokens: int) -> None:
        self._room = room
        self.tokens = tokens
        self.held = False

    def __enter__(self) -> Reservation:
        self._room.join(self)
        return self

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True once the tokens are held."""
        return self._room.take(self, timeout)

    def __exit__(self, *_: object) -> None:
        self._room.leave(self)


class Occupancy:
    """How many are inside of its `with` block. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0

    def __enter__(self) -> None:
        with self._condition:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True when nobody is inside."""
        with self._condition:
            return self._condition.wait_for(lambda: self._inside == 0, timeout)
