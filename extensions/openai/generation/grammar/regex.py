"""Converts clients' regular expressions to the syntax of the library that enforces them."""

from __future__ import annotations

import re
from typing import Any


def regex_terminal(pattern: str) -> str:
    """A regular expression as a Lark terminal, between slashes."""
    between = re.sub(r"\\.|/", lambda m: r"\/" if m[0] == "/" else m[0], pattern, flags=re.DOTALL)
    return "/" + ascii_classes(between).replace("\n", r"\n") + "/"


_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\r\f\v"}


def ascii_classes(pattern: str) -> str:
    """Expand \\d, \\w and \\s to ASCII, as in JSON Schema. In the enforcing library they cover all of
    Unicode."""
    inside = False

    def written_out(match: re.Match[str]) -> str:
        nonlocal inside
        found = match[0]
        if found in "[]":
            inside = found == "[" or (inside and found != "]")
            return found
        name = found[1:]
        if name in _CLASSES:
            return _CLASSES[name] if inside else f"[{_CLASSES[name]}]"
        if name.lower() in _CLASSES and not inside:
            return f"[^{_CLASSES[name.lower()]}]"
        return found

    return re.sub(r"\\.|[\[\]]", written_out, pattern, flags=re.DOTALL)


# A scheme, then RFC 3986's characters; llama.cpp's library does not support the format `uri`.
URI = r"^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+$"


UNUSED = "\\x7f"  # the character DEL, which does not occur in text


def pattern_in_json(pattern: str) -> dict[str, Any]:
    """The keywords of a schema for the pattern of a string.

    After a character that JSON escapes (quote, backslash, control character) llama.cpp's library loses the
    rest of the pattern, unless it is in a class with others. So we put it into a class with UNUSED, and
    forbid UNUSED.
    """
    plain = ascii_classes(pattern)
    written = _ONE.sub(lambda match: _in_class(match[0]), plain)
    if written == plain:
        return {"pattern": plain}
    return {"pattern": written, "allOf": [{"pattern": f"^[^{UNUSED}]*$"}]}


_ESCAPE = r"\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\."
# Inside a class each character must match in one way only: else an unclosed class takes exponential time.
_ONE = re.compile(rf"{_ESCAPE}|\[(?:[^\]\\]|\\.)*(?:\]|\Z)|.", re.DOTALL)
_ALONE = re.compile(rf"\[({_ESCAPE}|[^^\\])\]", re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", '"': '"', "\\": "\\"}


def _in_class(one: str) -> str:
    """One character or class of a pattern, in a class with UNUSED if JSON would escape it."""
    alone = _ALONE.fullmatch(one)
    character = _character(alone[1] if alone else one)
    if character is None or not (character in '"\\' or character < " "):
        return one
    return f"[\\x{ord(character):02x}{UNUSED}]"


def _character(written: str) -> str | None:
    """The single character that part of a pattern matches; None if there is more than one."""
    if len(written) == 1:
        return None if written == "\\" else written
    if written[0] != "\\":
        return None
    return chr(int(written[2:], 16)) if len(written) > 2 else _NAMED.get(written[1])
