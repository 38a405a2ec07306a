"""How long and how much is kept: the oldest objects go when they are too old, or their owner has too much.

In small transactions with pauses between them, so that requests do not wait for the sweeper.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    and_,
    delete,
    exists,
    or_,
    select,
)

from . import objects
from .database import Database
from .files import CHUNKS, CHUNKS_TOGETHER, ended
from .files import KIND as FILES
from .stored_batch import ACTIVE
from .stored_batch import KIND as BATCHES
from .tables import KINDS, batches, deleted, file_chunks, files, idempotency, responses, totals

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
        if self._database.problem is not None:
            # Find out whether writing works again, also while no client stores anything.
            nothing = partial(objects.count, kind=next(iter(KINDS)), owner="", objects=0, bytes=0)
            self._database.write(nothing)
        retention, stop, swept = self._retention(), stop or threading.Event(), 0
        now = int(time.time())
        for kind in (CHUNKS, FILES):
            swept += self._repeat(partial(_ended, kind=kind, batch=self._batch), stop)
        for kind in KINDS:
            if days := retention.days.get(kind, 0):
                swept += self._repeat(
                    partial(_expired, kind=kind, before=now - days * DAY, batch=self._batch), stop
                )
            most = retention.bytes_per_owner.get(kind, 0)
            if most and kind != FILES:  # of these, new ones are refused
                swept += self._repeat(
                    partial(_surplus, kind=kind, most=most, batch=self._batch), stop
                )
        self._forget(deleted, deleted.c.at < now - DAY)
        self._forget(idempotency, idempotency.c.until < now)
        self._database.tidy()
        return swept

    def _repeat(self, find: Callable[[Connection], Found], stop: threading.Event) -> int:
        """Delete what it finds, in transactions of their own, until it finds nothing; how many objects went.

        Nothing is written where there is nothing to delete: that would take the turn of another."""
        gone = 0
        while not stop.is_set():
            with self._database.read() as connection:
                if not find(connection).rows:
                    break
            gone += self._database.write(lambda connection: _remove(connection, find(connection)))
            stop.wait(self._pause)
        return gone

    def _forget(self, table: Table, old: ColumnElement[bool]) -> None:
        with self._database.read() as connection:
            if connection.execute(select(table).where(old).limit(1)).first() is None:
                return
        self._database.write(lambda connection: connection.execute(delete(table).where(old)))


@dataclass(frozen=True, slots=True)
class Found:
    """Objects of one kind that may go."""

    kind: str
    rows: Sequence[RowMapping] = ()


def _expired(connection: Connection, kind: str, before: int, batch: int) -> Found:
    """Some that are older. Responses that go on from each other go together, when the last one is older.
    Sessions are as old as their last use."""
    columns = KINDS[kind].c
    created = columns.used if "used" in columns else columns.created
    old = created < before
    if kind == "responses":
        later = responses.alias()
        of_one = (later.c.root == responses.c.root, later.c.owner == responses.c.owner)
        old = and_(old, ~exists().where(*of_one, later.c.created >= before))
    return _first(connection, kind, old, created, batch)


def _ended(connection: Connection, kind: str, batch: int) -> Found:
    """Some files that have expired, or will never be complete; before them, their chunks."""
    over = ended(int(time.time()))
    if kind == CHUNKS:
        over, batch = exists().where(files.c.id == file_chunks.c.file, over), CHUNKS_TOGETHER
    return _first(connection, kind, over, KINDS[kind].c.seq, batch)


def _surplus(connection: Connection, kind: str, most: int, batch: int) -> Found:
    """Some of the oldest of one owner with more than `most` bytes."""
    over = (totals.c.kind == kind, totals.c.bytes > most)
    owner = connection.execute(select(totals.c.owner, totals.c.bytes).where(*over)).first()
    if owner is None:
        return Found(kind)
    table = KINDS[kind]
    mine = table.c.owner == owner.owner
    return _first(connection, kind, mine, table.c.seq, batch, owner.bytes - most)


def _first(
    connection: Connection,
    kind: str,
    which: ColumnElement[bool],
    order: ColumnElement[int],
    batch: int,
    bytes: int = BATCH_BYTES,
) -> Found:
    """The first of these, at most `batch`, together of `bytes` or a little more."""
    table = KINDS[kind]
    columns = select(table.c.seq, table.c.owner, table.c.bytes)
    if kind == "responses":  # none that is being made
        until = responses.c.until
        which = and_(which, or_(until.is_(None), until < int(time.time())))
    if kind == BATCHES:  # none that has not ended
        which = and_(which, batches.c.status.not_in(ACTIVE))
    rows = connection.execute(columns.where(which).order_by(order).limit(batch)).mappings().all()
    chosen, left = [], min(bytes, BATCH_BYTES)
    for row in rows:
        if left <= 0:
            break
        chosen.append(row)
        left -= row["bytes"]
    return Found(kind, chosen)


def _remove(connection: Connection, found: Found) -> int:
    if found.rows:
        objects.remove(connection, found.kind, found.rows)
    return len(found.rows)
