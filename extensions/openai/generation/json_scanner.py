"""JSON that is checked while it comes in, character by character."""

from __future__ import annotations

import re
from typing import Literal

State = Literal["value", "value or end", "key", "key or end", "colon", "comma or end", "over"]

_SCALAR = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|true|false|null")
# Every beginning of one.
_SCALAR_BEGUN = re.compile(
    r"-?((0|[1-9]\d*)(\.\d*)?([eE][+-]?\d*)?)?|t(r(ue?)?)?|f(a(l(se?)?)?)?|n(u(ll?)?)?"
)
_ESCAPE = re.compile(r'["\\/bfnrt]|u[0-9a-fA-F]{4}')
_ESCAPE_BEGUN = re.compile(r"u[0-9a-fA-F]{0,3}")
MAX_DEPTH = 500


class JSONScanner:
    """Reads one object. `valid` turns false at the first character that no JSON can have there."""

    def __init__(self) -> None:
        self.valid = True
        self.over = False
        """Whether the object is complete."""
        self.values = 0
        """How many values inside of it have begun."""
        self._state: State = "value"
        self._stack: list[str] = []
        self._string = False
        self._escape: str | None = None
        self._scalar = ""

    def push(self, text: str) -> int:
        """How many characters of `text` belong to the object and are valid."""
        for at, character in enumerate(text):
            if self.over or not self.valid:
                return at
            self._read(character)
            if not self.valid:
                return at
        return len(text)

    def _read(self, character: str) -> None:
        if self._string:
            self._read_string(character)
            return
        if self._scalar:
            begun = self._scalar + character
            if _SCALAR_BEGUN.fullmatch(begun):
                self._scalar = begun
                return
            if not _SCALAR.fullmatch(self._scalar):
                self.valid = False
                return
            self._scalar, self._state = "", "comma or end"
        if character in " \t\r\n":
            return
        self._read_mark(character)

    def _read_string(self, character: str) -> None:
        if self._escape is not None:
            self._escape += character
            if _ESCAPE.fullmatch(self._escape):
                self._escape = None
            elif not _ESCAPE_BEGUN.fullmatch(self._escape):
                self.valid = False
        elif character == "\\":
            self._escape = ""
        elif character == '"':
            self._string = False
        elif character < " ":
            self.valid = False

    def _read_mark(self, character: str) -> None:
        state = self._state
        if character in "}]" and state in ("comma or end", "key or end", "value or end"):
            matches = self._stack and self._stack.pop() == ("{" if character == "}" else "[")
            if not matches:
                self.valid = False
            self._state, self.over = "comma or end", not self._stack
        elif state == "comma or end":
            self.valid = character == ","
            self._state = "key" if self._stack[-1] == "{" else "value"
        elif state == "colon":
            self.valid = character == ":"
            self._state = "value"
        elif state in ("key", "key or end"):
            self.valid, self._string, self._state = character == '"', True, "colon"
        elif not self._stack and character != "{":
            self.valid = False
        else:
            self._begin_value(character)

    def _begin_value(self, character: str) -> None:
        self.values += bool(self._stack)
        if character == "{":
            self._stack.append(character)
            self._state = "key or end"
        elif character == "[":
            self._stack.append(character)
            self._state = "value or end"
        elif character == '"':
            self._string, self._state = True, "comma or end"
        elif _SCALAR_BEGUN.fullmatch(character):
            self._scalar = character
        else:
            self.valid = False
        self.valid = self.valid and len(self._stack) <= MAX_DEPTH
