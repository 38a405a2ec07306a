"""Server-sent events, in the two formats that dialects have.

Source of the framing: the WHATWG HTML standard, "Server-sent events". OpenAI's older streams are read by the
official SDK (`openai._streaming.Stream`) up to `[DONE]`, and raise on an `error` key:

    data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", ...}

    data: [DONE]

Responses and Anthropic's Messages name each event by its `type`, and the last one by what it is:

    event: message_start
    data: {"type": "message_start", ...}

    event: message_stop
    data: {"type": "message_stop"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which clients skip."""


class EventFormat(Protocol):
    """How one dialect's events are written."""

    @property
    def last(self) -> frozenset[str]:
        """The types of the chunks that tell a client that the answer is complete, where chunks do."""

    @property
    def end(self) -> bytes:
        """What follows the last chunk."""

    @property
    def silence(self) -> bytes | None:
        """Sent during a long silence; None: a comment."""

    def event(self, chunk: Any) -> bytes: ...

    def error(self, body: Mapping[str, Any]) -> bytes:
        """The last event of an answer that failed after it had begun."""


class DataEvents:
    """Events without a name; `[DONE]` is the last one, unless the answer failed."""

    last: frozenset[str] = frozenset()
    end = b"data: [DONE]\n\n"
    silence: bytes | None = None

    @staticmethod
    def event(chunk: Any) -> bytes:
        return b"data: " + orjson.dumps(chunk) + b"\n\n"

    error = event


@dataclass(frozen=True, slots=True)
class NamedEvents:
    """Events named after their chunk's `type`; an error's name is `error`."""

    last: frozenset[str]
    silence: bytes | None = None
    end: bytes = b""

    def event(self, chunk: Any) -> bytes:
        kind: str = chunk["type"]
        return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(chunk) + b"\n\n"

    def error(self, body: Mapping[str, Any]) -> bytes:
        return b"event: error\ndata: " + orjson.dumps(body) + b"\n\n"


def queue_comment(position: tuple[int, int] | None) -> bytes:
    """A comment for a silent stream: the request's place in the queue, if it waits there."""
    if position is None:
        return KEEP_ALIVE
    return b": queued, position %d of %d\n\n" % position
