"""Regular expressions as clients mean them, in the words of the library that enforces them."""

from __future__ import annotations

import re
from typing import Any


def regex_terminal(pattern: str) -> str:
    """A regular expression as a Lark terminal, between slashes."""
    between = re.sub(r"\\.|/", lambda m: r"\/" if m[0] == "/" else m[0], pattern, flags=re.DOTALL)
    return "/" + ascii_classes(between).replace("\n", r"\n") + "/"


_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\r\f\v"}


def ascii_classes(pattern: str) -> str:
    """A pattern whose \\d, \\w and \\s mean what JSON Schema's do: ASCII only. The enforcing library takes
    them for all of Unicode."""
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


# The characters of RFC 3986 behind a scheme; llama.cpp's side does not know the format of this name.
URI = r"^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+$"


NOWHERE = "\\x7f"  # the character DEL, which is in no text


def pattern_in_json(pattern: str) -> dict[str, Any]:
    """What stands in a schema for the pattern of a string.

    What JSON escapes (quotes, backslashes, control characters) makes llama.cpp's side lose what follows it,
    unless it is one of several characters; so it is given a companion, which is then forbidden.
    """
    plain = ascii_classes(pattern)
    written = _ONE.sub(lambda match: _accompanied(match[0]), plain)
    if written == plain:
        return {"pattern": plain}
    return {"pattern": written, "allOf": [{"pattern": f"^[^{NOWHERE}]*$"}]}


_ESCAPE = r"\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\."
# Within a class each character has one way to match only: else a class that never ends takes for ever.
_ONE = re.compile(rf"{_ESCAPE}|\[(?:[^\]\\]|\\.)*(?:\]|\Z)|.", re.DOTALL)
_ALONE = re.compile(rf"\[({_ESCAPE}|[^^\\])\]", re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", '"': '"', "\\": "\\"}


def _accompanied(one: str) -> str:
    """One character or class of a pattern, with a companion where JSON would escape it."""
    alone = _ALONE.fullmatch(one)
    character = _character(alone[1] if alone else one)
    if character is None or not (character in '"\\' or character < " "):
        return one
    return f"[\\x{ord(character):02x}{NOWHERE}]"


def _character(written: str) -> str | None:
    """The one character that a part of a pattern means; None for all else."""
    if len(written) == 1:
        return None if written == "\\" else written
    if written[0] != "\\":
        return None
    return chr(int(written[2:], 16)) if len(written) > 2 else _NAMED.get(written[1])
