"""The lines of batches: where they are, who answers them, and what became of them.

A line is answered once. A server claims it for a few seconds and renews that; the answer is appended to the
batch's output or error file in the very transaction that marks the line as done, and only by the server whose
claim it still is. So a server that is killed leaves lines that another one, or itself after its restart,
answers when the claim has run out, and two servers on one database do not answer the same line.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, update

from . import objects
from .database import Database
from .encryption import Row
from .files import append, begin_growing
from .stored_batch import KIND, Batch, IndexedLine, LineResult, NewLine, Status, batch_of
from .tables import batch_lines as table
from .tables import batches

LEASE_SECONDS = 10
"""Within this time a server says again that it works on something."""
MAX_SKEW_S = 60
"""By how much the clocks of servers on one database may differ, when one has claims of another."""


class BatchLines:
    """Thread-safe. Everything raises StoreUnavailable where the database fails."""

    def __init__(self, database: Database, lease: int) -> None:
        """`lease`: seconds."""
        self._database, self._lease = database, lease

    def clear(self, batch: Batch, holder: str) -> bool:
        """Forget the lines that are indexed, if this server looks after the batch; whether it does."""

        def work(connection: Connection) -> bool:
            if not is_held(connection, batch, holder):
                return False
            connection.execute(delete(table).where(table.c.batch == batch.seq))
            return True

        return self._database.write(work)

    def index(self, batch: Batch, holder: str, found: Sequence[NewLine]) -> list[int] | None:
        """Note where these lines are; the numbers of those whose names are there already, which are not
        noted. None: this server does not look after the batch any more."""

        def work(connection: Connection) -> list[int] | None:
            if not is_held(connection, batch, holder):
                return None
            there = select(table.c.name).where(
                table.c.batch == batch.seq, table.c.name.in_([each.name for each in found])
            )
            names = set(connection.execute(there).scalars())
            twice, rows = [], []
            for each in found:
                if each.name in names:
                    twice.append(each.number)
                else:
                    names.add(each.name)
                    rows.append(_line_row(batch, each))
            if rows:
                connection.execute(insert(table), rows)
            return twice

        return self._database.write(work)

    def claim(self, batch: Batch, holder: str, most: int) -> list[IndexedLine]:
        """Some lines for this server to answer: those that nobody answers, alike ones together."""

        def work(connection: Connection) -> list[IndexedLine]:
            now = int(time.time())
            row = connection.execute(
                select(batches).where(batches.c.seq == batch.seq)
            ).one_or_none()
            if row is None or row.status != "in_progress" or row.paused or row.ends <= now:
                return []
            free = has_run_out(table.c.until, now, self._lease)
            open = (table.c.batch == batch.seq, table.c.done.is_(False), free)
            which = select(table.c.number, table.c.at, table.c.length).where(*open)
            which = which.order_by(table.c.prefix, table.c.number).limit(most)
            found = [IndexedLine(*row) for row in connection.execute(which)]
            held = {"holder": holder, "until": now + self._lease}
            for line in found:
                connection.execute(update(table).where(*_is(batch, line.number)).values(**held))
            return found

        return self._database.write(work)

    def renew(
        self, holder: str, held: Iterable[tuple[Batch, int]], tended: Iterable[Batch]
    ) -> None:
        """This server still answers these lines, by their numbers, and looks after these batches."""
        held, tended = tuple(held), tuple(tended)

        def work(connection: Connection) -> None:
            until = int(time.time()) + self._lease
            for batch, number in held:
                mine = (*_is(batch, number), table.c.holder == holder)
                connection.execute(update(table).where(*mine).values(until=until))
            for batch in tended:
                held_here = (batches.c.seq == batch.seq, batches.c.holder == holder)
                connection.execute(update(batches).where(*held_here).values(until=until))

        self._database.write(work)

    def release(self, batch: Batch, holder: str, number: int) -> None:
        """This server does not answer the line any more; it may be claimed again."""
        mine = (*_is(batch, number), table.c.holder == holder, table.c.done.is_(False))
        work = update(table).where(*mine).values(holder=None, until=0)
        self._database.write(lambda connection: connection.execute(work))

    def keep(self, batch: Batch, holder: str, result: LineResult) -> bool:
        """Keep what became of a line, if it is still this server's; whether it was. The last one completes
        the batch."""

        def work(connection: Connection) -> bool:
            mine = (*_is(batch, result.number), table.c.done.is_(False), table.c.holder == holder)
            done = update(table).where(*mine).values(done=True, holder=None)
            if connection.execute(done).rowcount != 1:
                return False
            _keep(connection, batch.seq, [result])
            row = (
                connection.execute(select(batches).where(batches.c.seq == batch.seq))
                .mappings()
                .one()
            )
            if row["status"] == "in_progress" and row["completed"] + row["failed"] == row["total"]:
                found = objects.find(connection, KIND, batch.owner, batch.id)
                change(connection, found, "completed", also=("finalizing",))
            return True

        return self._database.write(work)

    def left(self, batch: Batch, most: int) -> list[IndexedLine]:
        """Some of the lines that have no result and that no server answers now, in the file's order."""
        free = has_run_out(table.c.until, int(time.time()), self._lease)
        open = (table.c.done.is_(False), free)
        which = select(table.c.number, table.c.at, table.c.length)
        which = which.where(table.c.batch == batch.seq, *open).order_by(table.c.number).limit(most)
        with self._database.read() as connection:
            return [IndexedLine(*row) for row in connection.execute(which)]

    def end(self, batch: Batch, results: Sequence[LineResult]) -> None:
        """Keep these for lines that were not answered, as far as they still have no result."""

        def work(connection: Connection) -> None:
            now, kept = int(time.time()), []
            for result in results:
                open = (table.c.done.is_(False), has_run_out(table.c.until, now, self._lease))
                done = update(table).where(*_is(batch, result.number), *open)
                if connection.execute(done.values(done=True, holder=None)).rowcount == 1:
                    kept.append(result)
            if kept:
                _keep(connection, batch.seq, kept)

        self._database.write(work)


