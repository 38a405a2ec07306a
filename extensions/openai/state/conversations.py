"""Conversations: items in the order in which they were added, under a name and with metadata."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, RowMapping, Select, select, update

from ..errors import StoredObjectNotFound
from . import objects
from .conversation_items import Item, added_before, adding
from .database import Database
from .idempotency import Claim, finish
from .objects import plain
from .pages import Page, PageQuery
from .tables import conversation_items as items
from .tables import conversations as table

KIND, ITEMS = "conversations", "conversation_items"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Without its items."""

    id: str
    created: int
    """Unix seconds."""
    metadata: Mapping[str, str]


class Conversations:
    """Thread-safe. Everything raises StoreUnavailable where the database fails, and StoredObjectNotFound for
    what is not there, was deleted, or belongs to another owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        owner: str,
        id: str,
        metadata: Mapping[str, str],
        said: Sequence[Item],
        *,
        claim: Claim | None = None,
    ) -> Conversation:
        """A new one, with these items. `claim` is of the request's idempotency key."""
        conversation = Conversation(id, int(time.time()), metadata)
        written = _text(metadata)
        values = {
            "id": id,
            "owner": owner,
            "created": conversation.created,
            "bytes": len(written),
            "end_user": None,
            "safety_identifier": None,
            "metadata": written,
        }

        def work(connection: Connection) -> None:
            objects.add(connection, KIND, values)
            adding(owner, id, said)(connection)
            if claim is not None:
                finish(connection, claim, id)

        self._database.write(work)
        return conversation

    def get(self, owner: str, id: str) -> Conversation:
        with self._database.read() as connection:
            return _conversation(objects.find(connection, KIND, owner, id))

    def listed(self, owner: str, query: PageQuery) -> Page[Conversation]:
        """Those of an owner."""
        with self._database.read() as connection:
            found = objects.page(connection, KIND, owner, query)
        return found.map(_conversation)

    def set_metadata(self, owner: str, id: str, metadata: Mapping[str, str]) -> Conversation:
        """Put other metadata in the place of what is there."""
        written = _text(metadata)

        def work(connection: Connection) -> Conversation:
            row = objects.find(connection, KIND, owner, id)
            more = len(written) - row["bytes"]
            here = table.c.seq == row["seq"]
            connection.execute(
                update(table).where(here).values(metadata=written, bytes=len(written))
            )
            objects.count(connection, KIND, owner, 0, more)
            return _conversation({**row, "metadata": written})

        return self._database.write(work)

    def delete(self, owner: str, id: str) -> None:
        """With all its items."""

        def work(connection: Connection) -> None:
            objects.remove_one(connection, KIND, owner, id)

        self._database.write(work)

    def add(
        self,
        owner: str,
        id: str,
        said: Sequence[Item],
        *,
        user: str | None = None,
        safety_identifier: str | None = None,
        claim: Claim | None = None,
    ) -> list[Item]:
        """Put items behind those that are there, all or none of them; return them as they are stored.
        `claim` is of the request's idempotency key."""
        people = {"user": user, "safety_identifier": safety_identifier}
        return self._database.write(adding(owner, id, said, **people, claim=claim))

    def added(self, owner: str, id: str, object: str) -> list[dict[str, Any]]:
        """The items for which a request's finished key stands, as far as they are still there."""
        numbers = added_before(object)
        with self._database.read() as connection:
            which = _of(id).where(items.c.owner == owner, items.c.seq.in_(numbers))
            return _read(connection, which.order_by(items.c.seq))

    def items(self, owner: str, id: str) -> list[dict[str, Any]]:
        """All of them, the oldest first."""
        with self._database.read() as connection:
            objects.find(connection, KIND, owner, id)
            return _read(connection, _of(id).order_by(items.c.seq))

    def page(self, owner: str, id: str, query: PageQuery) -> Page[dict[str, Any]]:
        with self._database.read() as connection:
            objects.find(connection, KIND, owner, id)
            rows = _of(id)
            if query.after is not None:
                seq = _item(connection, owner, id, query.after, "after")["seq"]
                rows = rows.where(items.c.seq > seq if query.order == "asc" else items.c.seq < seq)
            order = items.c.seq if query.order == "asc" else items.c.seq.desc()
            found = _read(connection, rows.order_by(order).limit(query.limit + 1))
        return Page(tuple(found[: query.limit]), len(found) > query.limit)

    def item(self, owner: str, id: str, item: str) -> dict[str, Any]:
        with self._database.read() as connection:
            seq = _item(connection, owner, id, item)["seq"]
            (found,) = _read(connection, _of(id).where(items.c.seq == seq))
            return found

    def delete_item(self, owner: str, id: str, item: str) -> Conversation:
        """The conversation that it was in."""

        def work(connection: Connection) -> Conversation:
            objects.remove(connection, ITEMS, [_item(connection, owner, id, item)])
            return _conversation(objects.find(connection, KIND, owner, id))

        return self._database.write(work)


def _of(conversation: str) -> Select[Any]:
    return select(items).where(items.c.conversation == conversation)


def _read(connection: Connection, which: Select[Any]) -> list[dict[str, Any]]:
    return [orjson.loads(row["item"]) for row in objects.rows(connection, ITEMS, which)]


def _item(
    connection: Connection, owner: str, conversation: str, id: str, param: str | None = None
) -> RowMapping:
    here = (items.c.conversation == plain(conversation), items.c.id == plain(id))
    row = (
        connection.execute(select(items).where(*here, items.c.owner == owner))
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise StoredObjectNotFound(id, param=param)
    return row


def _conversation(row: RowMapping | Mapping[str, Any]) -> Conversation:
    return Conversation(row["id"], row["created"], orjson.loads(row["metadata"]))


def _text(metadata: Mapping[str, str]) -> str:
    return orjson.dumps(metadata).decode()
