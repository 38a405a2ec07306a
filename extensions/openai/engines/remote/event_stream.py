"""The events of an answer that arrives in parts: server-sent events, or a line of JSON each.

Source: WHATWG HTML, "Server-sent events"; read as leniently as real servers need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...errors import UpstreamFailed

MAX_EVENT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event."""

    data: bytes
    name: str = ""


def sse_events(body: Iterable[bytes]) -> Iterator[StreamEvent]:
    """The events that have data. The last one needs no empty line behind it. Raises UpstreamFailed for one
    that is too large."""
    data: list[bytes] = []
    name = ""
    for line in lines(body):
        if not line:
            if data:
                yield StreamEvent(b"\n".join(data), name)
            data, name = [], ""
            continue
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.strip())
        elif field == b"event":
            name = value.strip().decode(errors="replace")
    if data:
        yield StreamEvent(b"\n".join(data), name)


def json_lines(body: Iterable[bytes]) -> Iterator[StreamEvent]:
    """The lines that are not empty."""
    for line in lines(body):
        if line := line.strip(b" \t\x1e"):
            yield StreamEvent(line)


def lines(body: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends, CRLF or LF."""
    rest = b""
    for part in body:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")
        if len(rest) > MAX_EVENT_BYTES:
            raise UpstreamFailed("The server that has the model sent an event without an end.")
    if rest:
        yield rest.removesuffix(b"\r")
