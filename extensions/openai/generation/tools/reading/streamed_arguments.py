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
        self._comma = ""
        """A comma and the spaces after it, until something follows that is no end."""

    @property
    def valid(self) -> bool:
        """False from the first character on that cannot be mended."""
        return self._scanner.valid

    @property
    def over(self) -> bool:
        """Whether the object is complete."""
        return self._scanner.over

    @property
    def has_value(self) -> bool:
        """Whether a value inside of it has begun."""
        return self._scanner.values > 0

    def push(self, text: str) -> tuple[int, str]:
        """How many characters of `text` belong to the object, and their JSON."""
        scanner = self._scanner
        written, at = self._comma, 0
        while scanner.valid and not scanner.over and at < len(text):
            size = scanner.push(text[at:])
            written, at = written + text[at : at + size], at + size
            if scanner.valid:
                continue
            comma = scanner.after_comma
            mended = scanner.repair(text[at])
            if mended is not None:
                if comma and scanner.closed:
                    written = written[: written.rindex(",")]
                written, at = written + mended, at + 1
        end = written.rindex(",") if scanner.valid and scanner.after_comma else len(written)
        written, self._comma = written[:end], written[end:]
        return at, written

    def rest(self) -> str:
        """The JSON that is held back, when nothing more is read."""
        rest, self._comma = self._comma + self._scanner.unwritten, ""
        return rest

    def missing(self) -> str:
        """The brackets that end the object here; empty inside of a value."""
        closing = self._scanner.close()
        if closing:
            self._comma = ""
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
