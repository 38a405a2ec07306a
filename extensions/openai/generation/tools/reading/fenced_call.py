"""Calls that a model writes as a fenced block of code, which is then its whole answer.

Sample: a line with three backticks and `json`, then `{"name": "get_weather", "arguments": {"city": "Oslo"}}`,
then a line with three backticks.
"""

from __future__ import annotations

import re
from collections.abc import Callable

FENCE = "```"
FENCE_BEGIN = rf"{FENCE}(?:json|JSON)?\s{{0,64}}"
"""The pattern before the JSON."""
_OPENING = re.compile(rf"{FENCE_BEGIN}(?=[\[{{])")
_PARTIAL_OPENING = re.compile(rf"`{{1,3}}|{FENCE}(?:js?|jso|JS?|JSO)|{FENCE_BEGIN}")
_STEP = re.compile(r'[^"\\`]+|.', re.DOTALL)


class FencedCall:
    """Reads such an answer, starting after its opening fence. Adding text takes time linear in that text."""

    def __init__(self, is_call: Callable[[str], bool]) -> None:
        """`is_call`: whether the text between the fences is the JSON of calls."""
        self._is_call = is_call
        self._parts: list[str] = []
        self._in_string = self._escaped = False
        self._ticks = 0
        """Backticks of the closing fence so far."""
        self.possible = True
        """Whether the answer may still be only a fenced call."""

    @property
    def json(self) -> str:
        """The text between the fences."""
        return "".join(self._parts)

    @property
    def closed(self) -> bool:
        """Whether the answer is complete if nothing more comes."""
        return self.possible and self._ticks == len(FENCE)

    def push(self, text: str) -> bool:
        """Add text; return `possible`."""
        for step in _STEP.finditer(text):
            if not self.possible:
                break
            self.possible = self._read(step[0])
        return self.possible

    def _read(self, part: str) -> bool:
        if self._ticks == len(FENCE):
            return part.isspace()
        if part == "`" and not self._in_string:
            self._ticks += 1
            return self._ticks < len(FENCE) or self._is_call(self.json)
        if self._ticks:
            return False
        self._parts.append(part)
        if self._escaped:
            self._escaped = False
        elif part == "\\":
            self._escaped = self._in_string
        elif part == '"':
            self._in_string = not self._in_string
        return True


def text_after_fence(text: str) -> str | None:
    """The text after an answer's opening fence; None: there is none yet."""
    found = _OPENING.match(text)
    return None if found is None else text[found.end() :]


def may_be_fence(text: str) -> bool:
    """Whether a text may become an opening fence."""
    return _PARTIAL_OPENING.fullmatch(text) is not None
