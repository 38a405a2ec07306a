"""Stored responses: the items of a request, the response to them, and which one it goes on from.

A response holds the items of its own request only, and names the one before it. So a conversation costs what
is said in it, and may go on from any of its turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from sqlalchemy import Connection, insert, select, update

from ..errors import StoredObjectNotFound
from . import objects
from .database import Database
from .encryption import Row
from .idempotency import Claim, finish
from .objects import person, plain
from .pages import Page, PageQuery
from .statements import Statement
from .stored_response import LEASE_SECONDS, StoredResponse
from .tables import response_items as places
from .tables import responses as table

KIND = "responses"
PLACE = Statement(insert(places))
BATCH = 500
"""How many rows one statement names."""


class Responses:
    """Thread-safe. Everything raises StoreUnavailable where the database fails, and StoredObjectNotFound for
    what is not there, was deleted, or belongs to another owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        owner: str,
        stored: StoredResponse,
        *,
        user: str | None = None,
        safety_identifier: str | None = None,
        also: Callable[[Connection], object] | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Keep it. When this returns it is committed, and what `also` writes with it. `claim` is of the
        request's idempotency key."""
        values = {
            "id": stored.id,
            "owner": owner,
            "created": stored.created,
            "bytes": len(stored.input) + len(stored.response) + len(stored.events or b""),
            "end_user": person(user),
            "safety_identifier": person(safety_identifier),
            "model": plain(stored.model),
            "previous": stored.previous,
            "hidden": False,
            "input": stored.input,
            "response": stored.response,
            "events": stored.events,
            "until": stored.until,
        }

        def work(connection: Connection) -> None:
            root = stored.id
            if stored.previous is not None:
                root = _find(connection, owner, stored.previous)["root"]
            seq = objects.add(connection, KIND, {**values, "root": root})
            _place(connection, owner, seq, stored.item_ids)
            if also is not None:
                also(connection)
            if claim is not None:
                finish(connection, claim, stored.id)

        self._database.write(work)

    def finish(
        self,
        owner: str,
        stored: StoredResponse,
        also: Callable[[Connection], object] | None = None,
    ) -> bool:
        """Keep what one under way has become; `item_ids` are those that are new, and without events those
        stay that are there. False, and nothing is written, if it is not under way any more: only the first
        one to end it does."""

        def work(connection: Connection) -> bool:
            mine = (table.c.id == stored.id, table.c.owner == owner, table.c.until.is_not(None))
            found = objects.rows(connection, KIND, select(table).where(*mine))
            if not found:
                return False
            (row,) = found
            events = row["events"] if stored.events is None else stored.events
            size = len(row["input"]) + len(stored.response) + len(events or b"")
            values = {"response": stored.response, "events": events, "bytes": size}
            objects.change(connection, KIND, row, {**values, "until": None})
            objects.count(connection, KIND, owner, 0, size - row["bytes"])
            _place(connection, owner, row["seq"], stored.item_ids)
            if also is not None:
                also(connection)
            return True

        return self._database.write(work)

    def renew(self, events: Mapping[str, bytes | None]) -> set[str]:
        """These are still being made here, and have these events so far, or no more than before; which of
        them are under way, as no other has ended them."""

        def work(connection: Connection) -> set[str]:
            under_way = table.c.until.is_not(None)
            which = (table.c.id.in_(events), under_way)
            until = int(time.time()) + LEASE_SECONDS
            connection.execute(update(table).where(*which).values(until=until))
            for id, record in events.items():
                if record is not None:
                    mine = select(table).where(table.c.id == id, under_way)
                    for row in objects.rows(connection, KIND, mine):
                        objects.change(connection, KIND, row, {"events": record})
            return set(connection.execute(select(table.c.id).where(*which)).scalars())

        return self._database.write(work)

    def get(self, owner: str, id: str) -> StoredResponse:
        with self._database.read() as connection:
            return _stored(_not_hidden(objects.find(connection, KIND, owner, id)))

    def listed(self, owner: str, query: PageQuery) -> Page[StoredResponse]:
        """Those of an owner that are not deleted."""
        with self._database.read() as connection:
            found = objects.page(
                connection, KIND, owner, query, lambda all: all.where(~table.c.hidden)
            )
        return found.map(_stored)

    def conversation(self, owner: str, id: str) -> list[StoredResponse]:
        """The response and those that it goes on from, the first one first; as far back as they are there."""
        with self._database.read() as connection:
            last = _find(connection, owner, id)
            # All that begin with the same one: a database takes long to follow them step by step.
            kin = select(table.c.id, table.c.seq, table.c.previous).where(
                table.c.root == last["root"], table.c.owner == owner
            )
            known = {row.id: row for row in connection.execute(kin)}
            seqs: list[int] = []
            at: str | None = id
            while at is not None and (row := known.pop(at, None)) is not None:
                seqs.append(row.seq)
                at = row.previous
            found = {row["seq"]: _stored(row) for row in _rows(connection, seqs)}
        if len(found) < len(seqs):
            raise StoredObjectNotFound(id)  # erased between the two statements
        return [found[seq] for seq in reversed(seqs)]

    def with_item(self, owner: str, id: str) -> StoredResponse:
        """The latest response that has an item with this id."""
        with self._database.read() as connection:
            rows = (
                select(table)
                .join(places, places.c.seq == table.c.seq)
                .where(places.c.owner == owner, places.c.id == plain(id), ~table.c.hidden)
                .order_by(table.c.seq.desc())
                .limit(1)
            )
            found = objects.rows(connection, KIND, rows)
        if not found:
            raise StoredObjectNotFound(id)
        return _stored(found[0])

    def delete(self, owner: str, id: str) -> None:
        """It is not found from now on. Its items stay as long as another response goes on from it."""

        def work(connection: Connection) -> None:
            found = _find(connection, owner, id)
            objects.keep_place(connection, KIND, found)
            row: Row | None = found
            while row is not None:
                if _is_continued(connection, row):
                    here = table.c.seq == row["seq"]
                    connection.execute(update(table).where(here).values(hidden=True))
                    objects.free_keys(connection, KIND, [row])
                    return
                objects.remove(connection, KIND, [row])
                # The one before may have waited for this.
                before = (table.c.id == row["previous"], table.c.owner == owner, table.c.hidden)
                row = connection.execute(select(table).where(*before)).mappings().one_or_none()

        self._database.write(work)


def _rows(connection: Connection, seqs: Sequence[int]) -> Iterator[Row]:
    for at in range(0, len(seqs), BATCH):
        chosen = table.c.seq.in_(seqs[at : at + BATCH])
        yield from objects.rows(connection, KIND, select(table).where(chosen))


def _place(connection: Connection, owner: str, seq: int, item_ids: Sequence[str]) -> None:
    """Let items be found by their ids."""
    for id in {plain(id) for id in item_ids}:
        PLACE.run(connection, {"owner": owner, "id": id, "seq": seq})


def _find(connection: Connection, owner: str, id: str) -> Row:
    """Its row, without its contents."""
    return _not_hidden(objects.find_row(connection, KIND, owner, id))


def _not_hidden(row: Row) -> Row:
    if row["hidden"]:
        raise StoredObjectNotFound(row["id"])
    return row


def _is_continued(connection: Connection, row: Row) -> bool:
    later = select(table.c.seq).where(table.c.previous == row["id"], table.c.owner == row["owner"])
    return connection.execute(later.limit(1)).first() is not None


def _stored(row: Row) -> StoredResponse:
    return StoredResponse(
        row["id"],
        row["created"],
        row["model"],
        row["previous"],
        row["input"],
        row["response"],
        events=row["events"],
        until=row["until"],
    )
