"""Uploads: files whose content comes in parts, in any order, until the client says which ones make it up.

An upload is a file that is not complete (`files.py`), so it counts with its owner's files from its beginning,
and the sweeper deletes one that nothing comes of. `upload_X` becomes `file-X`. Each part has its own stretch
of positions, so that parts may come at the same time; the finished file lists the stretches it is made of.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, select, update

from ..errors import InvalidRequest, StoredObjectNotFound
from . import objects
from .database import Database
from .encryption import Row
from .files import CHUNKS, CHUNKS_TOGETHER, KIND, Files, NewFile, StoredFile, begin, chunked, put
from .idempotency import Claim, finish
from .tables import file_chunks
from .tables import files as table

SECONDS = 3600
"""Until an upload expires that is not completed."""
MIN_SENT_BYTES = 64 << 10
"""What parts of a short upload may have together: some are sent several times."""
STRETCH = 1 << 40
"""Positions of one part; none is that long."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One that is not completed."""

    id: str
    created: int
    ends: int
    """Unix seconds, from which on nothing can come of it."""
    file: NewFile


class Uploads:
    """Thread-safe. Everything raises StoreUnavailable where the database fails, and StoredObjectNotFound for
    an upload that is not there, has expired, was cancelled or completed, or belongs to another owner."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database, self._files = database, files

    def create(
        self, owner: str, new: NewFile, *, most: int = 0, claim: Claim | None = None
    ) -> Upload:
        """Begin. `most`: bytes of files that the owner may have. Raises FileQuotaExceeded."""
        name, now = secrets.token_hex(16), int(time.time())
        lasting: dict[str, object] = {"expires": new.expires, "next": 0, "sent": 0, "parts": {}}
        pending = replace(new, expires=now + SECONDS)

        def work(connection: Connection) -> None:
            id = f"file-{name}"
            begin(connection, owner, id, now, pending, most, {"upload": lasting})
            if claim is not None:
                finish(connection, claim, id)

        self._database.write(work)
        return Upload(f"upload_{name}", now, now + SECONDS, new)

    def get(self, owner: str, id: str) -> Upload:
        with self._database.read() as connection:
            return _upload(id, _find(connection, owner, id))

    def of_file(self, owner: str, file: str) -> Upload:
        """The one that becomes the file with this id."""
        return self.get(owner, "upload_" + file.removeprefix("file-"))

    def add(self, owner: str, id: str, content: Iterable[bytes], length: int) -> tuple[str, int]:
        """Add a part of this length; its id, and when it was added. Raises InvalidRequest where all that was
        sent, some of it again perhaps, would be more than twice the file."""
        part, now = "part_" + secrets.token_hex(16), int(time.time())
        number = self._database.write(partial(_next_number, owner=owner, id=id, length=length))
        size = 0
        for data in chunked(content):
            at = number * STRETCH + size
            self._database.write(partial(_put, owner=owner, id=id, at=at, data=data))
            size += len(data)

        def work(connection: Connection) -> None:
            row = _find(connection, owner, id)
            about = orjson.loads(row["about"])
            about["upload"]["parts"][part] = [number * STRETCH, size]
            objects.change(connection, KIND, row, {"about": orjson.dumps(about)})

        self._database.write(work)
        return part, now

    def complete(
        self,
        owner: str,
        id: str,
        parts: Sequence[str],
        *,
        md5: str | None = None,
        claim: Claim | None = None,
    ) -> StoredFile:
        """Make the file of these parts, in this order. Raises InvalidRequest where they are not those of the
        upload, have another length together, or another checksum."""
        with self._database.read() as connection:
            stretches = _stretches(_find(connection, owner, id), parts)
        if md5 is not None and self._md5(owner, id, stretches) != md5.lower():
            raise InvalidRequest(
                "The parts have another checksum.", param="md5", code="invalid_value"
            )

        def work(connection: Connection) -> None:
            row = _find(connection, owner, id)
            about = orjson.loads(row["about"])
            expires = about.pop("upload")["expires"]
            about["stretches"] = _stretches(row, parts)
            objects.change(connection, KIND, row, {"about": orjson.dumps(about)})
            mine = table.c.seq == row["seq"]
            connection.execute(update(table).where(mine).values(complete=True, expires=expires))
            if claim is not None:
                finish(connection, claim, row["id"])

        self._database.write(work)
        self._remove_others(_file_id(id), stretches)
        return self._files.get(owner, _file_id(id))

    def cancel(self, owner: str, id: str) -> Upload:
        """Nothing comes of it any more; its parts are deleted."""
        upload = self.get(owner, id)
        self._files.clear(_file_id(id))
        return upload

    def _md5(self, owner: str, id: str, stretches: Sequence[Sequence[int]]) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        for data in self._content(owner, id, stretches):
            digest.update(data)
        return digest.hexdigest()

    def _content(self, owner: str, id: str, stretches: Sequence[Sequence[int]]) -> Iterator[bytes]:
        for first, size in stretches:
            at = first
            while at < first + size:
                which = select(file_chunks).where(
                    file_chunks.c.file == _file_id(id), file_chunks.c.at == at
                )
                with self._database.read() as connection:
                    rows = objects.rows(connection, CHUNKS, which)
                if not rows:
                    raise StoredObjectNotFound(id)
                yield rows[0]["data"]
                at += len(rows[0]["data"])

    def _remove_others(self, file: str, stretches: Sequence[Sequence[int]]) -> None:
        """Take out chunks of parts that the file is not made of, in small transactions."""
        kept = [first for first, _ in stretches]
        columns = (file_chunks.c.seq, file_chunks.c.owner, file_chunks.c.bytes)
        others = (
            file_chunks.c.file == file,
            (file_chunks.c.at - file_chunks.c.at % STRETCH).not_in(kept),
        )

        def work(connection: Connection) -> bool:
            which = select(*columns).where(*others).limit(CHUNKS_TOGETHER)
            rows = connection.execute(which).mappings().all()
            if rows:
                objects.remove(connection, CHUNKS, rows)
            return bool(rows)

        while self._database.write(work):
            pass


def _next_number(connection: Connection, owner: str, id: str, length: int) -> int:
    row = _find(connection, owner, id)
    about = orjson.loads(row["about"])
    number: int = about["upload"]["next"]
    about["upload"]["next"] = number + 1
    about["upload"]["sent"] += length
    if about["upload"]["sent"] > max(2 * row["bytes"], MIN_SENT_BYTES):
        raise InvalidRequest(
            f"The upload was to have {row['bytes']} bytes, and more than twice as many were sent.",
            param="data",
            code="invalid_value",
        )
    objects.change(connection, KIND, row, {"about": orjson.dumps(about)})
    return number


def _put(connection: Connection, owner: str, id: str, at: int, data: bytes) -> None:
    """Put a chunk of a part in, as long as the upload is there. Raises StoredObjectNotFound."""
    mine = (table.c.id == _file_id(id), table.c.owner == owner, table.c.complete.is_(False))
    still = select(table.c.seq).where(*mine, table.c.expires > int(time.time()))
    if connection.execute(still).first() is None:
        raise StoredObjectNotFound(id)
    put(connection, owner, _file_id(id), at, data)


def _stretches(row: Row, parts: Sequence[str]) -> list[list[int]]:
    """Where the content of these parts is, and its lengths. Raises InvalidRequest."""
    known: dict[str, list[int]] = orjson.loads(row["about"])["upload"]["parts"]
    for at, part in enumerate(parts):
        if part not in known or part in parts[:at]:
            raise InvalidRequest(
                f"There is no part with this id in the upload, or it is named twice: '{part[:128]}'.",
                param=f"part_ids[{at}]",
                code="invalid_value",
            )
    found = [known[part] for part in parts]
    size = sum(length for _, length in found)
    if size != row["bytes"]:
        raise InvalidRequest(
            f"The parts have {size} bytes, and the upload was to have {row['bytes']}.",
            param="part_ids",
            code="invalid_value",
        )
    return found


def completed(file: StoredFile) -> Upload:
    """The upload that a file has come of."""
    new = NewFile(file.name, file.media_type, file.purpose, file.size, file.expires)
    id = "upload_" + file.id.removeprefix("file-")
    return Upload(id, file.created, file.created + SECONDS, new)


def _find(connection: Connection, owner: str, id: str) -> Row:
    row: Row | None = None
    if id.startswith("upload_"):
        which = select(table).where(table.c.id == _file_id(id), table.c.owner == owner)
        row = next(iter(objects.rows(connection, KIND, which)), None)
    if row is None or row["complete"] or row["expires"] <= time.time():
        raise StoredObjectNotFound(id)
    if "upload" not in orjson.loads(row["about"]):
        raise StoredObjectNotFound(id)  # a file that is being uploaded whole
    return row


def _upload(id: str, row: Row) -> Upload:
    about: dict[str, Any] = orjson.loads(row["about"])
    kept = (about["name"], about["media_type"], row["purpose"], row["bytes"])
    return Upload(id, row["created"], row["expires"], NewFile(*kept, about["upload"]["expires"]))


def _file_id(upload: str) -> str:
    return objects.plain("file-" + upload.removeprefix("upload_"))
