"""Text of an answer that is held back until it is known what it is."""

from __future__ import annotations

from collections.abc import Sequence


class HeldText:
    """What came and was not read yet. Adding takes time in proportion to what is added."""

    def __init__(self) -> None:
        self.text = ""
        """What is held, as of the last `add` that returned true."""
        self._later: list[str] = []
        """What came behind it since."""
        self._marks: Sequence[str] | None = None
        self._tail = ""

    def wait_for(self, marks: Sequence[str]) -> None:
        """Until there is one of the marks behind what is held, nothing that is added needs to be read. With
        no marks: nothing before the end of the answer."""
        self._marks = marks
        self._tail = self.text

    def read_next(self) -> None:
        """Wait no longer: read what is added next."""
        self._marks = None

    def add(self, text: str, *, last: bool) -> bool:
        """Whether there is something new to read; at the end (`last`) there always is."""
        if not last and not self._matters(text):
            self._later.append(text)
            return False
        self.text = "".join((self.text, *self._later, text))
        self._later.clear()
        self._marks = None
        return True

    def _matters(self, text: str) -> bool:
        if self._marks is not None:
            size = max(map(len, self._marks), default=0)
            self._tail = self._tail[max(0, len(self._tail) - size + 1) :] + text
            return any(mark in self._tail for mark in self._marks)
        # More spaces behind spaces decide nothing.
        return not (text.isspace() and self.text.isspace())
