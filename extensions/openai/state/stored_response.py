"""A response as it is stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

LEASE_SECONDS = 30
"""A response that is being made belongs to a server that says so again within this time. So one that was
killed leaves nothing behind that would be under way for ever."""


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
    """Those that it is or was streamed in so far, compressed; None: it is not."""
    until: int | None = None
    """While it is made in the background: the time, in Unix seconds, by which its server says so again."""

    @property
    def is_under_way(self) -> bool:
        """Whether a server is making it."""
        return self.until is not None and time.time() < self.until

    @property
    def is_lost(self) -> bool:
        """Whether its server has ended without it."""
        return self.until is not None and not self.is_under_way
