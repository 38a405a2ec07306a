"""What differs between families of endpoints besides their types: the events of streams, and errors.

Another dialect is a value like OPENAI beside its endpoint, which gives it to `routes.endpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import APIError, ErrorEnvelope
from .sse import DataEvents, EventFormat


@dataclass(frozen=True, slots=True)
class Dialect:
    """How clients of an endpoint are answered."""

    events: EventFormat
    error: Callable[[APIError], Mapping[str, Any]]
    """The JSON body of an error, and the data of a stream's last event."""
    error_type: Any
    """The type of that, for the document."""


OPENAI = Dialect(DataEvents(), APIError.envelope, ErrorEnvelope)
"""Of OpenAI's API up to chat completions, and of all that belongs to no route."""
