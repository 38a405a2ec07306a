"""Streams of events, in the formats that dialects have: server-sent events, and lines of JSON.

Source of the framing: the WHATWG HTML standard, "Server-sent events". OpenAI's older streams are read by the
official SDK (`openai._streaming.Stream`) up to `[DONE]`, and raise on an `error` key:

    data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", ...}

    data: [DONE]

Responses and Anthropic's Messages name each event by its `type`, and the last one by what it is:

    event: message_start
    data: {"type": "message_start", ...}

    event: message_stop
    data: {"type": "message_stop"}

Ollama's are an object a line, without a comment for a silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from ...engines.protocol import Residence

EVENT_STREAM = "text/event-stream; charset=utf-8"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which clients skip."""


class EventFormat(Protocol):
    """How one dialect's events are written."""

    @property
    def content_type(self) -> str: ...

    @property
    def comments(self) -> bool:
        """Whether there may be comments between events."""

    def is_last(self, chunk: Any) -> bool:
        """Whether this chunk itself tells a client that the answer is complete."""

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

    content_type = EVENT_STREAM
    comments = True
    end = b"data: [DONE]\n\n"
    silence: bytes | None = None

    @staticmethod
    def is_last(chunk: Any) -> bool:
        return False

    @staticmethod
    def event(chunk: Any) -> bytes:
        return b"data: " + orjson.dumps(chunk) + b"\n\n"

    error = event


class StopEvents(DataEvents):
    """Events without a name; the one with `stop` is the last."""

    end = b""

    @staticmethod
    def is_last(chunk: Any) -> bool:
        return bool(chunk["stop"])


@dataclass(frozen=True, slots=True)
class NamedEvents:
    """Events named after their chunk's `type`; an error's name is `error`."""

    last: frozenset[str]
    """The types of the chunks that end an answer."""
    silence: bytes | None = None
    end: bytes = b""
    content_type: str = EVENT_STREAM
    comments: bool = True

    def is_last(self, chunk: Any) -> bool:
        return chunk["type"] in self.last

    def event(self, chunk: Any) -> bytes:
        kind: str = chunk["type"]
        return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(chunk) + b"\n\n"

    def error(self, body: Mapping[str, Any]) -> bytes:
        return b"event: error\ndata: " + orjson.dumps(body) + b"\n\n"


class JSONLines:
    """An object a line; the one that is `done` is the last."""

    content_type = "application/x-ndjson"
    comments = False
    end = b""
    silence: bytes | None = None

    @staticmethod
    def is_last(chunk: Any) -> bool:
        return bool(chunk.get("done"))

    @staticmethod
    def event(chunk: Any) -> bytes:
        return orjson.dumps(chunk, option=orjson.OPT_APPEND_NEWLINE)

    error = event


def queue_comment(position: tuple[int, int]) -> bytes:
    """A comment for a stream whose request waits in the queue: its place there."""
    return b": queued, position %d of %d\n\n" % position


def reading_comment(progress: Mapping[str, int]) -> bytes:
    """A comment for a stream whose prompt is read: how much of it."""
    return b": reading the prompt, %d %%\n\n" % (100 * progress["processed"] // progress["total"])


def loading_comment(residence: Residence) -> bytes:
    """A comment for a stream whose request waits for its model."""
    if residence.state != "loading":
        return b": waiting for room for the model\n\n"
    if residence.progress is None:
        return b": loading the model\n\n"
    return b": loading the model, %d %%\n\n" % (100 * residence.progress)
