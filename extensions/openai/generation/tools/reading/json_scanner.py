"""Checks JSON incrementally, character by character, and mends what models write in its place."""

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
_PLAIN = {
    '"': re.compile(r'[^"\\\x00-\x1f]+'),
    "'": re.compile(r"""[^"'\\\x00-\x1f]+"""),
}  # in a string, by the quote that it began with
_SPACES = " \t\r\n"
_PYTHON = {"True": "true", "False": "false", "None": "null"}
"""Python's words, and their JSON."""
_WORDS = {word[0]: word for word in _PYTHON}
_CLOSING = {"{": "}", "[": "]"}
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
        self._quote = '"'
        """What ends the string."""
        self._escape: str | None = None
        self._number = ""
        """The state of the number being read; empty outside of numbers."""
        self._literal = ""
        """The rest of the `true`, `false` or `null` being read."""
        self._word = self._unread = ""
        """A word of Python, and the rest of it; its JSON is written once it is complete."""
        self._spaced = False
        """Whether the last character was a space between values."""
        self.after_comma = False
        """Whether nothing but spaces has come since the last comma between values."""
        self.closed = False
        """Whether the last character that was repaired has ended an object or a list."""
        self.ending = False
        """Whether brackets were missing before another one: it is clear what is meant if all that follows are
        brackets."""

    @property
    def in_string(self) -> bool:
        """Whether the position is inside a string, but not inside an escape."""
        return self._string and self._escape is None

    @property
    def unwritten(self) -> str:
        """The beginning of a word of Python that is not complete."""
        return self._word.removesuffix(self._unread) if self._unread else ""

    def push(self, text: str, at: int = 0) -> int:
        """Where in `text`, read from `at` on, the object ends, or what is valid of it."""
        while at < len(text) and self.valid and not self.over:
            plain = _PLAIN[self._quote].match(text, at) if self.in_string else None
            if plain:
                at = plain.end()
                continue
            self._read(text[at])
            at += self.valid
        return at

    def repair(self, character: str) -> str | None:
        """Accept the invalid character, and return its JSON: a control character or a quote in a string, a
        character after a stray backslash there, a single quote around one, Python's True, False and None, a
        value behind a space in place of a comma, a bracket where others are missing, or after a comma. None:
        it cannot be repaired."""
        if self.valid:
            return None
        self.closed = False
        repaired = self._repair_string(character) if self._string else self._repair_mark(character)
        self.valid = repaired is not None
        return repaired

    def close(self) -> str:
        """End the object here; return the brackets that it needs, empty where a value is not complete."""
        inside = self._string or self._literal or self._unread
        if inside or (self._number and self._number not in _NUMBER_ENDS) or not self._may_end():
            return ""
        self.valid = True
        return self._close_down_to("{", all_of_them=True)

    def _repair_string(self, character: str) -> str | None:
        if self._escape is None:
            if character == self._quote:  # a single one, which JSON does not have
                self._string = False
                return '"'
        elif self._escape != character:  # an escape like \\u00e9
            return None
        elif character == "'":
            self._escape = None
            return "u0027"  # behind its backslash, which was written
        escaped = json.dumps(character, ensure_ascii=False)[1:-1]
        repaired = escaped if self._escape is None else "\\" + escaped
        self._escape = None
        return repaired

    def _repair_mark(self, character: str) -> str | None:
        if self._unread:
            if not self._unread.startswith(character):
                return None
            self._unread = self._unread[1:]
            self.values += not self._unread
            return "" if self._unread else _PYTHON[self._word]
        if self._literal or self._number:
            return None
        if character in "}]":
            opening = "{" if character == "}" else "["
            if opening not in self._stack or not self._may_end():
                return None
            self.closed = True
            self.ending = self.ending or opening != self._stack[-1]
            return self._close_down_to(opening)
        if self.ending:
            return None
        if character == "'" and self._stack and self._state not in ("colon", "comma or end"):
            self._begin_string(character)
            return '"'
        if character == '"' and self._stack and self._state == "comma or end" and self._spaced:
            self._state = "key" if self._stack[-1] == "{" else "value"
            self._begin_string(character)
            return ',"'
        if character in _WORDS and self._stack and self._state in ("value", "value or end"):
            self._state, self.after_comma = "comma or end", False
            self._word = _WORDS[character]
            self._unread = self._word[1:]
            self._spaced = False
            return ""
        return None

    def _may_end(self) -> bool:
        """Whether the innermost object or list may end here, or could without the comma before."""
        complete = self._state in ("comma or end", "key or end", "value or end")
        return bool(self._stack) and (complete or self.after_comma)

    def _close_down_to(self, opening: str, *, all_of_them: bool = False) -> str:
        closing = ""
        while self._stack:
            last = self._stack.pop()
            closing += _CLOSING[last]
            if last == opening and not all_of_them:
                break
        self._number, self.after_comma, self._spaced = "", False, False
        self._state, self.over = "comma or end", not self._stack
        return closing

    def _begin_string(self, quote: str) -> None:
        is_key = self._state in ("key", "key or end")
        self.values += not is_key
        self._string, self._quote, self.after_comma, self._spaced = True, quote, False, False
        self._state = "colon" if is_key else "comma or end"

    def _read(self, character: str) -> None:
        if self._string:
            self._read_string(character)
            return
        if self._unread:
            self.valid = False
            return
        if self._literal:
            self.valid = character == self._literal[0]
            self._literal = self._literal[self.valid :]
            return
        if self._number:
            following = _NUMBER[self._number].get(character, "")
            if following or self._number not in _NUMBER_ENDS:
                self.valid, self._number = bool(following), following or self._number
                return
            self._number = ""
        if character in _SPACES:
            self._spaced = True
        elif self.ending and character not in "}]":
            self.valid = False
        else:
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
        elif character == self._quote == '"':
            self._string = False
        elif character < " " or character in (self._quote, '"'):
            self.valid = False

    def _read_mark(self, character: str) -> None:
        """Nothing changes where it is not valid, so that it can be repaired."""
        state = self._state
        if character in "}]" and state in ("comma or end", "key or end", "value or end"):
            self.valid = self._stack[-1:] == ["{" if character == "}" else "["]
            if self.valid:
                self._close_down_to(self._stack[-1])
        elif state == "comma or end":
            self.valid = self.after_comma = character == ","
            if self.valid:
                self._state = "key" if self._stack[-1] == "{" else "value"
            return
        elif state == "colon":
            self.valid = character == ":"
            self._state = "value" if self.valid else state
        elif state in ("key", "key or end"):
            self.valid = character == '"'
            if self.valid:
                self._begin_string(character)
        elif not self._stack and character != "{":
            self.valid = False
        else:
            self._begin_value(character)
        self.after_comma = self.after_comma and not self.valid

    def _begin_value(self, character: str) -> None:
        if character == '"':
            self._begin_string(character)
            return
        is_inner = bool(self._stack)
        if character == "{":
            self._stack.append(character)
            self._state = "key or end"
        elif character == "[":
            self._stack.append(character)
            self._state = "value or end"
        elif character in _LITERALS:
            self._literal, self._state = _LITERALS[character], "comma or end"
        elif character in _BEGINS_NUMBER:
            self._number, self._state = _BEGINS_NUMBER[character], "comma or end"
        else:
            self.valid = False
            return
        self.values += is_inner
        self._spaced = False
        self.valid = len(self._stack) <= MAX_DEPTH
