"""Checks JSON incrementally, character by character."""

from __future__ import annotations

import json
import re
from typing import Literal

State = Literal["value", "value or end", "key", "key or end", "colon", "comma or end", "over"]

_LITERALS = {"t": "rue", "f": "alse", "n": "ull"}
_DIGITS = frozenset("0123456789")
# The states of a number: by each state, the next state for each character that may follow.
_NUMBER: dict[str, dict[str, str]] = {
    "-": {"0": "zero", **dict.fromkeys("123456789", "whole")},
    "zero": {".": ".", "e": "e", "E": "e"},
    "whole": {**dict.fromkeys(_DIGITS, "whole"), ".": ".", "e": "e", "E": "e"},
    ".": dict.fromkeys(_DIGITS, "fraction"),
    "fraction": {**dict.fromkeys(_DIGITS, "fraction"), "e": "e", "E": "e"},
    "e": {**dict.fromkeys(_DIGITS, "exponent"), "+": "sign", "-": "sign"},
    "sign": dict.fromkeys(_DIGITS, "exponent"),
    "exponent": dict.fromkeys(_DIGITS, "exponent"),
}
_NUMBER_ENDS = ("zero", "whole", "fraction", "exponent")
_BEGINS_NUMBER = {"-": "-", **_NUMBER["-"]}
_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')  # in a string
_ESCAPE = re.compile(r'["\\/bfnrt]|u[0-9a-fA-F]{4}')
_PARTIAL_ESCAPE = re.compile(r"u[0-9a-fA-F]{0,3}")
MAX_DEPTH = 500


class JSONScanner:
    """Reads one object. `valid` becomes false at the first character that is not valid JSON there."""

    def __init__(self) -> None:
        self.valid = True
        self.over = False
        """Whether the object is complete."""
        self.values = 0
        """The number of values inside it, including a partial one."""
        self._state: State = "value"
        self._stack: list[str] = []
        self._string = False
        self._escape: str | None = None
        self._number = ""
        """The state of the number being read; empty outside of numbers."""
        self._literal = ""
        """The rest of the `true`, `false` or `null` being read."""

    @property
    def in_string(self) -> bool:
        """Whether the position is inside a string, but not inside an escape."""
        return self._string and self._escape is None

    def push(self, text: str) -> int:
        """How many characters of `text` belong to the object and are valid."""
        at = 0
        while at < len(text) and self.valid and not self.over:
            plain = _PLAIN.match(text, at) if self.in_string else None
            if plain:
                at = plain.end()
                continue
            self._read(text[at])
            at += self.valid
        return at

    def repair(self, character: str) -> str | None:
        """Accept the invalid character, and return its JSON: a control character in a string, or a character
        after a stray backslash there. None: it cannot be repaired."""
        if self.valid or not self._string:
            return None
        repaired = json.dumps(character, ensure_ascii=False)[1:-1]
        if self._escape is not None:
            if len(self._escape) > 1:  # an escape like \\u00e9
                return None
            repaired = "\\" + repaired
        self.valid, self._escape = True, None
        return repaired

    def _read(self, character: str) -> None:
        if self._string:
            self._read_string(character)
            return
        if self._literal:
            self.valid = character == self._literal[0]
            self._literal = self._literal[1:]
            return
        if self._number:
            following = _NUMBER[self._number].get(character, "")
            if following or self._number not in _NUMBER_ENDS:
                self.valid, self._number = bool(following), following
                return
            self._number = ""
        if character not in " \t\r\n":
            self._read_mark(character)

    def _read_string(self, character: str) -> None:
        if self._escape is not None:
            self._escape += character
            if _ESCAPE.fullmatch(self._escape):
                self._escape = None
            elif not _PARTIAL_ESCAPE.fullmatch(self._escape):
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
            if self._stack[-1:] != ["{" if character == "}" else "["]:
                self.valid = False
                return
            self._stack.pop()
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
        elif character in _LITERALS:
            self._literal, self._state = _LITERALS[character], "comma or end"
        elif character in _BEGINS_NUMBER:
            self._number, self._state = _BEGINS_NUMBER[character], "comma or end"
        else:
            self.valid = False
        self.valid = self.valid and len(self._stack) <= MAX_DEPTH
