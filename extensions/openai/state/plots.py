"""Figures that belong to messages of stored chats, and go with them."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, select

from ..errors import StoredObjectNotFound
from ..schemas import bad_request
from ..schemas.figures import MAX_PLOTS
from . import objects
from .database import Database
from .encryption import Row
from .idempotency import Claim, finish
from .stored_chat import StoredChat
from .tables import plots as table

KIND, CHATS = "plots", "chats"


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

    def add(
        self, owner: str, chat: str, message: str, figure: bytes, *, claim: Claim | None = None
    ) -> Plot:
        """Put a figure behind those that a message has; `claim` is of the request's idempotency key.

        Raises InvalidRequest if it has as many as it may."""
        self._check(owner, chat, message)

        def work(connection: Connection) -> Plot:
            row = objects.find_row(connection, CHATS, owner, chat)
            there = len(connection.execute(select(table.c.seq).where(*_of(message, row))).all())
            if there >= MAX_PLOTS:
                raise bad_request.wrong_length("plots", "array", there + 1, high=MAX_PLOTS)
            plot = attach(connection, row, message, figure)
            if claim is not None:
                finish(connection, claim, plot.id)
            return plot

        return self._database.write(work)

    def get(self, owner: str, chat: str, message: str, id: str) -> Plot:
        """One of a message. Raises StoredObjectNotFound."""
        with self._database.read() as connection:
            row = objects.find(connection, KIND, owner, id)
        if (row["chat"], row["message"]) != (chat, message):
            raise StoredObjectNotFound(id)
        return _plot(row)

    def list(self, owner: str, chat: str, message: str) -> list[Plot]:
        """Those of a message, in the order in which they were added."""
        with self._database.read() as connection:
            row = _chat_with(connection, owner, chat, message)
            which = select(table).where(*_of(message, row)).order_by(table.c.seq)
            found = objects.rows(connection, KIND, which)
        return list(map(_plot, found))

    def delete(self, owner: str, chat: str, message: str) -> None:
        """All of a message."""
        self._check(owner, chat, message)

        def work(connection: Connection) -> None:
            row = objects.find_row(connection, CHATS, owner, chat)
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


def _plot(row: Row) -> Plot:
    return Plot(row["id"], row["created"], row["figure"])


def _chat_with(connection: Connection, owner: str, chat: str, message: str) -> Row:
    row = objects.find(connection, CHATS, owner, chat)
    if message not in StoredChat.of(row).said():
        raise StoredObjectNotFound(message)
    return row


def _of(message: str, chat: Row) -> tuple[ColumnElement[bool], ...]:
    return (table.c.chat == chat["id"], table.c.message == message)
