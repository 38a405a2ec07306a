"""Files: bytes with a name, an owner and perhaps an end. For every endpoint that keeps bytes: what clients
upload, what batches write, pictures that were made.

    made = store.files.add(owner, NewFile("cat.png", "image/png", "vision", len(data)), [data])
    content = b"".join(store.files.read(owner, made.id))

A content is kept in chunks, each written in a transaction of its own, so that no file is ever whole in memory
and other requests need not wait for a long one. A file is found once all of it is there.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from ..errors import FileQuotaExceeded, StoredObjectNotFound, StoreUnavailable
from . import objects
from .database import Database
from .encryption import Row, encryption_of
from .idempotency import Claim, finish
from .pages import Page, PageQuery
from .statements import Selection, Statement
from .tables import deleted, file_chunks
from .tables import files as table

KIND, CHUNKS = "files", "file_chunks"
CHUNK_BYTES = 256 << 10
NOTHING: Mapping[str, object] = {}
UNFINISHED_SECONDS = 3600
"""After which a file that is not complete will never be: its server was killed."""
CHUNKS_TOGETHER = 32
"""Chunks that one transaction deletes."""
SHORT_TOGETHER = 256
"""Short chunks, as of the lines of a batch's output, that are read together."""

CHUNK_AT = Selection(
    select(file_chunks)
    .where(file_chunks.c.file == bindparam("of_file"), file_chunks.c.at <= bindparam("place"))
    .order_by(file_chunks.c.at.desc())
    .limit(literal_column("1"))
    .offset(literal_column("0"))
)
_MINE = (
    *(table.c.id == bindparam("this"), table.c.owner == bindparam("of")),
    table.c.complete.is_(True),
)
SIZE = Selection(select(table.c.bytes).where(*_MINE))
GROW = Statement(update(table).where(*_MINE).values(bytes=bindparam("size")))


@dataclass(frozen=True, slots=True)
class NewFile:
    """What is to be kept."""

    name: str
    """From the client; any text."""
    media_type: str
    purpose: str
    size: int
    """Bytes of its content."""
    expires: int | None = None
    """Unix seconds; from then on it is not found."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file without its content."""

    id: str
    name: str
    media_type: str
    purpose: str
    size: int
    created: int
    expires: int | None
    """Both in Unix seconds."""


