"""Writes parts of Lark grammars in llguidance's dialect. Source: llguidance, docs/syntax.md."""

from __future__ import annotations

import json


def literal(text: str) -> str:
    """A literal text inside a rule."""
    # The library's lexer refuses this control character in strings; JSON does not escape it.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def class_member(character: str) -> str:
    """A literal character in a regular expression, inside or outside a class."""
    plain = character.isalnum() or character >= "\x80"
    return character if plain else f"\\x{ord(character):02x}"
