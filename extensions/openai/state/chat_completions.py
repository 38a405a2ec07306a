"""Stored chat completions: the messages that were sent, the answer, and the client's metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    delete,
    func,
    insert,
    select,
    update,
)

from . import objects
from .database import Database
from .idempotency import Claim, finish
from .objects import person, plain
from .pages import Page, PageQuery
from .plots import attach
from .statements import Statement
from .stored_chat import StoredChat
from .tables import chat_completion_metadata as pairs
from .tables import chat_completions as table

KIND = "chats"
ADD_PAIR = Statement(insert(pairs))
NO_FIGURES: Mapping[str, Sequence[bytes]] = {}
WORTH_COUNTING = 2000
"""Chats with a pair of metadata; of more it does not matter how many there are."""


class ChatCompletions:
    """Thread-safe. Everything raises StoreUnavailable where the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        owner: str,
        chat: StoredChat,
        *,
        user: str | None = None,
        safety_identifier: str | None = None,
        claim: Claim | None = None,
        figures: Mapping[str, Sequence[bytes]] = NO_FIGURES,
    ) -> None:
        """Keep it. When this returns it is committed. `user` and `safety_identifier` are what the request
        says of its end user, for erasure and export; `claim` is of its idempotency key; `figures` are
        those of its messages, by their ids."""
        metadata = _text(chat.metadata)
        values = {
            "id": chat.id,
            "owner": owner,
            "created": chat.created,
            "bytes": len(chat.messages) + len(chat.completion) + len(metadata),
            "end_user": person(user),
            "safety_identifier": person(safety_identifier),
            "model": plain(chat.model),
            "metadata": metadata,
            "messages": chat.messages,
            "completion": chat.completion,
        }

        def work(connection: Connection) -> None:
            seq = objects.add(connection, KIND, values)
            _add_pairs(connection, owner, seq, chat.metadata)
            for message, each in figures.items():
                for figure in each:
                    attach(connection, values, message, figure)
            if claim is not None:
                finish(connection, claim, chat.id)

        self._database.write(work)

    def get(self, owner: str, id: str) -> StoredChat:
        """Raises StoredObjectNotFound."""
        with self._database.read() as connection:
            return StoredChat.of(objects.find(connection, KIND, owner, id))

    def list(
        self,
        owner: str,
        page: PageQuery,
        *,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[StoredChat]:
        """Those of one model, and with all of these pairs among their metadata, if that is asked for.

        Raises StoredObjectNotFound for an `after` that is not one of the owner's."""
        wanted = [(plain(key), plain(value)) for key, value in (metadata or {}).items()]
        with self._database.read() as connection:
            if len(wanted) > 1:
                wanted.sort(key=lambda pair: _count(connection, owner, pair))
            aliases = [pairs.alias() for _ in wanted]

            def narrow(rows: Select[Any]) -> Select[Any]:
                if model is not None:
                    rows = rows.where(table.c.model == plain(model))
                for alias, pair in zip(aliases, wanted, strict=True):
                    rows = rows.where(*_have(alias, owner, pair), alias.c.seq == table.c.seq)
                return rows

            by = aliases[0].c.seq if aliases else None
            found = objects.page(connection, KIND, owner, page, narrow, by)
        return found.map(StoredChat.of)

    def set_metadata(self, owner: str, id: str, metadata: Mapping[str, str]) -> StoredChat:
        """Put other metadata in the place of what is there. Raises StoredObjectNotFound."""
        written = _text(metadata)

        def work(connection: Connection) -> StoredChat:
            row = objects.find(connection, KIND, owner, id)
            more = len(written) - len(row["metadata"])
            connection.execute(
                update(table)
                .where(table.c.seq == row["seq"])
                .values(metadata=written, bytes=row["bytes"] + more)
            )
            objects.count(connection, KIND, owner, 0, more)
            connection.execute(delete(pairs).where(pairs.c.seq == row["seq"]))
            _add_pairs(connection, owner, row["seq"], metadata)
            return StoredChat.of({**row, "metadata": written})

        return self._database.write(work)

    def delete(self, owner: str, id: str) -> None:
        """Raises StoredObjectNotFound."""
        self._database.write(lambda connection: objects.remove_one(connection, KIND, owner, id))


def _have(table: FromClause, owner: str, pair: tuple[str, str]) -> tuple[ColumnElement[bool], ...]:
    """That rows of the table of pairs are this one."""
    key, value = pair
    return (table.c.owner == owner, table.c.key == key, table.c.value == value)


def _count(connection: Connection, owner: str, pair: tuple[str, str]) -> int:
    """How many chats have the pair, as far as it is worth counting: the rarest is to be looked up first."""
    some = select(pairs.c.seq).where(*_have(pairs, owner, pair)).limit(WORTH_COUNTING).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def _add_pairs(connection: Connection, owner: str, seq: int, metadata: Mapping[str, str]) -> None:
    if metadata:
        # Two names may become one where a NUL is written otherwise.
        unique = {(plain(key), plain(value)) for key, value in metadata.items()}
        for key, value in unique:
            ADD_PAIR.run(connection, {"owner": owner, "key": key, "value": value, "seq": seq})


def _text(metadata: Mapping[str, str]) -> str:
    return orjson.dumps(metadata).decode()
