"""A chat completion as it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
    """The answer, and what else is told of the request: an object, without the metadata."""
