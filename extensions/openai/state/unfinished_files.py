"""End users in files of batches that are not complete: uploads whose parts still come, and what is left of
files that are being deleted or whose server was killed.

Parts may come in any order, so a line may be cut anywhere, and what is overwritten would not fit the checksum
of the whole. So an upload that names a user is deleted, and its client begins again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import ColumnElement, select

from . import objects
from .batch_users import KINDS, line_in, lines_of, people_in
from .database import Database
from .files import CHUNKS, Files, ended
from .tables import file_chunks, files

PURPOSES = ("batch", "batch_output")
CHUNKS_TOGETHER = 8
"""Chunks that are read at once."""
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
"""Of a character in JSON."""
ESCAPED = dict(zip("bfnrt", "\b\f\n\r\t", strict=True))


def erase(database: Database, user: str, owners: Collection[str] | None = None) -> int:
    """Delete uploads that name a user, and what is left of files; how many requests of the user were in the
    uploads. Raises StoreUnavailable."""
    count = 0
    for id, _ in _found(database, owners, ended(int(time.time()))):
        Files(database).clear(id)
    for id, _ in _found(database, owners, files.c.complete.is_(False)):
        if named := sum(_names(line, user) for line in _lines(database, id)):
            Files(database).clear(id)
        count += named
    return count


def export(
    database: Database, user: str, owners: Collection[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The requests of a user in uploads, as far as their lines are whole. Raises StoreUnavailable."""
    person = objects.person(user)
    for id, owner in _found(database, owners, files.c.complete.is_(False)):
        for line in _lines(database, id):
            if person in people_in(line):
                yield {"kind": KINDS[0], "file": id, "owner": owner, "line": line_in(line)}


def _found(
    database: Database, owners: Collection[str] | None, which: ColumnElement[bool]
) -> list[tuple[str, str]]:
    """The ids and owners of files of batches."""
    rows = select(files.c.id, files.c.owner).where(files.c.purpose.in_(PURPOSES), which)
    if owners is not None:
        rows = rows.where(files.c.owner.in_(owners))
    with database.read() as connection:
        return [(row.id, row.owner) for row in connection.execute(rows.order_by(files.c.seq))]


def _lines(database: Database, file: str) -> Iterator[bytes]:
    """The lines of what is there, as if its parts had come in their order."""
    return (line for _, line in lines_of(_content(database, file)))


def _content(database: Database, file: str) -> Iterator[bytes]:
    at = -1
    while True:
        which = select(file_chunks).where(file_chunks.c.file == file, file_chunks.c.at > at)
        which = which.order_by(file_chunks.c.at).limit(CHUNKS_TOGETHER)
        with database.read() as connection:
            rows = objects.rows(connection, CHUNKS, which)
        if not rows:
            return
        yield from (row["data"] for row in rows)
        at = rows[-1]["at"]


def _names(line: bytes, user: str) -> bool:
    """Whether a line is a user's, or, where it is cut, may be."""
    if line_in(line) is None:
        return f'"{user}"' in _unescaped(line)
    return objects.person(user) in people_in(line)


def _unescaped(line: bytes) -> str:
    def character(found: re.Match[str]) -> str:
        number, one = found.groups()
        return chr(int(number, 16)) if number else ESCAPED.get(one, one)

    text = ESCAPE.sub(character, line.decode(errors="replace"))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
