"""Parts of grammars in Lark, in llguidance's dialect. Source: llguidance, docs/syntax.md."""

from __future__ import annotations

import json


def literal(text: str) -> str:
    """A text as it stands, inside of a rule."""
    # The library's lexer takes this one control character in no string; JSON lets it stand.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def class_member(character: str) -> str:
    """A character as it stands in a regular expression, within a class or without."""
    plain = character.isalnum() or character >= "\x80"
    return character if plain else f"\\x{ord(character):02x}"
