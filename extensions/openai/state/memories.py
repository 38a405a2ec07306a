"""What agents remember of users: small facts, by owner, agent and user."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, Select, select

from . import objects
from .database import Database
from .encryption import Row
from .idempotency import Claim, finish
from .objects import person, plain
from .pages import Page, PageQuery
from .tables import memories as table

KIND = "memories"
Source = Literal["model", "extension", "api"]


@dataclass(frozen=True, slots=True)
class MemoryKey:
    """Whose facts they are, and which agent has them."""

    owner: str
    agent: str
    user: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One of them."""

    id: str
    agent: str
    user: str
    text: str
    source: Source
    """Who said that it is to be remembered."""
    created: int
    """Unix seconds."""


class Memories:
    """Thread-safe. Everything raises StoreUnavailable where the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, key: MemoryKey) -> tuple[Fact, ...]:
        """What is remembered, the oldest first."""
        with self._database.read() as connection:
            return tuple(map(_fact, _rows(connection, key)))

    def add(
        self, key: MemoryKey, text: str, source: Source, *, most: int, claim: Claim | None = None
    ) -> Fact | None:
        """Remember this; the fact that is there already if it is the same. None where there are as many as
        there may be. When this returns it is committed. `claim` is of the request's idempotency key."""
        now = int(time.time())
        body = orjson.dumps({"text": text, "source": source})

        def work(connection: Connection) -> Fact | None:
            fact = added(connection)
            if fact is not None and claim is not None:
                finish(connection, claim, fact.id)
            return fact

        def added(connection: Connection) -> Fact | None:
            there = [_fact(row) for row in _rows(connection, key)]
            for fact in there:
                if fact.text == text:
                    return fact
            if len(there) >= most:
                return None
            id = "mem_" + secrets.token_hex(24)
            values = {
                "id": id,
                "owner": key.owner,
                "created": now,
                "bytes": len(body),
                "end_user": person(key.user),
                "safety_identifier": None,
                "agent": key.agent,
                "fact": body,
            }
            objects.add(connection, KIND, values)
            return Fact(id, key.agent, key.user, text, source, now)

        return self._database.write(work)

    def get(self, owner: str, id: str) -> Fact:
        """Raises StoredObjectNotFound."""
        with self._database.read() as connection:
            return _fact(objects.find(connection, KIND, owner, id))

    def list(
        self, owner: str, query: PageQuery, *, agent: str | None = None, user: str | None = None
    ) -> Page[Fact]:
        """Those of an agent and of a user, if that is asked for. Raises StoredObjectNotFound for an `after`
        that is not one of the owner's."""

        def narrow(rows: Select[Any]) -> Select[Any]:
            if agent is not None:
                rows = rows.where(table.c.agent == plain(agent))
            return rows if user is None else rows.where(table.c.end_user == person(user))

        with self._database.read() as connection:
            found = objects.page(connection, KIND, owner, query, narrow)
        return found.map(_fact)

    def delete(self, owner: str, id: str) -> None:
        """Raises StoredObjectNotFound."""
        self._database.write(lambda connection: objects.remove_one(connection, KIND, owner, id))


def _rows(connection: Connection, key: MemoryKey) -> Sequence[Row]:
    of_user = (table.c.agent == key.agent, table.c.end_user == person(key.user))
    which = select(table).where(table.c.owner == key.owner, *of_user).order_by(table.c.seq)
    return objects.rows(connection, KIND, which)


def _fact(row: Row) -> Fact:
    body = orjson.loads(row["fact"])
    return Fact(
        row["id"], row["agent"], row["end_user"], body["text"], body["source"], row["created"]
    )