class Files:
    """Thread-safe. Everything raises StoreUnavailable where the database fails, and StoredObjectNotFound for
    a file that is not there or not complete, has expired, was deleted, or belongs to another owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        owner: str,
        new: NewFile,
        content: Iterable[bytes],
        *,
        most: int = 0,
        claim: Claim | None = None,
    ) -> StoredFile:
        """Keep it. When this returns it is committed. `content` is in parts of any length. `most`: bytes that
        the owner may have, 0 for any number; raises FileQuotaExceeded where they would be more. `claim` is of
        the request's idempotency key. Raises StoreUnavailable, too, if it is erased meanwhile."""
        id, created = "file-" + secrets.token_hex(16), int(time.time())
        self._database.write(
            partial(begin, owner=owner, id=id, created=created, new=new, most=most)
        )
        try:
            at = 0
            for data in chunked(content):
                self._database.write(partial(_put_next, owner=owner, file=id, at=at, data=data))
                at += len(data)
            if at != new.size:
                raise ValueError("the content has another length than was said")
            self._database.write(partial(_complete, id=id, claim=claim))
        except BaseException:
            self.clear(id)
            raise
        about = (new.name, new.media_type, new.purpose, new.size)
        return StoredFile(id, *about, created, new.expires)

    def get(self, owner: str, id: str) -> StoredFile:
        with self._database.read() as connection:
            return _file(_find(connection, owner, id))

    def open_to_all(self, id: str, purpose: str) -> tuple[str, StoredFile]:
        """A file of a purpose whose id is all that a client needs to know, and its owner."""
        which = select(table.c.owner).where(table.c.id == objects.plain(id))
        with self._database.read() as connection:
            owner = connection.execute(which.where(table.c.purpose == purpose)).scalar()
            if owner is None:
                raise StoredObjectNotFound(id)
            return owner, _file(_find(connection, owner, id))

    def list(self, owner: str, query: PageQuery, *, purpose: str | None = None) -> Page[StoredFile]:
        """Those with a purpose, if that is asked for."""

        def narrow(rows: Select[tuple[object]]) -> Select[tuple[object]]:
            rows = rows.where(_is_there())
            return rows if purpose is None else rows.where(table.c.purpose == purpose)

        with self._database.read() as connection:
            return objects.page(connection, KIND, owner, query, narrow).map(_file)

    def read(
        self, owner: str, id: str, first: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """So many bytes of its content from this one on, or all that follow. What is read meanwhile may be
        deleted; then it ends with StoredObjectNotFound."""
        at = first
        end = self.get(owner, id).size if length is None else first + length
        while at < end:
            with self._database.read() as connection:
                data = _chunk_at(connection, owner, id, at, end - at)
            yield (part := data[: end - at])
            at += len(part)

    def delete(self, owner: str, id: str) -> None:
        """From now on it is not found. Its bytes go in small transactions."""

        def work(connection: Connection) -> None:
            row = _find(connection, owner, id)
            objects.free_keys(connection, KIND, [row])
            mine = table.c.seq == row["seq"]
            connection.execute(update(table).where(mine).values(complete=False, expires=0))
            place = {
                "id": id,
                "kind": KIND,
                "owner": owner,
                "seq": row["seq"],
                "at": int(time.time()),
            }
            connection.execute(insert(deleted), place)

        self._database.write(work)
        self.clear(id)

    def clear(self, id: str) -> None:
        """Take a file out with its chunks, which is not found any more."""
        while self._database.write(partial(_remove_some, id=id)):
            pass


def ended(now: int) -> ColumnElement[bool]:
    """Which files will not be found any more, for the sweeper."""
    unfinished = and_(table.c.complete.is_(False), table.c.created < now - UNFINISHED_SECONDS)
    return or_(table.c.expires <= now, unfinished)


def begin(
    connection: Connection,
    owner: str,
    id: str,
    created: int,
    new: NewFile,
    most: int,
    also: Mapping[str, object] = NOTHING,
) -> None:
    """Put a file in that has no content yet. Its bytes are those of the content, and count from now on;
    `also` is noted about it. Raises FileQuotaExceeded."""
    if most and objects.bytes_of(connection, KIND, owner) + new.size > most:
        raise FileQuotaExceeded(most)
    about = {"name": new.name, "media_type": new.media_type, **also}
    values = {
        "id": id,
        "owner": owner,
        "created": created,
        "bytes": new.size,
        "end_user": None,
        "safety_identifier": None,
        "purpose": new.purpose,
        "complete": False,
        "expires": new.expires,
        "about": orjson.dumps(about),
    }
    objects.add(connection, KIND, values)


def put(
    connection: Connection,
    owner: str,
    file: str,
    at: int,
    data: bytes,
    people: tuple[str | None, str | None] = (None, None),
) -> None:
    """Put a chunk in. It counts with its file, and not by itself. `people`: the user and the safety
    identifier that it is about."""
    values = {
        "id": f"{file}-{at}",
        "owner": owner,
        "created": int(time.time()),
        "bytes": 0,
        "end_user": people[0],
        "safety_identifier": people[1],
        "file": file,
        "at": at,
        "data": data,
    }
    objects.add(connection, CHUNKS, values)


def _put_next(connection: Connection, owner: str, file: str, at: int, data: bytes) -> None:
    """Put a chunk of a file in that is not complete. Raises StoreUnavailable where that is gone."""
    there = select(table.c.seq).where(table.c.id == file)
    if connection.execute(there).first() is None:
        raise _erased()
    put(connection, owner, file, at, data)


def begin_growing(
    connection: Connection, owner: str, name: str, purpose: str, expires: int | None
) -> str:
    """Put a file in that is found at once and that `append` makes longer; its id."""
    id, new = (
        "file-" + secrets.token_hex(16),
        NewFile(name, "application/jsonl", purpose, 0, expires),
    )
    begin(connection, owner, id, int(time.time()), new, most=0)
    _complete(connection, id, None)
    return id


def append(
    connection: Connection,
    owner: str,
    id: str | None,
    data: bytes,
    people: tuple[str | None, str | None] = (None, None),
) -> bool:
    """Put bytes at the end of a file, in chunks of their own; whether it is there. `people` as above."""
    mine = {"this": id, "of": owner}
    found = SIZE.rows(connection, mine) if id is not None else []
    if id is None or not found:
        return False
    size: int = found[0]["bytes"]
    for part in chunked((data,)):
        put(connection, owner, id, size, part, people)
        size += len(part)
    GROW.run(connection, {**mine, "size": size})
    objects.count(connection, KIND, owner, 0, len(data))
    return True


def overwrite(connection: Connection, owner: str, id: str, at: int, data: bytes) -> None:
    """Put other bytes in the place of as many. Raises StoredObjectNotFound."""
    about, done = orjson.loads(_find(connection, owner, id)["about"]), 0
    while done < len(data):
        place = _place(about, at + done)
        found = CHUNK_AT.rows(connection, {"of_file": id, "place": place})
        rows = encryption_of(connection).decrypted(connection, CHUNKS, found)
        if not rows:
            raise StoredObjectNotFound(id)
        begin, old = place - rows[0]["at"], rows[0]["data"]
        new = data[done : done + len(old) - begin]
        if not new:
            raise StoredObjectNotFound(id)
        changed = old[:begin] + new + old[begin + len(new) :]
        objects.change(connection, CHUNKS, rows[0], {"data": changed})
        done += len(new)


def _complete(connection: Connection, id: str, claim: Claim | None) -> None:
    completed = update(table).where(table.c.id == id).values(complete=True)
    if connection.execute(completed).rowcount != 1:
        raise _erased()
    if claim is not None:
        finish(connection, claim, id)


def _erased() -> StoreUnavailable:
    return StoreUnavailable("The file was erased while it was stored. Please try again.")


def chunked(content: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks, all but the last one of the same length."""
    held = bytearray()
    for part in content:
        held += part
        while len(held) >= CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES])
            del held[:CHUNK_BYTES]
    if held:
        yield bytes(held)


def _chunk_at(connection: Connection, owner: str, id: str, at: int, wanted: int) -> bytes:
    """Some of the wanted bytes of a file, from this one on: to the end of its chunk at least."""
    about = orjson.loads(_find(connection, owner, id)["about"])
    place = _place(about, at)
    found = CHUNK_AT.rows(connection, {"of_file": id, "place": place})
    rows = encryption_of(connection).decrypted(connection, CHUNKS, found)
    first = place - rows[0]["at"] if rows else 0
    data: bytes = rows[0]["data"][first : first + wanted] if rows else b""
    if not data:
        raise StoredObjectNotFound(id)
    if len(data) == wanted:
        return data
    if len(rows[0]["data"]) < CHUNK_BYTES and "stretches" not in about:
        last = _last_of_short(connection, id, place)
        between = and_(file_chunks.c.at > place, file_chunks.c.at <= last)
        behind = select(file_chunks).where(file_chunks.c.file == id, between)
        more = objects.rows(connection, CHUNKS, behind.order_by(file_chunks.c.at))
        data += b"".join(row["data"] for row in more)
    return data


def _last_of_short(connection: Connection, id: str, place: int) -> int:
    """Where the last chunk begins of those behind a place that are read together."""
    behind = (file_chunks.c.file == id, file_chunks.c.at > place)
    sizes = select(file_chunks.c.at, func.length(file_chunks.c.data)).where(*behind)
    last, left = place, CHUNK_BYTES
    for begins, size in connection.execute(sizes.order_by(file_chunks.c.at).limit(SHORT_TOGETHER)):
        left -= size
        if left < 0:
            break
        last = begins
    return last


def _place(about: Mapping[str, Any], at: int) -> int:
    """The position among a file's chunks; one that came in parts has stretches of them (`uploads.py`)."""
    for first, size in about.get("stretches", ()):
        if at < size:
            return int(first) + at
        at -= size
    return at


def _remove_some(connection: Connection, id: str) -> bool:
    """Take out some chunks of a file, or the file when there are none; whether there was anything."""
    columns = (file_chunks.c.seq, file_chunks.c.owner, file_chunks.c.bytes)
    chunks = select(*columns).where(file_chunks.c.file == id).limit(CHUNKS_TOGETHER)
    if rows := connection.execute(chunks).mappings().all():
        objects.remove(connection, CHUNKS, rows)
        return True
    file = select(table.c.seq, table.c.owner, table.c.bytes).where(table.c.id == id)
    rows = connection.execute(file).mappings().all()
    objects.remove(connection, KIND, rows)
    return bool(rows)


def _find(connection: Connection, owner: str, id: str) -> Row:
    row = objects.find(connection, KIND, owner, id)
    expires: int | None = row["expires"]
    if not row["complete"] or (expires is not None and expires <= time.time()):
        raise StoredObjectNotFound(id)
    return row


def _is_there() -> ColumnElement[bool]:
    lasts = or_(table.c.expires.is_(None), table.c.expires > int(time.time()))
    return and_(table.c.complete.is_(True), lasts)


def _file(row: Row) -> StoredFile:
    about = orjson.loads(row["about"])
    kept = (row["purpose"], row["bytes"], row["created"], row["expires"])
    return StoredFile(row["id"], about["name"], about["media_type"], *kept)
