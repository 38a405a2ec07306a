"""Which models make room for another one: decisions over plain values, without a process or a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """What all resident models may take together; 0: no limit."""

    models: int = 0
    bytes: int = 0

    def holds(self, sizes: Sequence[int]) -> bool:
        """Whether models of these sizes are within it."""
        if self.models and len(sizes) > self.models:
            return False
        return not self.bytes or sum(sizes) <= self.bytes


@dataclass(frozen=True, slots=True)
class Held:
    """A model in memory."""

    name: str
    bytes: int
    last_used: float
    """When its last answer began or ended."""
    is_busy: bool = False
    """Whether it answers, or is being loaded."""
    pinned: bool = False


NO_LIMIT = Room()


def making_room(size: int, held: Iterable[Held], room: Room) -> tuple[Held, ...] | None:
    """The idle models to unload for one of `size` bytes, the least recently used first; none: there is room.
    None: the idle ones are not enough."""
    return _least_recent(size, tuple(held), room, lambda each: not (each.is_busy or each.pinned))


def to_wait_for(size: int, held: Iterable[Held], room: Room) -> tuple[Held, ...]:
    """The models that must answer what they have begun, and take no new requests, so that there is room for
    one of `size` bytes. Empty: not even all of them would be enough."""
    return _least_recent(size, tuple(held), room, lambda each: not each.pinned) or ()


def is_impossible(size: int, held: Iterable[Held], room: Room) -> bool:
    """Whether one of `size` bytes has no room even beside nothing but the pinned models."""
    return not room.holds([size, *(each.bytes for each in held if each.pinned)])


def _least_recent(
    size: int, held: Sequence[Held], room: Room, may_go: Callable[[Held], bool]
) -> tuple[Held, ...] | None:
    staying, going = list(held), list[Held]()
    for each in sorted(filter(may_go, held), key=lambda each: (each.is_busy, each.last_used)):
        if _fits(size, staying, room):
            break
        staying.remove(each)
        going.append(each)
    if not _fits(size, staying, room):
        return None
    # A large one may have made the room for which smaller ones were taken before.
    for each in reversed(going[:-1]):
        if _fits(size, [*staying, each], room):
            staying.append(each)
            going.remove(each)
    return tuple(going)


def _fits(size: int, held: Iterable[Held], room: Room) -> bool:
    return room.holds([size, *(each.bytes for each in held)])