def has_run_out(until: ColumnElement[int], now: int, lease: int) -> ColumnElement[bool]:
    """Whether a claim is over, or from before the clock was set back."""
    return or_(until <= now, until > now + lease + MAX_SKEW_S)


def is_held(connection: Connection, batch: Batch, holder: str) -> bool:
    """Whether this server looks after a batch, which has the same status still."""
    mine = (batches.c.seq == batch.seq, batches.c.holder == holder)
    which = select(batches.c.seq).where(*mine, batches.c.status == batch.status)
    return connection.execute(which).first() is not None


def change(
    connection: Connection,
    row: Row,
    status: Status,
    about: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    also: Sequence[Status] = (),
) -> None:
    """Bring a batch to a status, by way of others perhaps."""
    written = orjson.loads(row["about"]) | (about or {})
    now = int(time.time())
    written["times"] = written.get("times", {}) | dict.fromkeys((*also, status), now)
    changed = {"status": status, "until": 0, **(values or {})}
    objects.change(connection, KIND, row, {"about": orjson.dumps(written), **changed})


def _keep(connection: Connection, seq: int, results: Sequence[LineResult]) -> None:
    """Append to the files of a batch, and count."""
    for succeeded in (True, False):
        mine = [each for each in results if each.succeeded is succeeded]
        if not mine:
            continue
        row = connection.execute(select(batches).where(batches.c.seq == seq)).mappings().one()
        column = "output_file" if succeeded else "error_file"
        data = b"".join(each.written + b"\n" for each in mine)
        # A file that was deleted meanwhile is begun again.
        file = row[column] if append(connection, row["owner"], row[column], data) else None
        if file is None:
            file = _begin_file(connection, row, succeeded=succeeded)
            append(connection, row["owner"], file, data)
        counted: dict[str, Any] = {column: file}
        name = "completed" if succeeded else "failed"
        counted[name] = batches.c[name] + len(mine)
        for kind in ("prompt", "cached", "completion", "reasoning"):
            used = sum(getattr(each.tokens, kind) for each in mine)
            counted[f"{kind}_tokens"] = batches.c[f"{kind}_tokens"] + used
        connection.execute(update(batches).where(batches.c.seq == seq).values(**counted))


def _begin_file(connection: Connection, row: Row, *, succeeded: bool) -> str:
    """A file for results; it is there while it grows."""
    batch = batch_of(objects.find(connection, KIND, row["owner"], row["id"]))
    name = f"{batch.id}_{'output' if succeeded else 'error'}.jsonl"
    seconds = batch.output_seconds
    expires = None if seconds is None else int(time.time()) + seconds
    return begin_growing(connection, batch.owner, name, "batch_output", expires)


def _line_row(batch: Batch, line: NewLine) -> dict[str, Any]:
    return {
        "batch": batch.seq,
        "number": line.number,
        "at": line.at,
        "length": line.length,
        "name": line.name,
        "prefix": line.prefix,
        "done": False,
        "holder": None,
        "until": 0,
    }


def _is(batch: Batch, number: int) -> tuple[Any, Any]:
    return table.c.batch == batch.seq, table.c.number == number
