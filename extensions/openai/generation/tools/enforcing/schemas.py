"""The schemas of tools whose calls are enforced.

The model sees a tool's schema unchanged. If its arguments are enforced, the schema must be enforceable, and
only properties that it names are allowed.
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
# With one of these keys, a schema allows other properties than those in `properties`.
_OPEN = (
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "$ref",
    *_PARTIAL,
    *_CHOICES,
)


def enforced_schema(schema: Mapping[str, Any], param: str) -> dict[str, Any]:
    """The schema for enforced arguments: an object with only the properties that `schema` names, unless it
    has `additionalProperties`. `schema` is not changed.

    Raises InvalidRequest if it is not the schema of an object.
    """
    if schema.get("type", "object") != "object":
        raise bad_request.not_one_of(f"{param}.type", schema.get("type"), ["object"])
    return {"type": "object", **closed(schema)}


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, without unnamed properties in its objects, unless they allow them explicitly."""
    shared = not _mentions(schema, "allOf")
    root: dict[str, Any] = {}
    pending: list[tuple[Mapping[str, Any], dict[str, Any], bool]] = [(schema, root, True)]

    def copied(value: Any, closes: bool) -> Any:
        if isinstance(value, list):
            return [copied(each, closes) if isinstance(each, dict) else each for each in value]
        if not isinstance(value, dict):
            return value
        copy: dict[str, Any] = {}
        pending.append((value, copy, closes))
        return copy

    while pending:
        node, copy, closes = pending.pop()
        for name, value in node.items():
            if name in _DATA:
                copy[name] = value
            elif name in _MAPS and isinstance(value, dict):
                inner = shared if name in _SHARED else True
                copy[name] = {key: copied(each, inner) for key, each in value.items()}
            elif name in _PARTIAL:
                copy[name] = copied(value, False)
            elif name in _CHOICES:
                copy[name] = copied(value, closes and "properties" not in node)
            else:
                copy[name] = copied(value, True)
        if (
            closes
            and isinstance(node.get("properties"), dict)
            and not any(k in node for k in _OPEN)
        ):
            copy["additionalProperties"] = False
    return root


def _mentions(schema: Mapping[str, Any], word: str) -> bool:
    """Whether a schema has this key, at any depth."""
    pending: list[Any] = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if word in node:
                return True
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    return False
