"""End users in the files of batches: what lines say of them is exported and erased, the other lines stay.

A line of an input file is its user's if its `body` says so. A result is a chunk of its own, or several, which
have the user's name beside them. Those that an older version has stored have none, and are found by the
`custom_id` of their request. What is erased is overwritten in its place with as many bytes: all other lines
stay where they are, also for a batch that is under way. `unfinished_files.py` is for files without their end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, or_, select, update

from ..errors import StoredObjectNotFound
from . import objects
from .database import Database
from .encryption import Row
from .files import CHUNK_AT, CHUNK_BYTES, CHUNKS, Files, overwrite
from .stored_batch import NOBODY, People
from .tables import batch_lines, batches, file_chunks, files

ERASED = (
    b'{"id":null,"custom_id":null,"response":null,'
    b'"error":{"code":"erased","message":"This line was erased with its user."}}'
)
"""In the place of a result; no result is shorter."""
KINDS = ("batch_requests", "batch_results")
Place = tuple[int, int]
"""Of a request: where in its file, and its bytes."""
MAX_LINE_BYTES = 200 << 20
"""Longer lines are not looked into; no file that a batch takes is as long."""
BOM = b"\xef\xbb\xbf"
TOGETHER = 100
"""Chunks, or requests, that one transaction overwrites."""
SIGNS = (b"user", b"safety_identifier", b"\\u")
"""One of these is in each line that names a user."""


def people_of(body: Mapping[str, Any]) -> People:
    """Who a line's request is for, of whatever endpoint."""
    metadata = body.get("metadata")
    user = body.get("user")
    if not user and isinstance(metadata, dict):
        user = metadata.get("user_id")  # of Messages
    return _person(user), _person(body.get("safety_identifier"))


def erase(database: Database, user: str, owners: Collection[str] | None = None) -> dict[str, int]:
    """Overwrite the requests and results of a user; how many there were. Raises StoreUnavailable."""
    counts = dict.fromkeys(KINDS, 0)
    for row in _input_files(database, owners):
        requests = [
            (at, len(line), _custom_id(line)) for at, line in _requests(database, row, user)
        ]
        # First the results that only their requests tell to be the user's.
        names = {name for *_, name in requests}
        for file, at, line in _unnamed_results(database, row, names):
            said = _erased(len(line))
            counts["batch_results"] += _overwrite(database, row["owner"], file, at, said)
        for some in _together([(at, length) for at, length, _ in requests]):
            try:
                database.write(partial(blank, row=row, places=some))
            except StoredObjectNotFound:
                break  # the file was deleted meanwhile
            counts["batch_requests"] += len(some)
    # No result of these requests is kept from now on.
    after: int | None = 0
    while after is not None:
        work = partial(_overwrite_results, user=user, owners=owners, after=after)
        count, after = database.write(work)
        counts["batch_results"] += count
    return counts


