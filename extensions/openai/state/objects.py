"""What is done to objects of every kind: put in, found, listed, taken out; counted for their owner meanwhile.

All work on a connection that `Database` gave. Nothing in here commits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from ..errors import StoredObjectNotFound
from ..limits.rate_limits import short_user
from .encryption import Row, encryption_of
from .pages import Page, PageQuery
from .statements import Insert, Selection, Statement
from .tables import (
    KINDS,
    conversation_items,
    deleted,
    file_chunks,
    idempotency,
    plots,
    session_turns,
    totals,
)

PARTS: Mapping[str, tuple[str, ColumnElement[str]]] = {
    "chats": ("plots", plots.c.chat),
    "conversations": ("conversation_items", conversation_items.c.conversation),
    "sessions": ("session_turns", session_turns.c.session),
    "files": ("file_chunks", file_chunks.c.file),
}
"""Kinds whose objects have others as parts: the kind of these, and their column with the whole's id."""
HIGHEST = 2**63 - 1
"""No object has this number."""
BATCH = 500
"""How many objects one statement names."""
COUNT = Statement(
    text(
        "INSERT INTO totals (kind, owner, objects, bytes) VALUES (:kind, :owner, :objects, :bytes) "
        "ON CONFLICT (kind, owner) DO UPDATE SET objects = totals.objects + excluded.objects, "
        "bytes = totals.bytes + excluded.bytes"
    )
)
INSERT = {kind: Insert(table) for kind, table in KINDS.items()}
FIND = {
    kind: Selection(
        select(table).where(table.c.id == bindparam("this"), table.c.owner == bindparam("of"))
    )
    for kind, table in KINDS.items()
}


def add(connection: Connection, kind: str, values: Mapping[str, Any]) -> int:
    """Put an object in; its number. `values` are those of the kind's columns."""
    written = encryption_of(connection).encrypted(connection, kind, values, values)
    seq = INSERT[kind].run(connection, written)
    count(connection, kind, values["owner"], 1, values["bytes"])
    return seq


def count(connection: Connection, kind: str, owner: str, objects: int, bytes: int) -> None:
    """Note that an owner has so many more."""
    COUNT.run(connection, {"kind": kind, "owner": owner, "objects": objects, "bytes": bytes})


def bytes_of(connection: Connection, kind: str, owner: str) -> int:
    """Bytes that an owner has of a kind."""
    mine = (totals.c.kind == kind, totals.c.owner == owner)
    return connection.execute(select(totals.c.bytes).where(*mine)).scalar() or 0


def sums(connection: Connection) -> dict[str, tuple[int, int]]:
    """Objects and their bytes of all owners, for each kind."""
    columns = (func.sum(totals.c.objects), func.sum(totals.c.bytes))
    rows = connection.execute(select(totals.c.kind, *columns).group_by(totals.c.kind)).all()
    return dict.fromkeys(KINDS, (0, 0)) | {row[0]: (int(row[1]), int(row[2])) for row in rows}


def change(connection: Connection, kind: str, row: Row, values: Mapping[str, Any]) -> None:
    """Put other values into an object, whose row is given."""
    table = KINDS[kind]
    written = encryption_of(connection).encrypted(connection, kind, values, row)
    connection.execute(update(table).where(table.c.seq == row["seq"]).values(**written))


def rows(connection: Connection, kind: str, which: Select[Any]) -> list[Row]:
    """Objects with their contents: the only way to read these. What is selected of an object must have what
    its contents are bound to (`encryption.bound_to`)."""
    found = connection.execute(which).mappings().all()
    return encryption_of(connection).decrypted(connection, kind, found)


def find(connection: Connection, kind: str, owner: str, id: str) -> Row:
    """One object. Raises StoredObjectNotFound, also for another owner's."""
    row = find_row(connection, kind, owner, id)
    return encryption_of(connection).decrypted(connection, kind, [row])[0]


def find_row(connection: Connection, kind: str, owner: str, id: str) -> Row:
    """The same without its contents, which may be encrypted. Raises StoredObjectNotFound."""
    found = FIND[kind].rows(connection, {"this": plain(id), "of": owner})
    if not found:
        raise StoredObjectNotFound(id)
    return found[0]


