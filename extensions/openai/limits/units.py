"""What limits count of a request besides the request itself: a row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..observability.record import RequestRecord
from ..schemas.validation import RequestModel
from .token_estimate import expected_tokens


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Something of which a request needs more or less."""

    expected: Callable[[RequestModel], int]
    """How many a request may need; taken when its body was read."""
    advice: str
    """What to do about a request that needs more than the whole limit."""
    used: Callable[[RequestRecord], int] | None = None
    """How many it has used so far, which takes the place of what was expected. None: that was exact, and
    counts whatever comes of the request."""


UNITS: Mapping[str, Unit] = {
    "tokens": Unit(
        expected_tokens,
        "The prompt or `max_tokens` must be smaller.",
        lambda record: record.prompt_tokens + record.completion_tokens,
    ),
}
