"""Proves that alternatives of a schema exclude each other: then `oneOf` means the same as `anyOf`.

llguidance accepts a `oneOf` only if it can prove that no value matches two of its schemas: from types,
`const` and `enum`, or a required property of objects. It ignores patterns, lengths, references, forbidden
properties, and the type beside the `oneOf`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from math import prod
from operator import and_
from typing import Any, Final
from urllib.parse import unquote

from pydantic_core import SchemaError, SchemaValidator, core_schema

from .regex import ascii_classes

MAX_STEPS = 5_000  # for one schema, all of its `oneOf`s together
MAX_PATTERNS = 8  # that are tried for one schema
MAX_PATTERN_CHARACTERS = 200  # of such a pattern
MAX_PATTERN_REPEATS = 100  # the product of all counts in it
MAX_LEVELS = 8  # of schemas inside the alternatives

_NUMBERS = frozenset({"integer", "fraction"})
_ALL: Final = frozenset({"object", "array", "string", "boolean", "null", *_NUMBERS})
_COUNT = re.compile(r"\{(\d+)(?:,(\d*))?\}")

Facts = Sequence[Any]
"""Schemas that a value must all match."""


class Exclusion:
    """Proves exclusions in one schema. What it cannot prove within its bounds it denies."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = MAX_STEPS
        self._patterns: dict[str, SchemaValidator | None] = {}

    def holds(self, alternatives: Sequence[Any], beside: Mapping[str, Any]) -> bool:
        """Whether no value matches two of these schemas, given the type `beside` them."""
        shared = {name: beside[name] for name in ("type",) if name in beside}
        each = [{"allOf": [one, shared]} for one in alternatives]
        return bool(each) and all(
            self._exclude(one, other, MAX_LEVELS)
            for at, one in enumerate(each)
            for other in each[:at]
        )

    def _exclude(self, one: Any, other: Any, levels: int) -> bool:
        self._steps -= 1
        if levels < 0 or self._steps < 0:
            return False
        first, second = self._facts(one), self._facts(other)
        if any(fact is False for fact in (*first, *second)) or not _types(first) & _types(second):
            return True
        return self._excludes(first, second, levels) or self._excludes(second, first, levels)

    def _excludes(self, these: Facts, others: Facts, levels: int) -> bool:
        """Whether no value of `these` matches `others`, proved from `these`."""
        rest = {"allOf": list(others)}
        for values in filter(None, map(_values, these)):
            if all(self._rejects(others, value, levels) for value in values):
                return True
        for choices in _choices(these):
            if all(self._exclude(choice, rest, levels - 1) for choice in choices):
                return True
        return _types(these) == {"object"} and any(
            self._exclude(self._property(these, name), self._property(others, name), levels - 1)
            for name in _required(these)
        )

    def _rejects(self, facts: Facts, value: Any, levels: int) -> bool:
        """Whether a value provably does not match all of these."""
        self._steps -= 1
        if levels < 0 or self._steps < 0:
            return False
        if _kind(value) not in _types(facts):
            return True
        for values in filter(None, map(_values, facts)):
            self._steps -= len(values) // 16
            if value not in values:
                return True
        if isinstance(value, str) and any(self._rejects_text(fact, value) for fact in facts):
            return True
        for choices in _choices(facts):
            if all(self._rejects(self._facts(each), value, levels - 1) for each in choices):
                return True
        if not isinstance(value, dict):
            return False
        return any(name not in value for name in _required(facts)) or any(
            self._rejects(self._facts(self._property(facts, name)), each, levels - 1)
            for name, each in value.items()
        )

    def _rejects_text(self, fact: Mapping[str, Any], text: str) -> bool:
        """Whether a text is too short or too long, or does not match the pattern."""
        low, high = fact.get("minLength"), fact.get("maxLength")
        if isinstance(low, (int, float)) and len(text) < low:
            return True
        if isinstance(high, (int, float)) and len(text) > high:
            return True
        pattern = fact.get("pattern")
        if not isinstance(pattern, str):
            return False
        if pattern not in self._patterns and len(self._patterns) < MAX_PATTERNS:
            self._patterns[pattern] = _matcher(pattern)
        matcher = self._patterns.get(pattern)
        return matcher is not None and not matcher.isinstance_python(text)

    def _facts(self, schema: Any) -> list[Any]:
        """All schemas that a value of this one must match: itself, its reference, and its `allOf`. Those
        beyond the bounds are ignored."""
        found: list[Any] = []
        stack, followed = [schema], set[str]()
        while stack and self._steps > 0:
            self._steps -= 1
            node = stack.pop()
            if node is False:
                return [False]
            if not isinstance(node, dict):
                continue
            found.append(node)
            reference = node.get("$ref")
            if isinstance(reference, str) and reference not in followed:
                followed.add(reference)
                stack.append(self._resolve(reference))
            if isinstance(node.get("allOf"), list):
                stack += node["allOf"]
        return found

    def _property(self, facts: Facts, name: str) -> Any:
        """The schema that an object's property must match."""
        found: list[Any] = []
        for fact in facts if self._steps > 0 else ():
            self._steps -= 1
            named = fact.get("properties")
            if isinstance(named, dict) and name in named:
                found.append(named[name])
            elif fact.get("additionalProperties") is False and not fact.get("patternProperties"):
                return False
        return {"allOf": found}

    def _resolve(self, reference: str) -> Any:
        """The target of a reference into the schema; an empty schema for any other."""
        if not reference.startswith("#/"):
            return {}
        node = self._root
        for step in unquote(reference).split("/")[1:]:
            node = (
                node.get(step.replace("~1", "/").replace("~0", "~"), {})
                if isinstance(node, dict)
                else {}
            )
        return node


def _matcher(pattern: str) -> SchemaValidator | None:
    """A linear-time matcher of a pattern; None if it is too large or invalid."""
    repeats = prod(int(high or low) or 1 for low, high in _COUNT.findall(pattern))
    if len(pattern) > MAX_PATTERN_CHARACTERS or repeats > MAX_PATTERN_REPEATS:
        return None
    try:
        return SchemaValidator(core_schema.str_schema(pattern=ascii_classes(pattern)))
    except SchemaError:
        return None


def _types(facts: Facts) -> frozenset[str]:
    return reduce(and_, map(_types_of, facts), _ALL)


def _types_of(fact: Any) -> frozenset[str]:
    given = fact.get("type") if isinstance(fact, dict) else None
    if given is None:
        return _ALL
    names = given if isinstance(given, list) else [given]
    return frozenset(names) - {"number"} | (_NUMBERS if "number" in names else frozenset())


def _values(fact: Any) -> list[Any]:
    """The only values that a schema allows; empty if it does not list them."""
    if "const" in fact:
        return [fact["const"]]
    return fact["enum"] if isinstance(fact.get("enum"), list) else []


def _choices(facts: Facts) -> list[list[Any]]:
    """Lists of schemas; of each list, one schema must match."""
    given = [fact.get(word) for fact in facts for word in ("anyOf", "oneOf")]
    return [each for each in given if isinstance(each, list) and each]


def _required(facts: Facts) -> list[str]:
    given = [fact["required"] for fact in facts if isinstance(fact.get("required"), list)]
    return [name for names in given for name in names if isinstance(name, str)]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if value == value // 1 else "fraction"
    names = {str: "string", list: "array", dict: "object", type(None): "null"}
    return names[type(value)]
