"""The events of a stream as they are stored, so that a client can go on reading where it stopped."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterable, Iterator

import orjson

from .response import ResponseEvent


class EventRecord:
    """Compresses events as they come: most repeat the one before. Belongs to the thread that writes them."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(level=1)
        self._compressed = bytearray()

    def of(self, events: Iterable[ResponseEvent]) -> Iterator[ResponseEvent]:
        """The events, each recorded before it is passed on."""
        for event in events:
            self._compressed += self._compressor.compress(orjson.dumps(event) + b"\n")
            yield event

    def whole(self) -> bytes:
        """All of them; nothing can be recorded any more."""
        return bytes(self._compressed + self._compressor.flush())


def record_of(lines: Iterable[bytes]) -> bytes:
    """The same of events that are JSON already."""
    return zlib.compress(b"".join(line + b"\n" for line in lines), level=1)


def recorded_events(record: bytes, after: int) -> Generator[ResponseEvent | None, None, None]:
    """The events behind the one with this number."""
    for line in zlib.decompress(record).splitlines():
        event: ResponseEvent = orjson.loads(line)
        if event["sequence_number"] > after:
            yield event
