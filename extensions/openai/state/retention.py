"""How long and how much is kept: the oldest objects go when they are too old, or their owner has too much.

In small transactions with pauses between them, so that requests do not wait for the sweeper.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, Connection, delete, select

from . import objects
from .database import Database
from .tables import KINDS, deleted, totals

log = logging.getLogger("openedai")

BATCH, BATCH_BYTES = 200, 32 << 20
"""How much one transaction deletes."""
PAUSE = 0.05  # seconds between two transactions
DAY = 86400


@dataclass(frozen=True, slots=True)
class Retention:
    """What the operator lets be kept, by kind; a kind that is not named, and 0, have no limit."""

    days: Mapping[str, int]
    bytes_per_owner: Mapping[str, int]


class Sweeper:
    """Deletes what may not be kept any longer. Not thread-safe."""

    def __init__(
        self,
        database: Database,
        retention: Callable[[], Retention],
        *,
        batch: int = BATCH,
        pause: float = PAUSE,
    ) -> None:
        """`batch`: how many objects one transaction deletes; `pause`: seconds between two."""
        self._database = database
        self._retention = retention
        self._batch, self._pause = batch, pause

    def sweep(self, stop: threading.Event | None = None) -> int:
        """Delete until nothing is left to delete, or `stop` is set; how many objects went.

        Raises StoreUnavailable."""
        retention, swept = self._retention(), 0
        stop = stop or threading.Event()
        now = int(time.time())
        for kind in KINDS:
            if days := retention.days.get(kind, 0):
                swept += self._repeat(
                    partial(_expire, kind=kind, before=now - days * DAY, batch=self._batch), stop
                )
            if most := retention.bytes_per_owner.get(kind, 0):
                swept += self._repeat(
                    partial(_shorten, kind=kind, most=most, batch=self._batch), stop
                )
        self._database.write(
            lambda connection: connection.execute(delete(deleted).where(deleted.c.at < now - DAY))
        )
        self._database.tidy()
        return swept

    def _repeat(self, step: Callable[[Connection], int], stop: threading.Event) -> int:
        """Do it in transactions of its own until it finds nothing more; how many objects went."""
        found = 0
        while not stop.is_set():
            gone = self._database.write(step)
            if not gone:
                break
            found += gone
            stop.wait(self._pause)
        return found


def _expire(connection: Connection, kind: str, before: int, batch: int) -> int:
    """Delete some that are older."""
    created = KINDS[kind].c.created
    return _remove_first(connection, kind, created < before, created, batch)


def _shorten(connection: Connection, kind: str, most: int, batch: int) -> int:
    """Delete some of the oldest of one owner with more than `most` bytes."""
    over = select(totals.c.owner, totals.c.bytes).where(
        totals.c.kind == kind, totals.c.bytes > most
    )
    found = connection.execute(over.limit(1)).one_or_none()
    if found is None:
        return 0
    table = KINDS[kind]
    mine = table.c.owner == found.owner
    return _remove_first(connection, kind, mine, table.c.seq, batch, found.bytes - most)


def _remove_first(
    connection: Connection,
    kind: str,
    which: ColumnElement[bool],
    order: ColumnElement[int],
    batch: int,
    bytes: int = BATCH_BYTES,
) -> int:
    """Delete the first of these, at most `batch`, until `bytes` are gone; how many went."""
    table = KINDS[kind]
    columns = select(table.c.seq, table.c.owner, table.c.bytes)
    rows = connection.execute(columns.where(which).order_by(order).limit(batch)).mappings().all()
    chosen, left = [], min(bytes, BATCH_BYTES)
    for row in rows:
        if left <= 0:
            break
        chosen.append(row)
        left -= row["bytes"]
    if chosen:
        objects.remove(connection, kind, chosen)
    return len(chosen)
