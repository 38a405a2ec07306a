"""How items are put into a conversation, alone or with what else is written."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, select

from . import objects
from .idempotency import Claim, finish
from .objects import person, plain
from .tables import conversation_items as items

Item = Mapping[str, Any]
"""As the reference shows it; its `id` is there."""
Writing = Callable[[Connection], list[Item]]


def adding(
    owner: str,
    conversation: str,
    said: Sequence[Item],
    *,
    user: str | None = None,
    safety_identifier: str | None = None,
    claim: Claim | None = None,
) -> Writing:
    """What puts items behind those of a conversation, all or none; it returns them as they are stored.
    `claim` is of the idempotency key of a request that only adds items.

    It raises StoredObjectNotFound where there is no such conversation."""

    def work(connection: Connection) -> list[Item]:
        objects.find(connection, "conversations", owner, conversation)
        people = person(user), person(safety_identifier)
        added = _add(connection, owner, conversation, said, *people)
        if claim is not None:
            # Their numbers, as clients may choose the ids: a short text in any case.
            finish(connection, claim, orjson.dumps([*added]).decode())
        return [*added.values()]

    return work


def added_before(object: str) -> list[int]:
    """The numbers of the items for which a finished key stands."""
    numbers: list[int] = orjson.loads(object)
    return numbers


def _add(
    connection: Connection,
    owner: str,
    conversation: str,
    said: Sequence[Item],
    end_user: str | None,
    safety_identifier: str | None,
) -> dict[int, Item]:
    """The items by their numbers; one whose id is taken gets another."""
    now = int(time.time())
    taken = _taken(connection, conversation, [plain(item["id"]) for item in said])
    added: dict[int, Item] = {}
    for item in said:
        if plain(item["id"]) in taken:
            item = {**item, "id": item["id"].partition("_")[0] + "_" + secrets.token_hex(16)}
        taken.add(plain(item["id"]))
        body = orjson.dumps(item)
        values = {
            "id": plain(item["id"]),
            "owner": owner,
            "created": now,
            "bytes": len(body),
            "end_user": end_user,
            "safety_identifier": safety_identifier,
            "conversation": conversation,
            "item": body,
        }
        added[objects.add(connection, "conversation_items", values)] = item
    return added


def _taken(connection: Connection, conversation: str, ids: Sequence[str]) -> set[str]:
    here = (items.c.conversation == conversation, items.c.id.in_(ids))
    return set(connection.execute(select(items.c.id).where(*here)).scalars())
