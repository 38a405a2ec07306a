"""Progress of a long step on standard error: one moving line on a terminal, few lines in a log."""

import sys
import time
from typing import TextIO

from host import output

FIRST, EVERY = 2.0, 15.0
"""Seconds until the first line in a log, and between the next; short steps write nothing there."""
ON_TERMINAL = 0.2
"""Seconds between two looks of the line on a terminal."""


class Progress:
    """How far something of `total` bytes is (None: unknown). Used by one thread at a time."""

    def __init__(self, what: str, total: int | None, stream: TextIO | None = None) -> None:
        self._what = what
        self._total = total
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty() and not output.is_json()
        self._next = time.monotonic() + (ON_TERMINAL if self._terminal else FIRST)
        self._shown = False

    def update(self, done: int) -> None:
        """Say that `done` bytes are done; writes only when it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (ON_TERMINAL if self._terminal else EVERY)
        of = f" of {readable(self._total)}" if self._total else ""
        line = f"{self._what}: {readable(done)}{of}"
        if self._terminal:
            # Spaces, not an escape sequence, wipe what a longer line left: that works on any terminal.
            print(f"\r{line:<70}", end="", file=self._stream, flush=True)
        else:
            output.note(line, self._stream)
        self._shown = True

    def close(self) -> None:
        """Leave the moving line, so that what follows begins on one of its own."""
        if self._shown and self._terminal:
            print(file=self._stream, flush=True)


def readable(count: int) -> str:
    """A number of bytes for people: `900 bytes`, `10.49 MB`, `4.4 GB`."""
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
