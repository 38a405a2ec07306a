"""How far the prompt of a stream is read, under the names of llama.cpp's server: for `return_progress`."""

from __future__ import annotations

import time

from typing_extensions import TypedDict

from ..observability.record import RequestRecord


class PromptProgress(TypedDict):
    """Of the prompt, or of the one of several that is read furthest."""

    total: int
    """Its tokens."""
    cache: int
    """How many of them were in the cache."""
    processed: int
    """How many are read, those in the cache included."""
    time_ms: int
    """Milliseconds since it is read."""


class ProgressReporter:
    """Finds what is new. Belongs to the thread that reads the events."""

    def __init__(self, record: RequestRecord) -> None:
        self._record = record
        self._reported: PromptProgress | None = None
        self._is_read = False

    def new(self) -> PromptProgress | None:
        """How far it is, if that is further than the last time."""
        noted = self._record.progress
        if noted is None or self._is_read:
            return None
        progress: PromptProgress = {
            "total": noted["total"],
            "cache": noted["cache"],
            "processed": noted["processed"],
            "time_ms": noted["time_ms"],
        }
        if self._reported is not None and progress["processed"] <= self._reported["processed"]:
            return None
        self._reported = progress
        return progress

    def end(self) -> PromptProgress | None:
        """It is read, as the first token shows: that, unless it was reported."""
        record, reported = self._record, self._reported
        if self._is_read or not record.prompt_tokens:
            return None
        self._is_read = True
        if reported is not None and reported["processed"] >= reported["total"]:
            return None
        begun = record.started if record.admitted is None else record.admitted
        return {
            "total": record.prompt_tokens,
            "cache": record.cached_tokens,
            "processed": record.prompt_tokens,
            "time_ms": round((time.monotonic() - begun) * 1000),
        }
