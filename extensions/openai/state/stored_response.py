"""A response as it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """Input and response are JSON."""

    id: str
    created: int
    """Unix seconds."""
    model: str
    previous: str | None
    """The response that it goes on from."""
    input: bytes
    """The items of its own request: an array."""
    response: bytes
    """The whole object."""
    item_ids: Sequence[str] = ()
    """Of all items of both, to find them by."""
    events: bytes | None = None
    """Those that it was streamed in, compressed; None: it was not."""
