"""The receipt of an erasure."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict


class Erasure(TypedDict):
    """What was erased, and when."""

    object: Literal["erasure"]
    id: str
    user: str | None
    api_key_id: str | None
    """The name of the key; null for all keys."""
    erased_at: int
    """Unix seconds."""
    deleted: dict[str, int]
    """Objects of each kind."""
