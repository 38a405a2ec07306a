"""The events of a stream as they are stored, so that a client can go on reading where it stopped.

A line of JSON each; a list of texts stands for deltas that follow the event before it and differ in their
text alone, as nearly all events do.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from .response import ResponseEvent

LINES, DELTAS = 64, 1024


class EventRecord:
    """Compresses events as they come. Not thread-safe."""

    def __init__(self) -> None:
        self._compressor: zlib._Compress | None = None
        self._compressed = bytearray()
        self._lines: list[bytes] = []
        """Not compressed yet: a call for each would take longer than what it does."""
        self._like: Any = None
        """The delta that those in `_deltas` follow."""
        self._deltas: list[str] = []

    def of(self, events: Iterable[ResponseEvent]) -> Iterator[ResponseEvent]:
        """The events, each recorded before it is passed on."""
        for event in events:
            self.add(event)
            yield event

    def add(self, event: Any) -> None:
        """Record an event, which follows the one before without a gap."""
        like = self._like
        if (
            like is not None
            and event["type"] == like["type"]
            and event["item_id"] == like["item_id"]
            and not event.get("logprobs")
        ):
            self._deltas.append(event["delta"])
            if len(self._deltas) < DELTAS:
                return
            self._lines += self._written_deltas()
            self._deltas.clear()
        else:
            self._lines += [*self._written_deltas(), _line(event)]
            self._deltas.clear()
            self._like = event if "delta" in event and not event.get("logprobs") else None
        if len(self._lines) >= LINES:
            self._compressor = self._compressor or _compressor()
            self._compressed += self._compressor.compress(b"".join(self._lines))
            self._lines.clear()

    def whole(self, *last: ResponseEvent) -> bytes:
        """All of them so far, and behind them those that are given, which are not recorded."""
        end = _compressor() if self._compressor is None else self._compressor.copy()
        lines = [*self._lines, *self._written_deltas(), *map(_line, last)]
        return bytes(self._compressed + end.compress(b"".join(lines)) + end.flush())

    def _written_deltas(self) -> list[bytes]:
        return [_line(self._deltas)] if self._deltas else []


def _compressor() -> zlib._Compress:
    """With less memory than by default, which takes most of the time of a short answer."""
    return zlib.compressobj(level=1, memLevel=6)


def _line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def recorded_events(record: bytes) -> list[ResponseEvent]:
    """All of them, in the order of their numbers, which begin with 0."""
    events: list[Any] = []
    for line in zlib.decompress(record).splitlines():
        found = orjson.loads(line)
        if not isinstance(found, list):
            events.append(found)
            continue
        like, number = events[-1], len(events)
        events += [
            {**like, "sequence_number": at, "delta": text} for at, text in enumerate(found, number)
        ]
    return events
