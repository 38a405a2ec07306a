"""Converts arguments that a model writes without JSON's quotes to the types of their schema.

Sample, of Qwen3-Coder: `<parameter=days>\n3\n</parameter>` is 3 for an integer and "3" for a string.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ....system import python_ast

_TYPES: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
_PYTHON = {"True": True, "False": False, "None": None}
_NOT_READ = object()
MAX_SCHEMAS = 64  # visited for one argument


def kinds_of(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """The types that a schema allows; empty if it does not say. `root` has the definitions."""
    found: set[str] = set()
    waiting = [schema]
    for _ in range(MAX_SCHEMAS):
        if not waiting:
            return frozenset(found)
        node = waiting.pop()
        if not isinstance(node, dict):
            return frozenset()
        branches = node.get("anyOf", node.get("oneOf"))
        if "type" in node:
            kind = node["type"]
            found.update([kind] if isinstance(kind, str) else map(str, kind or ()))
        elif isinstance(node.get("enum"), list):
            found.update(_TYPES.get(type(each), "") for each in node["enum"])
        elif "const" in node:
            found.add(_TYPES.get(type(node["const"]), ""))
        elif isinstance(node.get("$ref"), str):
            waiting.append(_definition(node["$ref"], root))
        elif isinstance(branches, list):
            waiting += branches
        else:
            return frozenset()
    return frozenset()


def _definition(ref: str, root: Mapping[str, Any]) -> Any:
    """The target of a reference such as `#/$defs/City`."""
    at: Any = root
    for key in ref.removeprefix("#/").split("/"):
        at = at.get(key) if isinstance(at, Mapping) else None
    return at


def typed_value(text: str, kinds: frozenset[str]) -> Any:
    """The value of a text, if of an allowed type; otherwise the text."""
    if kinds == {"string"}:
        return text
    value = _read(text)
    if value is _NOT_READ:
        value = _read_python(text, kinds)
    if value is _NOT_READ:
        return text
    kind = _TYPES[type(value)]
    is_allowed = kind in kinds or (kind == "integer" and "number" in kinds)
    return text if "string" in kinds and (kind == "string" or not is_allowed) else value


def _read(text: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return _NOT_READ
    return value


def _read_python(text: str, kinds: frozenset[str]) -> Any:
    """Reads Python that models write instead of JSON: `True`, `{'city': None}`."""
    word = text.strip()
    if word in _PYTHON:
        value = _PYTHON[word]
        return value if _TYPES[type(value)] in kinds else _NOT_READ
    if "string" in kinds or not kinds & {"array", "object"}:
        return _NOT_READ
    try:
        value = python_ast.literal(word)
        json.dumps(value, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return _NOT_READ
    return value if _TYPES.get(type(value)) in kinds else _NOT_READ
