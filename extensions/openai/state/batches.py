"""Batches: files of requests, how far each is, and who looks after it."""

from __future__ import annotations

import builtins
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, func, or_, select, update

from ..errors import BatchEnded, RateLimited, StoredObjectNotFound
from . import objects
from .batch_lines import LEASE_SECONDS, BatchLines, change, has_run_out, is_held
from .database import Database
from .encryption import Row
from .idempotency import Claim, finish
from .pages import Page, PageQuery
from .stored_batch import (
    ACTIVE,
    COUNTS,
    KIND,
    Batch,
    BatchTotals,
    NewBatch,
    Status,
    batch_of,
)
from .tables import batch_lines as lines
from .tables import batches as table
from .tables import files

MAX_ACTIVE = 100
"""Batches of one key that have not ended."""
PURPOSES = ("batch", "batch_output")
"""Of the files that batches read and write."""
ROUND = 1000
"""Batches of all keys that servers look at."""


class Batches:
    """Thread-safe. Everything raises StoreUnavailable where the database fails."""

    def __init__(
        self, database: Database, *, lease: int = LEASE_SECONDS, scope: str | None = None
    ) -> None:
        """`scope`: of this process, which answers only batches that it has made, or the one with this id.
        None: it is a server, which answers those of all servers."""
        self._database, self._lease, self._scope = database, lease, scope
        self.lines = BatchLines(database, lease)

    def create(self, owner: str, new: NewBatch, *, claim: Claim | None = None) -> Batch:
        """Raises RateLimited where the owner has too many that have not ended."""
        id, created = "batch_" + secrets.token_hex(16), int(time.time())
        about: dict[str, Any] = {
            "endpoint": new.endpoint,
            "window": new.window,
            "caller": new.caller,
            "metadata": new.metadata,
            "output_seconds": new.output_seconds,
        }
        if self._scope is not None:
            about["scope"] = self._scope
        written = orjson.dumps(about)
        values: dict[str, Any] = dict.fromkeys(
            (*COUNTS, "until", "end_user", "safety_identifier"), 0
        )
        values |= {
            "id": id,
            "owner": owner,
            "created": created,
            "bytes": len(written),
            "end_user": None,
            "safety_identifier": None,
            "status": "validating",
            "paused": False,
            "ends": new.ends,
            "input_file": new.input_file,
            "about": written,
        }

        def work(connection: Connection) -> None:
            active = select(table.c.seq).where(table.c.owner == owner, table.c.status.in_(ACTIVE))
            if len(connection.execute(active.limit(MAX_ACTIVE)).all()) == MAX_ACTIVE:
                raise RateLimited(
                    f"{MAX_ACTIVE} batches of this key have not ended; more are not allowed.",
                    retry_after=60,
                )
            objects.add(connection, KIND, values)
            if claim is not None:
                finish(connection, claim, id)

        self._database.write(work)
        return self.get(owner, id)

    def get(self, owner: str, id: str) -> Batch:
        """Raises StoredObjectNotFound for what is not there, or belongs to another owner."""
        with self._database.read() as connection:
            return batch_of(objects.find(connection, KIND, owner, id))

    def list(self, owner: str, query: PageQuery) -> Page[Batch]:
        """Raises StoredObjectNotFound for an `after` that is none of them."""
        with self._database.read() as connection:
            return objects.page(connection, KIND, owner, query).map(batch_of)

    def active(self) -> builtins.list[Batch]:
        """Those of all owners that have not ended and are for this process, the oldest first."""
        which = select(table).where(table.c.status.in_(ACTIVE)).order_by(table.c.seq).limit(ROUND)
        with self._database.read() as connection:
            found = [batch_of(row) for row in objects.rows(connection, KIND, which)]
        return [each for each in found if self._is_mine(each)]

    def _is_mine(self, batch: Batch) -> bool:
        """To end a batch is for every process: those of its scope may be gone."""
        is_to_end = batch.status in ("cancelling", "finalizing") or batch.ends <= time.time()
        return is_to_end or self._scope in (batch.scope, batch.id)

    def totals(self) -> BatchTotals:
        """Of those of all owners that have not ended, and of the files of all batches."""
        columns = (func.count(), func.min(table.c.created))
        counts = (func.sum(table.c.total), func.sum(table.c.completed), func.sum(table.c.failed))
        which = select(table.c.status, *columns, *counts).where(table.c.status.in_(ACTIVE))
        sizes = select(files.c.purpose, func.sum(files.c.bytes)).where(
            files.c.purpose.in_(PURPOSES), files.c.complete.is_(True)
        )
        with self._database.read() as connection:
            rows = connection.execute(which.group_by(table.c.status)).all()
            of_files = connection.execute(sizes.group_by(files.c.purpose)).all()
        return BatchTotals(
            by_status=dict.fromkeys(ACTIVE, 0) | {row[0]: row[1] for row in rows},
            oldest=min((row[2] for row in rows), default=None),
            lines=sum(int(row[3]) for row in rows),
            completed=sum(int(row[4]) for row in rows),
            failed=sum(int(row[5]) for row in rows),
            file_bytes=dict.fromkeys(PURPOSES, 0) | {row[0]: int(row[1]) for row in of_files},
        )

    def uses(self, owner: str, file: str) -> str | None:
        """The id of a batch that has not ended and works with this file."""
        columns = (table.c.input_file, table.c.output_file, table.c.error_file)
        which = select(table.c.id).where(
            table.c.owner == owner,
            table.c.status.in_(ACTIVE),
            or_(*(column == objects.plain(file) for column in columns)),
        )
        with self._database.read() as connection:
            found: str | None = connection.execute(which.limit(1)).scalar()
        return found

    def cancel(self, owner: str, id: str) -> Batch:
        """Raises StoredObjectNotFound, and BatchEnded for one that has ended in another way."""

        def work(connection: Connection) -> None:
            row = objects.find(connection, KIND, owner, id)
            if row["status"] in ("validating", "in_progress"):
                change(connection, row, "cancelling")
            elif row["status"] not in ("cancelling", "cancelled"):
                raise BatchEnded("cancel", row["status"])

        self._database.write(work)
        return self.get(owner, id)

    def pause(self, id: str, *, paused: bool) -> Batch:
        """Of any owner: begin no more lines, or go on. Raises StoredObjectNotFound, BatchEnded."""

        def work(connection: Connection) -> str:
            row = connection.execute(
                select(table).where(table.c.id == objects.plain(id))
            ).one_or_none()
            if row is None:
                raise StoredObjectNotFound(id)
            if row.status not in ACTIVE:
                raise BatchEnded("pause" if paused else "resume", row.status)
            mine = table.c.seq == row.seq
            connection.execute(update(table).where(mine).values(paused=paused))
            owner: str = row.owner
            return owner

        return self.get(self._database.write(work), id)

    def hold(self, batch: Batch, holder: str) -> bool:
        """Whether it is for this server, from now on, to look through its file or to end it."""

        def work(connection: Connection) -> bool:
            now = int(time.time())
            free = or_(has_run_out(table.c.until, now, self._lease), table.c.holder == holder)
            mine = (table.c.seq == batch.seq, table.c.status == batch.status, free)
            held = {"holder": holder, "until": now + self._lease}
            return connection.execute(update(table).where(*mine).values(**held)).rowcount == 1

        return self._database.write(work)

    def let_go(self, batch: Batch, holder: str) -> None:
        """Others may do it."""
        mine = (table.c.seq == batch.seq, table.c.holder == holder)
        work = update(table).where(*mine).values(until=0)
        self._database.write(lambda connection: connection.execute(work))

    def begin(self, batch: Batch, holder: str, total: int, model: str | None) -> None:
        """Its file was looked through, by this server if it is still its: its lines may be answered."""

        def work(connection: Connection) -> None:
            row = _find(connection, batch)
            if row is not None and is_held(connection, batch, holder):
                change(connection, row, "in_progress", {"model": model}, {"total": total})

        self._database.write(work)

    def fail(self, batch: Batch, errors: Sequence[Mapping[str, Any]]) -> None:
        """It cannot be answered, or not any more."""
        self._move(batch, batch.status, "failed", {"errors": errors})

    def expire(self, batch: Batch) -> None:
        """Its window has ended."""
        self._move(batch, "in_progress", "finalizing", {"ending": "expired"})

    def end(self, batch: Batch) -> bool:
        """All lines have a result: the batch has ended. Whether it has."""

        def work(connection: Connection) -> bool:
            open = select(lines.c.number).where(lines.c.batch == batch.seq, lines.c.done.is_(False))
            if connection.execute(open.limit(1)).first() is not None:
                return False
            found = _find(connection, batch)
            if found is not None and found["status"] == "cancelling":
                change(connection, found, "cancelled")
            elif found is not None and found["status"] == "finalizing":
                change(connection, found, batch_of(found).ending)
            return True

        return self._database.write(work)

    def _move(
        self,
        batch: Batch,
        before: Status,
        after: Status,
        about: Mapping[str, Any],
    ) -> None:
        """From one status to another, unless it is not in the first one any more."""

        def work(connection: Connection) -> None:
            row = _find(connection, batch)
            if row is not None and row["status"] == before:
                change(connection, row, after, about)

        self._database.write(work)


def _find(connection: Connection, batch: Batch) -> Row | None:
    which = select(table).where(table.c.seq == batch.seq)
    return next(iter(objects.rows(connection, KIND, which)), None)
