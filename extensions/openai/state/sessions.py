"""Sessions: what was said before, by the name that requests give it. Its key is owner, agent and name."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, RowMapping, Select, select, update

from . import objects
from .database import Database
from .encryption import Row
from .idempotency import Claim, finish
from .objects import person, plain
from .pages import Page, PageQuery
from .tables import session_turns as turns
from .tables import sessions as table

KIND, TURNS = "sessions", "session_turns"
MAX_BYTES = 1 << 20
"""Of the messages of one session."""
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SessionKey:
    """What finds a session."""

    owner: str
    agent: str
    """An empty text: none."""
    name: str


@dataclass(frozen=True, slots=True)
class Session:
    """Without its turns."""

    id: str
    agent: str
    name: str
    created: int
    used: int
    """Both in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the user's, and what follows it up to the next one."""

    seq: int
    messages: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """How a request changes its session."""

    said: Sequence[Message]
    """Comes behind what stays."""
    instead_of: int | None = None
    """Turns from this number on are deleted."""
    behind: int = 0
    """Turns up to this number are deleted: the context has no place for them."""
    summary: Message | None = None
    """Stands for these, in the place of the last one, if one person said all of it."""


class Sessions:
    """Thread-safe. Everything raises StoreUnavailable where the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def turns(self, key: SessionKey) -> tuple[Turn, ...]:
        """What was said, the oldest first; nothing where there is no such session."""
        with self._database.read() as connection:
            row = _with_key(connection, key)
            return () if row is None else _turns(connection, row["id"])

    def change(
        self,
        key: SessionKey,
        change: Change,
        *,
        max_messages: int,
        user: str | None = None,
        safety_identifier: str | None = None,
        named_by_user: bool = False,
        claim: Claim | None = None,
    ) -> None:
        """Add what was said, and begin the session if there is none. When this returns it is committed.

        The oldest turns go where there would be too much. `named_by_user`: the session is erased with the
        user. `claim` is of the request's idempotency key, which stands for the last turn."""
        now = int(time.time())
        people = {"end_user": person(user), "safety_identifier": person(safety_identifier)}

        def work(connection: Connection) -> None:
            row = _with_key(connection, key)
            if row is None:
                id = _begin(connection, key, now, people["end_user"] if named_by_user else None)
            else:
                id = row["id"]
                connection.execute(update(table).where(table.c.seq == row["seq"]).values(used=now))
                _cut(connection, id, change)
            turn = ""
            for messages in _by_turn(change.said):
                body, turn = orjson.dumps(messages), "turn_" + secrets.token_hex(16)
                values = {
                    "id": turn,
                    "owner": key.owner,
                    "created": now,
                    "bytes": len(body),
                    "session": id,
                    "messages": body,
                }
                objects.add(connection, TURNS, values | people)
            _shorten(connection, id, max_messages)
            if claim is not None:
                finish(connection, claim, turn)

        self._database.write(work)

    def turn(self, owner: str, id: str) -> Turn:
        """One turn, by the id that an idempotency key stands for. Raises StoredObjectNotFound."""
        with self._database.read() as connection:
            return _turn(objects.find(connection, TURNS, owner, id))

    def get(self, owner: str, id: str) -> tuple[Session, tuple[Turn, ...]]:
        """Raises StoredObjectNotFound."""
        with self._database.read() as connection:
            row = objects.find(connection, KIND, owner, id)
            return _session(row), _turns(connection, row["id"])

    def list(
        self, owner: str, query: PageQuery, *, agent: str | None = None, name: str | None = None
    ) -> Page[Session]:
        """Those of an agent (an empty text: of none) and with a name, if that is asked for.

        Raises StoredObjectNotFound for an `after` that is not one of the owner's."""

        def narrow(rows: Select[Any]) -> Select[Any]:
            if agent is not None:
                rows = rows.where(table.c.agent == plain(agent))
            return rows if name is None else rows.where(table.c.name == plain(name))

        with self._database.read() as connection:
            found = objects.page(connection, KIND, owner, query, narrow)
        return found.map(_session)

    def delete(self, owner: str, id: str) -> None:
        """With all that was said in it. Raises StoredObjectNotFound."""
        self._database.write(lambda connection: objects.remove_one(connection, KIND, owner, id))


def _with_key(connection: Connection, key: SessionKey) -> RowMapping | None:
    mine = (table.c.owner == key.owner, table.c.agent == key.agent)
    rows = select(table).where(*mine, table.c.name == plain(key.name))
    return connection.execute(rows).mappings().one_or_none()


def _begin(connection: Connection, key: SessionKey, now: int, end_user: str | None) -> str:
    """A new session; its id."""
    id = "sess_" + secrets.token_hex(24)
    values = {
        "id": id,
        "owner": key.owner,
        "created": now,
        "bytes": len(key.name),
        "end_user": end_user,
        "safety_identifier": None,
        "agent": key.agent,
        "name": plain(key.name),
        "used": now,
    }
    objects.add(connection, KIND, values)
    return id


def _by_turn(said: Sequence[Message]) -> list[list[Message]]:
    """A client that sends its own history sends several turns."""
    found: list[list[Message]] = []
    for message in said:
        if message["role"] == "user" or not found:
            found.append([])
        found[-1].append(message)
    return found


def _turns(connection: Connection, id: str) -> tuple[Turn, ...]:
    return tuple(map(_turn, _rows(connection, id)))


def _turn(row: Row) -> Turn:
    return Turn(row["seq"], tuple(orjson.loads(row["messages"])))


def _rows(connection: Connection, id: str) -> list[Row]:
    which = select(turns).where(turns.c.session == id).order_by(turns.c.seq)
    return objects.rows(connection, TURNS, which)


def _cut(connection: Connection, id: str, change: Change) -> None:
    """Delete the turns that a change leaves out."""
    last = objects.HIGHEST if change.instead_of is None else change.instead_of
    rows = _rows(connection, id)
    going = [row for row in rows if not change.behind < row["seq"] < last]
    old = [row for row in rows if row["seq"] <= change.behind]
    people = {(row["end_user"], row["safety_identifier"]) for row in old}
    if change.summary is not None and len(people) == 1:
        # It is erased with the one whose words are in it.
        _replace(connection, old[-1], change.summary)
        going.remove(old[-1])
    if going:
        objects.remove(connection, TURNS, going)


def _replace(connection: Connection, row: Row, message: Message) -> None:
    """Put a message in the place of a turn."""
    body = orjson.dumps([message])
    values = {"messages": body, "bytes": len(body)}
    objects.change(connection, TURNS, row, values)
    objects.free_keys(connection, TURNS, [row])  # it is no request's answer any more
    objects.count(connection, TURNS, row["owner"], 0, len(body) - row["bytes"])


def _shorten(connection: Connection, id: str, max_messages: int) -> None:
    """Where there is too much delete the oldest turns, a quarter of what there may be: each deletion changes
    where the prompt begins, so the engine must read all of it again."""
    rows = _rows(connection, id)
    counts = [len(orjson.loads(row["messages"])) for row in rows]
    messages, size = sum(counts), sum(row["bytes"] for row in rows)
    if messages <= max_messages and size <= MAX_BYTES:
        return
    at = 0
    while at < len(rows) - 1 and (messages > max_messages * 3 // 4 or size > MAX_BYTES * 3 // 4):
        messages, size, at = messages - counts[at], size - rows[at]["bytes"], at + 1
    if at:
        objects.remove(connection, TURNS, rows[:at])


def _session(row: Row) -> Session:
    return Session(row["id"], row["agent"], row["name"], row["created"], row["used"])
