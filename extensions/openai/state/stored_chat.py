"""A chat completion as it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from sqlalchemy import RowMapping


@dataclass(frozen=True, slots=True)
class StoredChat:
    """Messages and completion are JSON."""

    id: str
    created: int
    """Unix seconds."""
    model: str
    metadata: Mapping[str, str]
    messages: bytes
    """What was sent: an array."""
    completion: bytes
    """JSON of the completion with the request's parameters, without the metadata."""

    @classmethod
    def of(cls, row: RowMapping | Mapping[str, Any]) -> StoredChat:
        """Of a row of the table."""
        metadata = orjson.loads(row["metadata"])
        head = (row["id"], row["created"], row["model"], metadata)
        return cls(*head, row["messages"], row["completion"])

    def said(self) -> dict[str, dict[str, Any]]:
        """The messages that were sent, then those of the answers, by their ids."""
        answers = [choice["message"] for choice in orjson.loads(self.completion)["choices"]]
        messages = [*orjson.loads(self.messages), *answers]
        return {f"{self.id}-{at}": message for at, message in enumerate(messages)}
