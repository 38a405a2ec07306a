"""Which alternatives of a schema exclude each other: of such, `oneOf` allows what `anyOf` does.

llguidance takes a `oneOf` only where it sees by itself that no value matches two of its schemas: by their
types, by `const` and `enum`, by a required property of objects. It does not look at patterns, lengths,
references, properties that are forbidden, nor at the type that stands beside the `oneOf`.
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
MAX_PATTERN = 200  # characters of such a pattern
MAX_COPIES = 100  # of what it repeats: the counts within one another and beside, multiplied
MAX_LEVELS = 8  # of schemas within the alternatives

_NUMBERS = frozenset({"integer", "fraction"})
_ALL: Final = frozenset({"object", "array", "string", "boolean", "null", *_NUMBERS})
_COUNT = re.compile(r"\{(\d+)(?:,(\d*))?\}")

Facts = Sequence[Any]
"""Schemas that all hold for a value."""


class Exclusion:
    """Finds out what of one schema excludes each other. What it cannot prove, within bounds, it denies."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = MAX_STEPS
        self._patterns: dict[str, SchemaValidator | None] = {}

    def holds(self, alternatives: Sequence[Any], beside: Mapping[str, Any]) -> bool:
        """Whether no value matches two of these schemas, given the type that stands `beside` them."""
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
        """Whether each value of these is no value of the others, as far as these show it."""
        rest = {"allOf": list(others)}
        for values in filter(None, map(_values, these)):
            if all(self._denies(others, value, levels) for value in values):
                return True
        for choices in _choices(these):
            if all(self._exclude(choice, rest, levels - 1) for choice in choices):
                return True
        return _types(these) == {"object"} and any(
            self._exclude(self._property(these, name), self._property(others, name), levels - 1)
            for name in _required(these)
        )

    def _denies(self, facts: Facts, value: Any, levels: int) -> bool:
        """Whether a value surely does not match all of these."""
        self._steps -= 1
        if levels < 0 or self._steps < 0:
            return False
        if _kind(value) not in _types(facts):
            return True
        for values in filter(None, map(_values, facts)):
            self._steps -= len(values) // 16
            if value not in values:
                return True
        if isinstance(value, str) and any(self._is_other_text(fact, value) for fact in facts):
            return True
        for choices in _choices(facts):
            if all(self._denies(self._facts(each), value, levels - 1) for each in choices):
                return True
        if not isinstance(value, dict):
            return False
        return any(name not in value for name in _required(facts)) or any(
            self._denies(self._facts(self._property(facts, name)), each, levels - 1)
            for name, each in value.items()
        )

    def _is_other_text(self, fact: Mapping[str, Any], text: str) -> bool:
        """Whether a text is too short or too long, or has not the pattern."""
        least, most = fact.get("minLength"), fact.get("maxLength")
        if isinstance(least, (int, float)) and len(text) < least:
            return True
        if isinstance(most, (int, float)) and len(text) > most:
            return True
        pattern = fact.get("pattern")
        if not isinstance(pattern, str):
            return False
        if pattern not in self._patterns and len(self._patterns) < MAX_PATTERNS:
            self._patterns[pattern] = _matcher(pattern)
        matcher = self._patterns.get(pattern)
        return matcher is not None and not matcher.isinstance_python(text)

    def _facts(self, schema: Any) -> list[Any]:
        """The schemas that hold together where this one does: it, what it refers to, and its `allOf`. Of what
        is beyond the bounds nothing is known."""
        found: list[Any] = []
        waiting, followed = [schema], set[str]()
        while waiting and self._steps > 0:
            self._steps -= 1
            node = waiting.pop()
            if node is False:
                return [False]
            if not isinstance(node, dict):
                continue
            found.append(node)
            reference = node.get("$ref")
            if isinstance(reference, str) and reference not in followed:
                followed.add(reference)
                waiting.append(self._referred(reference))
            if isinstance(node.get("allOf"), list):
                waiting += node["allOf"]
        return found

    def _property(self, facts: Facts, name: str) -> Any:
        """What an object's property has to match."""
        found: list[Any] = []
        for fact in facts if self._steps > 0 else ():
            self._steps -= 1
            named = fact.get("properties")
            if isinstance(named, dict) and name in named:
                found.append(named[name])
            elif fact.get("additionalProperties") is False and not fact.get("patternProperties"):
                return False
        return {"allOf": found}

    def _referred(self, reference: str) -> Any:
        """What a reference into the schema points to; of any other nothing is known."""
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
    """Checks whether a text has a pattern, in time that its length bounds; None for a pattern that is no
    such."""
    copies = prod(int(most or least) or 1 for least, most in _COUNT.findall(pattern))
    if len(pattern) > MAX_PATTERN or copies > MAX_COPIES:
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
    """The only values that a schema allows; empty where it names none."""
    if "const" in fact:
        return [fact["const"]]
    return fact["enum"] if isinstance(fact.get("enum"), list) else []


def _choices(facts: Facts) -> list[list[Any]]:
    """Lists of schemas, one of each of which has to match."""
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
