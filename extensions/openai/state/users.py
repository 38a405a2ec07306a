"""What is kept of an end user, by the `user` or `safety_identifier` of requests: to hand out or to erase."""

from __future__ import annotations

import logging
import secrets
import time
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, LargeBinary, RowMapping, or_, select

from ..limits.rate_limits import short_user
from . import batch_users, objects, unfinished_files
from .database import Database
from .encryption import Row, destroy_key, key_owners
from .objects import plain
from .operations.erasure import Erasure
from .tables import KINDS, RAW

log = logging.getLogger("openedai")

BATCH = 100
"""Objects that are read or deleted at once."""
JSON_TEXT = "metadata"


def erase(
    database: Database,
    *,
    user: str | None = None,
    owners: Collection[str] | None = None,
    batch: int = BATCH,
) -> dict[str, int]:
    """Delete all that is kept of a user, of keys, or of a user of keys; how many objects of each kind went.

    No byte of them is in the database's files when this returns, unless others were reading meanwhile: then
    the sweeper does it. Raises StoreUnavailable.
    """
    counts = dict.fromkeys((*KINDS, *batch_users.KINDS), 0)
    if user:  # nobody's name is empty
        unfinished = unfinished_files.erase(database, user, owners)
        counts |= batch_users.erase(database, user, owners)
        counts["batch_requests"] += unfinished
    for kind in _kinds(user):

        def work(connection: Connection, kind: str = kind) -> int:
            rows = _some(connection, kind, user, owners, 0, batch)
            if rows:
                objects.remove(connection, kind, rows)
            return len(rows)

        while gone := database.write(work):
            counts[kind] += gone
    if user is None:
        _destroy_keys(database, owners)
    database.tidy()
    return counts


def _destroy_keys(database: Database, owners: Collection[str] | None) -> None:
    """Destroy the keys of owners who have nothing any more; without `owners`, of all such."""

    def work(connection: Connection) -> None:
        for owner in key_owners(connection) if owners is None else owners:
            there = (select(table.c.seq).where(table.c.owner == owner) for table in KINDS.values())
            # Another server may have stored something meanwhile.
            if not any(connection.execute(which.limit(1)).first() for which in there):
                destroy_key(connection, owner)

    database.write(work)


def erase_with_receipt(
    database: Database, *, user: str | None, key: str | None, owners: Collection[str] | None
) -> Erasure:
    """Erase, and say what: `owners` are those of the named `key`. Raises StoreUnavailable."""
    deleted = erase(database, user=user, owners=owners)
    receipt: Erasure = {
        "object": "erasure",
        "id": "erasure_" + secrets.token_hex(12),
        "user": user,
        "api_key_id": key,
        "erased_at": int(time.time()),
        "deleted": deleted,
    }
    # Without the user's name, which is to be forgotten.
    log.info("erased %s as %s", deleted, receipt["id"])
    return receipt


def export(
    database: Database,
    *,
    user: str | None = None,
    owners: Collection[str] | None = None,
    batch: int = BATCH,
) -> Iterator[bytes]:
    """The same objects as lines of JSON, in the order in which they were stored. Raises StoreUnavailable."""
    for kind in _kinds(user):
        seq = 0
        while True:
            with database.read() as connection:
                rows = _some(connection, kind, user, owners, seq, batch)
                shown = database.encryption.decrypted(connection, kind, rows)
            if not rows:
                break
            for row in shown:
                yield orjson.dumps(_exported(kind, row)) + b"\n"
            seq = rows[-1]["seq"]
    if user:
        for look in (batch_users, unfinished_files):
            for line in look.export(database, user, owners):
                yield orjson.dumps(line) + b"\n"


def _kinds(user: str | None) -> list[str]:
    """Where to look; what files of batches say of a user is for `batch_users.py`."""
    return [kind for kind in KINDS if user is None or kind != "file_chunks"]


def _some(
    connection: Connection,
    kind: str,
    user: str | None,
    owners: Collection[str] | None,
    after: int,
    batch: int,
) -> list[RowMapping]:
    table = KINDS[kind]
    where: list[ColumnElement[bool]] = [table.c.seq > after]
    if user is not None:
        name = plain(short_user(user))
        where.append(or_(table.c.end_user == name, table.c.safety_identifier == name))
    if owners is not None:
        where.append(table.c.owner.in_(owners))
    rows = select(table).where(*where).order_by(table.c.seq).limit(batch)
    return list(connection.execute(rows).mappings().all())


def _exported(kind: str, row: Row) -> Mapping[str, Any]:
    """A row by its columns; what is JSON in them stays JSON, other bytes are base64."""
    shown: dict[str, Any] = {"kind": kind}
    for column in KINDS[kind].c:
        name = str(column.name)  # the library has a class of its own for names
        value = row[name]
        is_json = isinstance(column.type, LargeBinary) or name == JSON_TEXT
        if name in RAW:
            shown[name] = b64encode(value).decode()
        elif name not in ("seq", "bytes", "events"):  # events only repeat the response
            shown[name] = orjson.Fragment(value) if is_json else value
    return shown
