"""Contents that were stored in the clear, encrypted; data keys, encrypted with the newest server key.

In small transactions, while servers use the store. What is done stays done: after an interruption the next
run goes on with what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, or_, select

from .. import objects
from ..database import Database
from ..encryption import CONTENTS, MARK, clear
from ..tables import KINDS

BATCH, BATCH_BYTES = 200, 8 << 20
"""How much one transaction encrypts."""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """What was done."""

    objects: int
    data_keys: int


def encrypt(database: Database, batch: int = BATCH) -> Encrypted:
    """Encrypt all that is in the clear. Raises StoreUnavailable."""
    keys = rewrap(database, batch)
    count = 0
    for kind in (kind for kind in KINDS if CONTENTS[kind]):
        seq: int | None = 0
        while seq is not None:
            some = partial(_encrypt_some, kind=kind, after=seq, batch=batch)
            done, seq = database.write(some)
            count += done
    database.tidy()
    return Encrypted(count, keys)


def rewrap(database: Database, batch: int = BATCH) -> int:
    """Encrypt all data keys with the newest server key; how many were not. Raises StoreUnavailable."""
    count = 0
    while done := database.write(partial(database.encryption.rewrap, batch=batch)):
        count += done
    return count


def _encrypt_some(
    connection: Connection, kind: str, after: int, batch: int
) -> tuple[int, int | None]:
    """How many objects were encrypted, and the number of the last one; None: there are no more."""
    table = KINDS[kind]
    clear = select(table).where(table.c.seq > after, _is_clear(kind))
    done, size, seq = 0, 0, None
    for row in connection.execute(clear.order_by(table.c.seq).limit(batch)).mappings():
        objects.change(connection, kind, row, _clear(kind, row))
        done, size, seq = done + 1, size + row["bytes"], row["seq"]
        if size > BATCH_BYTES:
            break
    return done, seq


def _is_clear(kind: str) -> ColumnElement[bool]:
    """That a content is in the clear."""
    columns = [KINDS[kind].c[name] for name in CONTENTS[kind]]
    return or_(
        *(
            and_(column.is_not(None), func.substr(column, 1, len(MARK)) != MARK)
            for column in columns
        )
    )


def _clear(kind: str, row: RowMapping) -> dict[str, bytes]:
    contents = {name: row[name] for name in CONTENTS[kind] if row[name] is not None}
    return {name: clear(each) for name, each in contents.items() if not each.startswith(MARK)}
