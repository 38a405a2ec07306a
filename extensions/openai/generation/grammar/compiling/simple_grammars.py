"""Recognises grammars so small and simple that reading one always takes little time and stack.

Most grammars of clients are like that. They need not be tried in a separate process (`compiler.py`), and do
not wait for those that are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_LENGTH = 8 << 10  # characters
MAX_RULES, MAX_PARTS = 64, 512
MAX_REPEATS = 128  # and only one repetition
MAX_SCHEMAS = 128  # including subschemas
MAX_DEPTH = 12  # of subschemas, following references
MAX_COUNT = 256  # of characters or members, in a keyword of a schema
MAX_COUNTS = 8  # how many such keywords
MAX_NUMBER = 2**53

_RULE = re.compile(r"([a-zA-Z_][a-zA-Z_0-9]*):[ ]*")
_PART = re.compile(
    r"""
      (?P<name> [a-zA-Z_][a-zA-Z_0-9]* ) (?![:\[])
    | (?P<text> " (?: [^"\\\n] | \\["\\/bfnrtu] )* " ) (?!i)
    | (?P<schema> %json[ ]+ ) (?= \{ )
    | (?P<repeated> \{0,[0-9]{1,3}\} )
    | [|()]
    """,
    re.VERBOSE,
)
_ANY = ("title", "description", "default", "examples", "$schema", "$comment", "x-guidance",
        "deprecated", "readOnly", "writeOnly", "required", "enum", "const", "minimum", "maximum")  # fmt: skip
"""Keywords with flat values, which are short because the whole grammar is."""
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_LISTS = ("anyOf",)
_NAMED = ("properties", "$defs", "definitions")
_DECODER = json.JSONDecoder()


def is_simple(grammar: str) -> bool:
    """Whether a grammar is simple. Takes linear time, for at most MAX_LENGTH."""
    if len(grammar) > MAX_LENGTH:
        return False
    rules: dict[str, set[str]] = {}
    repeated = parts = at = 0
    while at < len(grammar):
        head = _RULE.match(grammar, at)
        if head is None or head[1] in rules or len(rules) == MAX_RULES:
            return False
        names = rules[head[1]] = set()
        at = head.end()
        while at < len(grammar) and grammar[at] != "\n":
            part = _PART.match(grammar, at)
            parts += 1
            if part is None or parts > MAX_PARTS:
                return False
            at = part.end()
            if part.lastgroup == "name":
                names.add(part[0])
            elif part.lastgroup == "repeated":
                repeated += 1
                if repeated > 1 or int(part[0][3:-1]) > MAX_REPEATS:
                    return False
            elif part.lastgroup == "schema":
                try:
                    schema, at = _DECODER.raw_decode(grammar, at)
                except (ValueError, RecursionError):
                    return False
                if not _is_simple_schema(schema):
                    return False
            while grammar.startswith(" ", at):
                at += 1
        at += 1
    return _is_acyclic("start", rules, MAX_RULES)


def _is_simple_schema(root: Mapping[str, Any]) -> bool:
    definitions = {
        f"#/{where}/{name}": schema
        for where in ("$defs", "definitions")
        for name, schema in _named(root.get(where)).items()
    }
    if not _is_plain([root], len(definitions)):
        return False
    references = {at: _references(schema) for at, schema in definitions.items()}
    return _is_acyclic("#", {**references, "#": _references(root)}, MAX_DEPTH)


def _is_plain(level: list[Any], definitions: int) -> bool:
    """Whether all subschemas have only known keywords, and not too many."""
    schemas = counts = depth = 0
    while level:
        depth, schemas = depth + 1, schemas + len(level)
        if depth > MAX_DEPTH or schemas > MAX_SCHEMAS:
            return False
        deeper: list[Any] = []
        for schema in level:
            if not isinstance(schema, dict):
                return False
            for word, value in schema.items():
                if word in _NAMED:
                    if word != "properties" and depth > 1:
                        return False
                    deeper += _named(value).values()
                elif word in _LISTS and isinstance(value, list):
                    deeper += value
                elif word == "items":
                    deeper.append(value)
                elif word in _COUNTS:
                    counts += 1
                    if type(value) is not int or value > MAX_COUNT or counts > MAX_COUNTS:
                        return False
                elif word == "type":
                    kinds = value if isinstance(value, list) else [value]
                    if not all(isinstance(kind, str) for kind in kinds):
                        return False
                elif word == "additionalProperties":
                    if not isinstance(value, bool):
                        return False
                elif word == "$ref":
                    if not definitions:
                        return False
                elif word not in _ANY or not _is_flat(value):
                    return False
        level = deeper
    return True


def _is_flat(value: Any) -> bool:
    """Whether a keyword's value is a text, a number that every reader supports, or a list or object of
    those."""
    inner = value if isinstance(value, list) else _named(value).values() or [value]
    return all(
        each in ({}, []) if isinstance(each, (list, dict)) else _is_short(each) for each in inner
    )


def _is_short(value: str | float | None) -> bool:
    return isinstance(value, str) or value is None or abs(value) <= MAX_NUMBER


def _references(schema: Any) -> set[str]:
    """The references in a plain schema, outside its definitions."""
    found: set[str] = set()
    stack = [schema]
    while stack:
        node = stack.pop()
        if "$ref" in node:
            found.add(str(node["$ref"]))
        stack += _named(node.get("properties")).values()
        stack += [each for word in _LISTS for each in node.get(word, ())]
        stack += [node["items"]] if "items" in node else []
    return found


def _named(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_acyclic(name: str, names: Mapping[str, set[str]], max_steps: int) -> bool:
    """Whether all references from `name` exist and end after at most `max_steps` steps."""
    level, steps = {name}, 0
    while level:
        steps += 1
        if steps > max_steps or not level <= names.keys():
            return False
        level = {each for current in level for each in names[current]}
    return True
