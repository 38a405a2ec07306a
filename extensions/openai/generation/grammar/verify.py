"""Matches a whole answer of another server against its grammar: a server may leave a constraint out.

A grammar made of a schema fixes what the schema leaves free: white space, escapes, the order of properties.
So JSON is matched in the form that the grammar has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from .enforce import matches

BEGIN = "start: "
JSON = "%json "
CHOICES = ("allOf", "anyOf", "oneOf")
CONDITIONS = ("if", "then", "else")
MAX_BRANCHES = 256  # of a schema that are looked through for one object

Schemas = Sequence[Mapping[str, Any]]


def answers(text: str, grammar: str) -> bool:
    """Whether the text is a complete answer to the grammar."""
    rule = grammar.removeprefix(BEGIN)
    if not rule.startswith(JSON):
        return matches(text, grammar)
    try:
        value = json.loads(text)
        if matches(_written(value), grammar):
            return True
        schema = json.loads(rule.removeprefix(JSON))
        return matches(_written(_ordered(value, [schema], schema)), grammar)
    except (ValueError, RecursionError):
        return False


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _ordered(value: Any, schemas: Schemas, root: Mapping[str, Any]) -> Any:
    """The value with the properties of its objects in the order in which the schemas name them."""
    if isinstance(value, list):
        branches = list(_branches(schemas, root))
        return [_ordered(each, _of_item(branches, at), root) for at, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    branches = list(_branches(schemas, root))
    named = [name for each in branches for name in _mapping(each.get("properties"))]
    places = {name: at for at, name in reversed(list(enumerate(named)))}
    names = sorted(value, key=lambda name: places.get(name, len(named)))
    return {name: _ordered(value[name], _of_property(branches, name), root) for name in names}


def _branches(schemas: Schemas, root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas, and all that they refer to or combine for the same value."""
    pending, seen = list(reversed(schemas)), set[int]()
    while pending and len(seen) < MAX_BRANCHES:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        found = [each for word in CHOICES for each in node.get(word) or ()]
        found += [node[word] for word in CONDITIONS if word in node]
        if isinstance(node.get("$ref"), str):
            found.append(_referred(node["$ref"], root))
        pending += [each for each in reversed(found) if isinstance(each, dict)]


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    node: Any = root
    for step in unquote(reference.partition("#")[2]).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        node = node[int(key)] if isinstance(node, list) else _mapping(node).get(key)
    return node


def _of_property(branches: Schemas, name: str) -> Schemas:
    found = []
    for each in branches:
        known = _mapping(each.get("properties"))
        found.append(known[name] if name in known else each.get("additionalProperties"))
        found += _mapping(each.get("patternProperties")).values()
    return [each for each in found if isinstance(each, dict)]


def _of_item(branches: Schemas, at: int) -> Schemas:
    found = []
    for each in branches:
        first = each.get("prefixItems") or ()
        found.append(first[at] if at < len(first) else each.get("items"))
    return [each for each in found if isinstance(each, dict)]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
