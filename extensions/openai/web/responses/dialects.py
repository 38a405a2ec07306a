"""What differs between families of endpoints besides their types: events of streams, and errors.

A new dialect is a value like OPENAI beside its endpoint, which passes it to `routes.endpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import APIError, ErrorEnvelope
from .sse import DataEvents, EventFormat


@dataclass(frozen=True, slots=True)
class Dialect:
    """The shape of an endpoint's errors and streams."""

    events: EventFormat
    error: Callable[[APIError, str], Mapping[str, Any]]
    """Makes the JSON body of an error, also the data of a stream's last event, of it and the request's id."""
    error_type: Any
    """Its type, for the OpenAPI document."""
    status: Callable[[APIError], int] = lambda error: error.status
    """The HTTP status of an error."""
    statuses: Mapping[int, str] = field(default_factory=dict, hash=False)
    """Statuses that no error has by itself, for the OpenAPI document."""
    client_header: str | None = None
    """The header, in a request's environment, that its clients send; it tells them apart where an address has
    no dialect of its own."""
    elsewhere: tuple[str, ...] = ()
    """In paths of the same API that this server does not have, which its clients may ask nevertheless."""
    head: Callable[[str], Mapping[str, str]] | None = None
    """Makes headers of every response of the request's id; None: the dialect has none of its own."""


def _envelope(error: APIError, request_id: str) -> ErrorEnvelope:
    return error.envelope()


OPENAI = Dialect(DataEvents(), _envelope, ErrorEnvelope)
"""Of OpenAI's API, and of every response that belongs to no route."""
