"""The arguments of a JSON call while they are written, mended where models slip.

`{'city': 'Oslo', "days": [1, 2], "wind": True,}` becomes `{"city": "Oslo", "days": [1, 2], "wind": true}`.
"""

from __future__ import annotations

from .json_scanner import JSONScanner

MAX_FIRST_KEY_CHARS = 1000  # of arguments, up to their first value


class StreamedArguments:
    """One object. What it returns does not depend on how the text is split into pieces."""

    def __init__(self) -> None:
        self._scanner = JSONScanner()
        self._held = self._mended = ""
        """What is not returned yet, as it was written and as JSON: a comma and the spaces after it, until
        something follows that is no end; or the end, from the first bracket on where another is missing."""
        self.has_slips = False
        """Whether something was mended."""

    @property
    def valid(self) -> bool:
        """False from the first character on that cannot be mended."""
        return self._scanner.valid

    @property
    def over(self) -> bool:
        """Whether the object is complete."""
        return self._scanner.over

    @property
    def ends_clearly(self) -> bool:
        """Whether it has all of its brackets. If not, what follows may have been meant to be part of it."""
        return not self._scanner.ending

    @property
    def has_value(self) -> bool:
        """Whether a value inside of it has begun."""
        return self._scanner.values > 0

    def push(self, text: str) -> tuple[int, str]:
        """How many characters of `text` belong to the object, and their JSON."""
        scanner, written, at = self._scanner, list[str](), 0
        while scanner.valid and not scanner.over and at < len(text):
            begin, at = at, scanner.push(text, at)
            self._read(text[begin:at], written)
            if scanner.valid:
                continue
            after_comma = scanner.after_comma
            mended = scanner.repair(text[at])
            if mended is not None:
                self.has_slips = True
                if after_comma and scanner.closed:
                    self._mended = ""
                self._held, self._mended = self._held + text[at], self._mended + mended
                at += 1
                if not scanner.ending:
                    self._release(written)
        if scanner.over:
            self._release(written)
        return at, "".join(written)

    def _read(self, text: str, written: list[str]) -> None:
        """Take what is JSON as it is."""
        comma = text.rfind(",") if self._scanner.after_comma else -1
        if comma >= 0:
            written += (self._mended, text[:comma])
            self._held = self._mended = text[comma:]
            return
        self._held, self._mended = self._held + text, self._mended + text
        if not (self._scanner.after_comma or self._scanner.ending):
            self._release(written)

    def _release(self, written: list[str]) -> None:
        written.append(self._mended)
        self._held = self._mended = ""

    def rest(self) -> str:
        """What is held back, when nothing more is read."""
        rest, self._held, self._mended = self._held + self._scanner.unwritten, "", ""
        return rest

    def missing(self) -> str:
        """The brackets that end the object here; empty inside of a value."""
        after_comma = self._scanner.after_comma
        closing = self._scanner.close()
        if closing:
            self.has_slips = True
            closing = closing if after_comma else self._mended + closing
            self._held = self._mended = ""
        return closing


def begins_like_json(arguments: str) -> bool | None:
    """Whether arguments can be read up to their first value; None: not known yet."""
    begun = StreamedArguments()
    for character in arguments[:MAX_FIRST_KEY_CHARS]:
        begun.push(character)
        if not begun.valid:
            return False
        if begun.has_value or begun.over:
            return True
    return None if len(arguments) < MAX_FIRST_KEY_CHARS else False
