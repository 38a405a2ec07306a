"""Whether what is stored fits together."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, RowMapping, func, select

from ...errors import StoreUnavailable
from .. import migrations
from ..database import Database
from ..encryption import CONTENTS
from ..tables import KINDS, RAW, totals

BATCH = 500
COMPRESSED = frozenset({"events"})
"""Contents that are lines of JSON, compressed."""


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
    """The objects whose contents cannot be decrypted, or are no JSON."""
    faults: list[str] = []
    table, seq = KINDS[kind], 0
    while True:
        with database.read() as connection:
            which = select(table).where(table.c.seq > seq).order_by(table.c.seq).limit(BATCH)
            rows = connection.execute(which).mappings().all()
            faults += [each for row in rows if (each := _fault(database, connection, kind, row))]
        if not rows:
            return faults
        seq = rows[-1]["seq"]


def _fault(database: Database, connection: Connection, kind: str, row: RowMapping) -> str | None:
    try:
        (shown,) = database.encryption.decrypted(connection, kind, [row])
        for column in CONTENTS[kind]:
            content = shown[column]
            if column in COMPRESSED:
                content = content and b"[%s]" % b",".join(zlib.decompress(content).splitlines())
            if content is not None and column not in RAW:
                orjson.loads(content)
    except StoreUnavailable:
        return f"{row['id']} cannot be decrypted"
    except (orjson.JSONDecodeError, zlib.error):
        return f"{row['id']} cannot be read"
    return None
