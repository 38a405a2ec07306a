"""A fair queue: fair between keys, fair between the users of a key, and first come first served for each
user, unless it gives its items an order.

A pure data structure, without threads or clock. Next is the key with the fewest running items for its weight;
equal keys take turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item", bound=Hashable)
ROUNDING_TURNS = 1e-9  # of a turn; sums of fractions are not exact


@dataclass(slots=True)
class _Share:
    """The running and waiting items of one key, or of one user of a key."""

    weight: int = 1
    running: int = 0
    waiting: int = 0
    due: float = 0.0
    """When the next turn is due, in rounds."""
    served: int = 0
    """The number of its last grant; 0: it had none."""

    @property
    def rank(self) -> tuple[float, float, int]:
        """The share with the lowest rank is next."""
        return self.running / self.weight, self.due, self.served


@dataclass(slots=True)
class _User(_Share, Generic[Item]):
    line: deque[Item] = field(default_factory=deque)


@dataclass(slots=True)
class _Key(_Share, Generic[Item]):
    users: dict[str | None, _User[Item]] = field(default_factory=dict)
    round: float = 0.0


class _Place(NamedTuple):
    """Where an item belongs."""

    key: str
    user: str | None
    order: int


class FairQueue(Generic[Item]):
    """Waiting items, and a count of the running ones. Not thread-safe.

    While a key waits and has nothing running, no other key is served more often than once for each of
    its own turns, times their weights. Keys and users that hold nothing are forgotten.
    """

    def __init__(self) -> None:
        self._keys: dict[str, _Key[Item]] = {}
        self._waiting = 0
        self._round = 0.0
        self._grants = 0
        self._places: dict[Item, _Place] = {}

    def __len__(self) -> int:
        """The number of waiting items."""
        return self._waiting

    def __iter__(self) -> Iterator[Item]:
        """The waiting items, key by key."""
        for key in self._keys.values():
            for user in key.users.values():
                yield from user.line

    def add(
        self, item: Item, key: str, user: str | None = None, weight: int = 1, order: int = 0
    ) -> None:
        """Add an item to its user's line: behind all those whose order is not higher."""
        share = self._keys.setdefault(key, _Key())
        share.weight = weight
        if not share.waiting:
            # A new key waits for a round, as all have; otherwise new keys would always go first.
            share.due = max(share.due, self._round + 1 / weight)
        share.waiting += 1
        self._waiting += 1
        line = share.users.setdefault(user, _User())
        if not line.waiting:
            line.due = max(line.due, share.round + 1)
        line.waiting += 1
        at = len(line.line)
        while at and self._places[line.line[at - 1]].order > order:
            at -= 1
        line.line.insert(at, item)
        self._places[item] = _Place(key, user, order)

    def peek(self) -> Item | None:
        """The next item; None if none waits."""
        found = self._next()
        return None if found is None else found[1].line[0]

    def take(self) -> Item | None:
        """Let the next item run, until `remove`."""
        found = self._next()
        if found is None:
            return None
        key, user = found
        self._grants += 1
        self._waiting -= 1
        self._round, key.round = key.due, user.due
        for share in (key, user):
            share.due += 1 / share.weight
            share.served = self._grants
            share.waiting -= 1
            share.running += 1
        return user.line.popleft()

    def remove(self, item: Item) -> None:
        """Forget a waiting or running item. Has no effect for an unknown one."""
        place = self._places.pop(item, None)
        if place is None:
            return
        key = self._keys[place.key]
        user = key.users[place.user]
        waits = item in user.line
        if waits:
            user.line.remove(item)
            self._waiting -= 1
        for share in (key, user):
            share.waiting -= waits
            share.running -= not waits
        if not user.waiting and not user.running:
            del key.users[place.user]
        if not key.waiting and not key.running:
            del self._keys[place.key]

    def held(self) -> dict[str, tuple[int, int]]:
        """Running and waiting items of each key."""
        return {name: (key.running, key.waiting) for name, key in self._keys.items()}

    def ahead_of(self, item: Item) -> int:
        """An estimate of how many items will be served before this one, from turns alone."""
        name, user_name, _ = self._places[item]
        key = self._keys[name]
        user = key.users[user_name]
        at = user.line.index(item)
        mine = at + sum(
            _turns_before(other, user.due + at, other.waiting)
            for other in key.users.values()
            if other is not user
        )
        due = key.due + mine / key.weight
        return mine + sum(
            _turns_before(other, due, other.waiting)
            for other in self._keys.values()
            if other is not key
        )

    def newest(self, key: str, wanted: Callable[[Item], bool]) -> Item | None:
        """The newest `wanted` item in the longest of the key's lines; None if there is none."""
        share = self._keys.get(key)
        if share is None:
            return None
        lines = [[item for item in user.line if wanted(item)] for user in share.users.values()]
        longest = max(lines, key=len, default=[])
        return longest[-1] if longest else None

    def _next(self) -> tuple[_Key[Item], _User[Item]] | None:
        if not self._waiting:
            return None
        key = min((key for key in self._keys.values() if key.waiting), key=_rank)
        return key, min((user for user in key.users.values() if user.waiting), key=_rank)


def _rank(share: _Share) -> tuple[float, float, int]:
    return share.rank


def _turns_before(share: _Share, due: float, most: int) -> int:
    """How many turns of a share are due before `due`."""
    return min(most, max(0, ceil((due - share.due) * share.weight - ROUNDING_TURNS)))
