"""What differs between families of endpoints besides their types: the events of streams, and errors.

Another dialect is a value like OPENAI beside its endpoint, which gives it to `routes.endpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import APIError, ErrorEnvelope
from .sse import DataEvents, EventFormat


@dataclass(frozen=True, slots=True)
class Dialect:
    """How clients of an endpoint are answered."""

    events: EventFormat
    error: Callable[[APIError, str], Mapping[str, Any]]
    """The JSON body of an error, and the data of a stream's last event; made of it and the request's id."""
    error_type: Any
    """The type of that, for the document."""
    status: Callable[[APIError], int] = lambda error: error.status
    """What an error is answered with."""
    statuses: Mapping[int, str] = field(default_factory=dict, hash=False)
    """Those of them that no error has by itself, for the document."""
    head: Callable[[str], Mapping[str, str]] | None = None
    """Headers of every answer, made of the request's id; None: none of the dialect's own."""


def _envelope(error: APIError, request_id: str) -> ErrorEnvelope:
    return error.envelope()


OPENAI = Dialect(DataEvents(), _envelope, ErrorEnvelope)
"""Of OpenAI's API up to chat completions, and of all that belongs to no route."""