def page(
    connection: Connection,
    kind: str,
    owner: str,
    query: PageQuery,
    narrow: Callable[[Select[Any]], Select[Any]] = lambda which: which,
    by: ColumnElement[int] | None = None,
) -> Page[Row]:
    """Some of an owner's objects, in the order in which they were stored. `by`: a column that `narrow` joins
    to the objects' own numbers, and whose index finds what is looked for.

    Raises StoredObjectNotFound for an `after` that is not one of them.
    """
    table = KINDS[kind]
    which = narrow(select(table).where(table.c.owner == owner))
    place = table.c.seq if by is None else by
    # Always with a bound: it leads SQLite to the index of this column.
    if query.order == "asc":
        behind = 0 if query.after is None else _place(connection, kind, owner, query.after)
        which = which.where(place > behind).order_by(place)
    else:
        before = HIGHEST if query.after is None else _place(connection, kind, owner, query.after)
        which = which.where(place < before).order_by(place.desc())
    found = rows(connection, kind, which.limit(query.limit + 1))
    return Page(tuple(found[: query.limit]), len(found) > query.limit)


def _place(connection: Connection, kind: str, owner: str, id: str) -> int:
    """Where an object stands, or stood until it was deleted."""
    for table in (KINDS[kind], deleted):
        where = (table.c.id == plain(id), table.c.owner == owner)
        seq: int | None = connection.execute(select(table.c.seq).where(*where)).scalar()
        if seq is not None:
            return seq
    raise StoredObjectNotFound(id, param="after")


def remove(connection: Connection, kind: str, rows: Sequence[Row]) -> None:
    """Take objects out, of which seq, owner and bytes are given."""
    table = KINDS[kind]
    going = table.c.seq.in_([row["seq"] for row in rows])
    if kind in PARTS:
        _remove_parts(connection, kind, going)
    free_keys(connection, kind, rows)
    connection.execute(delete(table).where(going))
    for owner in {row["owner"] for row in rows}:
        sizes = [row["bytes"] for row in rows if row["owner"] == owner]
        count(connection, kind, owner, -len(sizes), -sum(sizes))


def free_keys(connection: Connection, kind: str, rows: Sequence[Row]) -> None:
    """A request that stored one of these is done when it comes again."""
    table = KINDS[kind]
    ids = select(table.c.id).where(table.c.seq.in_([row["seq"] for row in rows]))
    # Clients may choose ids of items, so only keys of the same owner are meant.
    owners = {row["owner"] for row in rows}
    of_them = (idempotency.c.object.in_(ids), idempotency.c.owner.in_(owners))
    connection.execute(delete(idempotency).where(*of_them))


def _remove_parts(connection: Connection, kind: str, going: ColumnElement[bool]) -> None:
    """Take out the parts of objects that go."""
    part, whole = PARTS[kind]
    table = KINDS[part]
    ids = select(KINDS[kind].c.id).where(going)
    of_them = select(table.c.seq, table.c.owner, table.c.bytes).where(whole.in_(ids))
    while rows := connection.execute(of_them.limit(BATCH)).mappings().all():
        remove(connection, part, rows)


def remove_one(connection: Connection, kind: str, owner: str, id: str) -> None:
    """Take an object out whose client may ask for the page behind it. Raises StoredObjectNotFound."""
    row = find_row(connection, kind, owner, id)
    remove(connection, kind, [row])
    keep_place(connection, kind, row)


def keep_place(connection: Connection, kind: str, row: Row) -> None:
    """Let a client ask for the page behind an object that it has deleted."""
    of_it = {"id": row["id"], "owner": row["owner"], "seq": row["seq"]}
    connection.execute(insert(deleted), {**of_it, "kind": kind, "at": int(time.time())})


def plain(value: str) -> str:
    """Text for a column that is searched: PostgreSQL stores no NUL in it."""
    return value.replace("\0", "\ufffd")


def person(name: str | None) -> str | None:
    """An end user's name, for the columns that erasure and export look into."""
    return plain(short_user(name)) if name else None
