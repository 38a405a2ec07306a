"""Whether what is stored fits together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, LargeBinary, Row, func, select

from .. import migrations
from ..database import Database
from ..tables import KINDS, totals

BATCH = 500


@dataclass(frozen=True, slots=True)
class Report:
    """What a store holds, and what is wrong with it."""

    objects: Mapping[str, int]
    """By kind."""
    owners: int
    bytes: int
    revision: str | None
    faults: tuple[str, ...]


def check(database: Database) -> Report:
    """Read everything. Raises StoreUnavailable."""
    faults: list[str] = []
    counted: dict[str, int] = {}
    owners: set[str] = set()
    size = 0
    for kind, table in KINDS.items():
        with database.read() as connection:
            # Both in one transaction, as others may write.
            groups = select(table.c.owner, func.count(), func.sum(table.c.bytes))
            found = {
                row[0]: (row[1], int(row[2]))
                for row in connection.execute(groups.group_by(table.c.owner))
            }
            told = {
                row.owner: (row.objects, row.bytes)
                for row in connection.execute(select(totals).where(totals.c.kind == kind))
                if row.objects or row.bytes
            }
            revision = migrations.revision_of(connection)
        wrong = sum(found.get(owner) != told.get(owner) for owner in {*found, *told})
        if wrong:
            faults.append(f"the totals of {wrong} owners are not those of their {kind}")
        faults += _unreadable(database, kind)
        counted[kind] = sum(count for count, _ in found.values())
        size += sum(each for _, each in found.values())
        owners |= found.keys()
    return Report(counted, len(owners), size, revision, tuple(faults))


def _unreadable(database: Database, kind: str) -> list[str]:
    """The objects whose bodies are no JSON."""
    faults: list[str] = []
    table, seq = KINDS[kind], 0
    bodies = [column for column in table.c if isinstance(column.type, LargeBinary)]
    while True:
        with database.read() as connection:
            rows = _after(connection, kind, seq)
        if not rows:
            return faults
        for row in rows:
            try:
                for column in bodies:
                    orjson.loads(row._mapping[column])
            except orjson.JSONDecodeError:
                faults.append(f"{row.id} cannot be read")
        seq = rows[-1].seq


def _after(connection: Connection, kind: str, seq: int) -> Sequence[Row[Any]]:
    table = KINDS[kind]
    rows = select(table).where(table.c.seq > seq).order_by(table.c.seq).limit(BATCH)
    return connection.execute(rows).all()
