"""Figures that belong to messages of stored chats, and go with them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, select

from ..errors import StoredObjectNotFound
from ..schemas import bad_request
from ..schemas.figures import MAX_PLOTS
from . import objects
from .database import Database
from .stored_chat import StoredChat
from .tables import plots as table

KIND, CHATS = "plots", "chats"


Row = RowMapping | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plot:
    id: str
    created: int
    """Unix seconds."""
    figure: bytes
    """JSON."""


class Plots:
    """Thread-safe. Everything raises StoreUnavailable where the database fails, and StoredObjectNotFound for
    a chat that is not there, was deleted, or belongs to another owner, and for a message that is not in it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, owner: str, chat: str, message: str, figures: Sequence[bytes]) -> list[Plot]:
        """Put figures behind those that a message has, all or none. Raises InvalidRequest for too many."""
        self._check(owner, chat, message)

        def work(connection: Connection) -> list[Plot]:
            row = objects.find(connection, CHATS, owner, chat)
            there = len(connection.execute(select(table.c.seq).where(*_of(message, row))).all())
            if there + len(figures) > MAX_PLOTS:
                raise bad_request.wrong_length(
                    "plots", "array", there + len(figures), high=MAX_PLOTS
                )
            return [attach(connection, row, message, figure) for figure in figures]

        return self._database.write(work)

    def list(self, owner: str, chat: str, message: str) -> list[Plot]:
        """Those of a message, in the order in which they were added."""
        with self._database.read() as connection:
            row = _chat_with(connection, owner, chat, message)
            rows = select(table).where(*_of(message, row)).order_by(table.c.seq)
            found = connection.execute(rows).mappings().all()
        return [Plot(each["id"], each["created"], each["figure"]) for each in found]

    def delete(self, owner: str, chat: str, message: str) -> None:
        """All of a message."""
        self._check(owner, chat, message)

        def work(connection: Connection) -> None:
            row = objects.find(connection, CHATS, owner, chat)
            rows = select(table.c.seq, table.c.owner, table.c.bytes).where(*_of(message, row))
            objects.remove(connection, KIND, connection.execute(rows).mappings().all())

        self._database.write(work)

    def _check(self, owner: str, chat: str, message: str) -> None:
        """Before a transaction that writes: messages take time to be looked through, and never change."""
        with self._database.read() as connection:
            _chat_with(connection, owner, chat, message)


def attach(connection: Connection, chat: Row, message: str, figure: bytes) -> Plot:
    """Add a figure to a message of a chat, whose row is given."""
    plot = Plot("plot_" + secrets.token_hex(16), int(time.time()), figure)
    values = {
        "id": plot.id,
        "owner": chat["owner"],
        "created": plot.created,
        "bytes": len(figure),
        "end_user": chat["end_user"],
        "safety_identifier": chat["safety_identifier"],
        "chat": chat["id"],
        "message": message,
        "figure": figure,
    }
    objects.add(connection, KIND, values)
    return plot


def _chat_with(connection: Connection, owner: str, chat: str, message: str) -> RowMapping:
    row = objects.find(connection, CHATS, owner, chat)
    if message not in StoredChat.of(row).said():
        raise StoredObjectNotFound(message)
    return row


def _of(message: str, chat: RowMapping) -> tuple[ColumnElement[bool], ...]:
    return (table.c.chat == chat["id"], table.c.message == message)
