"""How far a batch is, in one line of a terminal.

in_progress [##########..........] 1000/2000, 3 errors, 14.2/s, 70 s left
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TextIO

BAR_COLUMNS = 20
ERASE = "\x1b[K"


@dataclass(slots=True)
class Progress:
    """Writes to a terminal, and nothing to a file."""

    stream: TextIO
    _first: tuple[int, float] | None = field(default=None, init=False)
    """Lines that were done when this began to look, and when."""

    def show(self, batch: Any, now: float) -> None:
        """`now`: seconds of a clock that only goes on."""
        if self.stream.isatty():
            self.stream.write(f"\r{self.line(batch, now)}{ERASE}")
            self.stream.flush()

    def end(self) -> None:
        """Leave the line empty."""
        if self.stream.isatty():
            self.stream.write(f"\r{ERASE}")
            self.stream.flush()

    def line(self, batch: Any, now: float) -> str:
        """The line for a batch as the API shows it."""
        counts = batch["request_counts"]
        total, done = counts["total"], counts["completed"] + counts["failed"]
        if self._first is None:
            self._first = done, now
        line = str(batch["status"])
        if total:
            filled = BAR_COLUMNS * done // total
            line += f" [{'#' * filled}{'.' * (BAR_COLUMNS - filled)}]"
        line += f" {done}/{total}"
        if counts["failed"]:
            line += f", {counts['failed']} errors"
        answered, seconds = done - self._first[0], now - self._first[1]
        if answered and seconds:
            left = seconds / answered * (total - done)
            line += f", {answered / seconds:.1f}/s, {left:.0f} s left"
        return line
