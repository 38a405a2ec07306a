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
from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    insert,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)

from . import objects
from .database import Database
from .encryption import Row
from .files import append, begin_growing
from .statements import Selection, Statement
from .stored_batch import ANY_LENGTH, COUNTS, KIND, Batch, IndexedLine, LineResult, NewLine, Status
from .tables import Number, batches
from .tables import batch_lines as table

LEASE_SECONDS = 10
"""Within this time a server says again that it works on something."""
MAX_SKEW_S = 60
"""By how much the clocks of servers on one database may differ, when one has claims of another."""

_THIS = (table.c.batch == bindparam("of_batch"), table.c.number == bindparam("of_number"))
_FREE = or_(
    table.c.until <= bindparam("now", type_=Number),
    table.c.until > bindparam("skewed", type_=Number),
)
_LENGTH = bindparam("of_length", type_=Number)
_SAME = or_(literal_column(str(ANY_LENGTH)) == _LENGTH, table.c.length == _LENGTH)
"""That the request was not erased meanwhile."""
STATE = Selection(
    select(
        *(batches.c.status, batches.c.paused, batches.c.ends, batches.c.owner),
        *(batches.c.output_file, batches.c.error_file),
        *(batches.c.total, batches.c.completed, batches.c.failed),
    ).where(batches.c.seq == bindparam("of_batch"))
)
NEXT = Selection(
    select(table.c.number, table.c.at, table.c.length)
    .where(table.c.batch == bindparam("of_batch"), table.c.done.is_(False), _FREE)
    .order_by(table.c.prefix, table.c.number)
    .limit(bindparam("most", type_=Number))
    .offset(literal_column("0"))
)
CLAIM = Statement(
    update(table).where(*_THIS).values(holder=bindparam("by"), until=bindparam("then"))
)
DONE = Statement(
    update(table)
    .where(*_THIS, table.c.done.is_(False), table.c.holder == bindparam("by"), _SAME)
    .values(done=true(), holder=null())
)
COUNTED = Statement(
    update(batches)
    .where(batches.c.seq == bindparam("of_batch"))
    .values(
        output_file=bindparam("output"),
        error_file=bindparam("error"),
        **{name: batches.c[name] + bindparam(f"new_{name}", type_=Number) for name in COUNTS[1:]},
    )
)


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
            now, this = int(time.time()), {"of_batch": batch.seq}
            state = next(iter(STATE.rows(connection, this)), None)
            if state is None or state["status"] != "in_progress" or state["paused"]:
                return []
            if state["ends"] <= now:
                return []
            free = {"now": now, "skewed": now + self._lease + MAX_SKEW_S}
            rows = NEXT.rows(connection, {**this, **free, "most": most})
            claimed = {**this, "by": holder, "then": now + self._lease}
            for row in rows:
                CLAIM.run(connection, {**claimed, "of_number": row["number"]})
            return [IndexedLine(**row) for row in rows]

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
            mine = {"of_batch": batch.seq, "of_number": result.number, "by": holder}
            mine["of_length"] = result.length
            if DONE.run(connection, mine).rowcount != 1:
                return False
            state = _keep(connection, batch, [result])
            left = state["total"] - state["completed"] - state["failed"] - 1
            if state["status"] == "in_progress" and not left:
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
                same = () if result.length == ANY_LENGTH else (table.c.length == result.length,)
                done = update(table).where(*_is(batch, result.number), *open, *same)
                if connection.execute(done.values(done=True, holder=None)).rowcount == 1:
                    kept.append(result)
            if kept:
                _keep(connection, batch, kept)

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


def _keep(connection: Connection, batch: Batch, results: Sequence[LineResult]) -> Row:
    """Append to the files of a batch, and count. What it was before."""
    [state] = STATE.rows(connection, {"of_batch": batch.seq})
    files = {"output": state["output_file"], "error": state["error_file"]}
    for name, succeeded in (("output", True), ("error", False)):
        for each in (each for each in results if each.succeeded is succeeded):
            said = (each.written + b"\n", each.people)
            # A file that was deleted meanwhile is begun again.
            if not append(connection, state["owner"], files[name], *said):
                files[name] = _begin_file(connection, batch, succeeded=succeeded)
                append(connection, state["owner"], files[name], *said)
    completed = sum(each.succeeded for each in results)
    new = {"new_completed": completed, "new_failed": len(results) - completed}
    for kind in ("prompt", "cached", "completion", "reasoning"):
        new[f"new_{kind}_tokens"] = sum(getattr(each.tokens, kind) for each in results)
    COUNTED.run(connection, {"of_batch": batch.seq, **files, **new})
    return state


def _begin_file(connection: Connection, batch: Batch, *, succeeded: bool) -> str:
    """A file for results; it is there while it grows."""
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