def export(
    database: Database, user: str, owners: Collection[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The requests and the results of a user. Raises StoreUnavailable."""
    for row in _input_files(database, owners):
        about, names = {"owner": row["owner"]}, set()
        for _, line in _requests(database, row, user):
            names.add(_custom_id(line))
            yield {"kind": KINDS[0], "file": row["id"], **about, "line": line_in(line)}
        for file, _, line in _unnamed_results(database, row, names):
            yield {"kind": KINDS[1], "file": file, **about, "line": line_in(line)}
    seq, held = 0, dict[str, tuple[int, bytes]]()
    while rows := _results(database, user, owners, seq):
        for row in rows:
            # A long result is in several chunks, among those of other files.
            seq, (end, before) = row["seq"], held.pop(row["file"], (row["at"], b""))
            said = before + row["data"] if end == row["at"] else row["data"]
            if not said.endswith(b"\n"):
                held[row["file"]] = row["at"] + len(row["data"]), said
            elif (line := line_in(said)) is not None:
                about = {"kind": "batch_results", "file": row["file"], "owner": row["owner"]}
                yield {**about, "line": line}


def _person(name: object) -> str | None:
    return objects.person(name) if isinstance(name, str) else None


def _input_files(database: Database, owners: Collection[str] | None) -> Iterator[Row]:
    """The input files of batches, also those of which there is no batch: their seq, id and owner."""
    seq = 0
    while True:
        which = select(files.c.seq, files.c.id, files.c.owner)
        which = which.where(files.c.seq > seq, files.c.purpose == "batch")
        if owners is not None:
            which = which.where(files.c.owner.in_(owners))
        with database.read() as connection:
            row = connection.execute(which.order_by(files.c.seq).limit(1)).mappings().first()
        if row is None:
            return
        seq = row["seq"]
        yield row


def _requests(database: Database, row: Row, user: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a user in an input file: where in it, and the line without its end."""
    person = objects.person(user)
    try:
        for at, line in lines_of(Files(database).read(row["owner"], row["id"])):
            if person in people_in(line):
                yield at, line
    except StoredObjectNotFound:
        return  # it is not complete, or was deleted meanwhile


def _unnamed_results(
    database: Database, row: Row, names: Collection[str | None]
) -> Iterator[tuple[str, int, bytes]]:
    """The results of requests in this input file, by their `custom_id`, that have no user beside them: the
    file, where in it, and the line without its end."""
    if not names:
        return
    of_file = (batches.c.owner == row["owner"], batches.c.input_file == row["id"])
    which = select(batches.c.output_file, batches.c.error_file).where(*of_file)
    with database.read() as connection:
        written = connection.execute(which).all()
    for file in (each for both in written for each in both if each is not None):
        try:
            for at, line in lines_of(Files(database).read(row["owner"], file)):
                name = _custom_id(line)
                if name is not None and name in names and not _has_user(database, file, at):
                    yield file, at, line
        except StoredObjectNotFound:
            continue  # it was deleted meanwhile


def _has_user(database: Database, file: str, at: int) -> bool:
    with database.read() as connection:
        rows = CHUNK_AT.rows(connection, {"of_file": file, "place": at})
    return any(row["end_user"] or row["safety_identifier"] for row in rows)


def _overwrite(database: Database, owner: str, file: str, at: int, said: bytes) -> bool:
    """Whether the file is still there."""
    try:
        database.write(partial(overwrite, owner=owner, id=file, at=at, data=said))
    except StoredObjectNotFound:
        return False
    return True


def _erased(size: int) -> bytes:
    """What stands in the place of a result."""
    return (ERASED if size >= len(ERASED) else b"").ljust(size)


def _custom_id(line: bytes) -> str | None:
    """That of a request or a result."""
    found = line_in(line)
    name = found.get("custom_id") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def lines_of(parts: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines of a file, without their ends, and where they begin; not those that are too long."""
    at, held, length = 0, bytearray(), 0
    for part in parts:
        *ended, rest = part.split(b"\n")
        for piece in ended:
            length += len(piece)
            if length <= MAX_LINE_BYTES:
                yield at, bytes(held + piece)
            at, length = at + length + 1, 0
            held.clear()
        length += len(rest)
        if length <= MAX_LINE_BYTES:
            held += rest
    if 0 < length <= MAX_LINE_BYTES:
        yield at, bytes(held)


def line_in(said: bytes) -> Any:
    """The JSON of a line; None: it is none, or its beginning was deleted meanwhile."""
    try:
        return orjson.loads(said.removeprefix(BOM))
    except orjson.JSONDecodeError:
        return None


def people_in(line: bytes) -> People:
    if not any(sign in line for sign in SIGNS):
        return NOBODY
    found = line_in(line)
    body = found.get("body") if isinstance(found, dict) else None
    return people_of(body) if isinstance(body, dict) else NOBODY


def _together(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    """Those that one transaction overwrites."""
    some, size = list[Place](), 0
    for place in places:
        if some and (len(some) == TOGETHER or size + place[1] > CHUNK_BYTES):
            yield some
            some, size = [], 0
        some.append(place)
        size += place[1]
    if some:
        yield some


def blank(connection: Connection, row: Row, places: Sequence[Place]) -> None:
    """Overwrite requests, given in their order; answers to them that are under way are not kept."""
    begin, said = places[0][0], b""
    for at, length in places:
        if at > begin + len(said) + 1:  # there are lines between them
            overwrite(connection, row["owner"], row["id"], begin, said)
            begin, said = at, b""
        said += (b"\n" if said else b"") + b" " * length
    overwrite(connection, row["owner"], row["id"], begin, said)
    # All at once: to find lines by their places is to look at all that are not done.
    of_file = (batches.c.owner == row["owner"], batches.c.input_file == row["id"])
    line = (
        batch_lines.c.batch.in_(select(batches.c.seq).where(*of_file)),
        batch_lines.c.at.in_([at for at, _ in places]),
        batch_lines.c.done.is_(False),
    )
    connection.execute(update(batch_lines).where(*line).values(length=0))


def _overwrite_results(
    connection: Connection, user: str, owners: Collection[str] | None, after: int
) -> tuple[int, int | None]:
    """Overwrite some behind this one; how many results they were, and which was the last one, if there may
    be more."""
    rows = objects.rows(connection, CHUNKS, _of(user, owners, after))
    count = 0
    for row in rows:
        before = row["at"] and _ends_line(connection, row["file"], row["at"])
        begins, end = before or row["at"] == 0, b"\n" if row["data"].endswith(b"\n") else b""
        size = len(row["data"]) - len(end)
        said = _erased(size) if begins else b""
        nobody = {"end_user": None, "safety_identifier": None}
        objects.change(connection, CHUNKS, row, {"data": said.ljust(size) + end, **nobody})
        count += bool(end)
    return count, rows[-1]["seq"] if len(rows) == TOGETHER else None


def _ends_line(connection: Connection, file: str, at: int) -> bool:
    """Whether the chunk before this place ends a line, or is gone: the file is being deleted."""
    here = (file_chunks.c.file == file, file_chunks.c.at < at)
    which = select(file_chunks).where(*here).order_by(file_chunks.c.at.desc()).limit(1)
    return all(row["data"].endswith(b"\n") for row in objects.rows(connection, CHUNKS, which))


def _results(
    database: Database, user: str, owners: Collection[str] | None, after: int
) -> list[Row]:
    with database.read() as connection:
        return objects.rows(connection, CHUNKS, _of(user, owners, after))


def _of(user: str, owners: Collection[str] | None, after: int) -> Any:
    """Chunks of results of a user, those of a file in their order."""
    person = objects.person(user)
    mine = or_(file_chunks.c.end_user == person, file_chunks.c.safety_identifier == person)
    which = select(file_chunks).where(mine, file_chunks.c.seq > after)
    if owners is not None:
        which = which.where(file_chunks.c.owner.in_(owners))
    return which.order_by(file_chunks.c.seq).limit(TOGETHER)
