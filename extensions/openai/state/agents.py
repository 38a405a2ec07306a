"""Agents that were made over the API: the operator's, and no key's."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from .database import Database
from .objects import plain
from .tables import agents as table


@dataclass(frozen=True, slots=True)
class StoredAgent:
    """One of them."""

    name: str
    definition: bytes
    """JSON."""
    created: int
    updated: int
    """Both in Unix seconds."""


class StoredAgents:
    """Thread-safe. Everything raises StoreUnavailable where the database fails. Nothing is kept in memory, so
    that a change is there for the next request of every server on this database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> StoredAgent | None:
        with self._database.read() as connection:
            return _find(connection, name)

    def all(self) -> tuple[StoredAgent, ...]:
        """By name."""
        with self._database.read() as connection:
            rows = connection.execute(select(table).order_by(table.c.name)).all()
        return tuple(map(_agent, rows))

    def put(self, name: str, definition: bytes, *, most: int) -> StoredAgent | None:
        """Make one, or put it in the place of the one with its name. None where there
        are as many as there may be."""
        now = int(time.time())

        def work(connection: Connection) -> StoredAgent | None:
            before = _find(connection, name)
            values = {"definition": definition, "updated": now}
            if before is not None:
                connection.execute(update(table).where(table.c.name == name).values(values))
                return StoredAgent(name, definition, before.created, now)
            if (connection.execute(select(func.count()).select_from(table)).scalar() or 0) >= most:
                return None
            connection.execute(insert(table), {"name": name, "created": now, **values})
            return StoredAgent(name, definition, now, now)

        return self._database.write(work)

    def delete(self, name: str) -> bool:
        """Whether there was one."""

        def work(connection: Connection) -> bool:
            return connection.execute(delete(table).where(table.c.name == name)).rowcount > 0

        return self._database.write(work)


def _find(connection: Connection, name: str) -> StoredAgent | None:
    row = connection.execute(select(table).where(table.c.name == plain(name))).one_or_none()
    return None if row is None else _agent(row)


def _agent(row: Row[tuple[object, ...]]) -> StoredAgent:
    return StoredAgent(row.name, row.definition, row.created, row.updated)
