"""The schemas of tools whose calls are enforced.

The model sees a tool's schema as it was sent. If its arguments are enforced, the schema must be one that can
be enforced, and only properties that it names are allowed.
Source: OpenAI guide "Function calling", "Strict mode".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....schemas import bad_request

_DATA = ("const", "enum", "default", "examples")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SHARED = ("$defs", "definitions")
_PARTIAL = ("allOf", "if", "then", "else", "not")
_CHOICES = ("anyOf", "oneOf")
# Beside these, what a schema calls its properties is not all that it allows.
_OPEN = (
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "$ref",
    *_PARTIAL,
    *_CHOICES,
)


def enforced_schema(schema: Mapping[str, Any], param: str) -> dict[str, Any]:
    """The schema that enforced arguments match: an object with nothing in it that the schema does not name,
    unless it says `additionalProperties`. `schema` itself is left as it is.

    Raises InvalidRequest where it is not the schema of an object.
    """
    if schema.get("type", "object") != "object":
        raise bad_request.not_one_of(f"{param}.type", schema.get("type"), ["object"])
    return {"type": "object", **closed(schema)}


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with nothing in its objects that they do not name, unless they say so."""
    shared = not _mentions(schema, "allOf")
    root: dict[str, Any] = {}
    waiting: list[tuple[Mapping[str, Any], dict[str, Any], bool]] = [(schema, root, True)]

    def copied(value: Any, closes: bool) -> Any:
        if isinstance(value, list):
            return [copied(each, closes) if isinstance(each, dict) else each for each in value]
        if not isinstance(value, dict):
            return value
        made: dict[str, Any] = {}
        waiting.append((value, made, closes))
        return made

    while waiting:
        node, made, closes = waiting.pop()
        for name, value in node.items():
            if name in _DATA:
                made[name] = value
            elif name in _MAPS and isinstance(value, dict):
                inner = shared if name in _SHARED else True
                made[name] = {key: copied(each, inner) for key, each in value.items()}
            elif name in _PARTIAL:
                made[name] = copied(value, False)
            elif name in _CHOICES:
                made[name] = copied(value, closes and "properties" not in node)
            else:
                made[name] = copied(value, True)
        if (
            closes
            and isinstance(node.get("properties"), dict)
            and not any(k in node for k in _OPEN)
        ):
            made["additionalProperties"] = False
    return root


def _mentions(schema: Mapping[str, Any], word: str) -> bool:
    """Whether a schema has this key, at any depth."""
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if word in node:
                return True
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return False
