"""Checks JSON schemas, so that a 400 can name the exact place, and rewrites them for llguidance.

Source: llguidance, docs/json_schema.md; JSON Schema 2020-12.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from ...schemas import bad_request
from .bounds import (
    MAX_COUNT,
    MAX_ENUM,
    MAX_MULTIPLE,
    MAX_PROPERTIES,
    MAX_REFS,
    MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_SIZE,
    MAX_SCHEMA_TEXT,
    check_count,
    check_pattern,
    one_at_a_time,
    place,
    refuse,
)
from .exclusive import Exclusion
from .regex import URI, ascii_classes, pattern_in_json

# JSON on one line: if white space is free, small models tend to continue it forever.
WHITESPACE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

Path = tuple[str | int, ...]

_VALUES = ("const", "enum", "default", "examples")  # keywords whose values are data, not schemas
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_LEAST = ("minItems", "minLength", "minProperties")
_MOST = ("maxItems", "maxLength", "maxProperties")
_SCHEMA = ("items", "additionalProperties", "additionalItems", "unevaluatedItems", "not", "if", "then",
           "else", "contains", "propertyNames", "unevaluatedProperties", "contentSchema")  # fmt: skip
_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")  # lists
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "not": (False,),
    "then": (True,),
    "else": (True,),
    "contains": (),
    "minContains": (),
    "maxContains": (),
    "propertyNames": (True,),
    "uniqueItems": (False,),
    "dependentRequired": (),
    "dependentSchemas": (),
    "dependencies": (),
    "unevaluatedProperties": (True,),
    "unevaluatedItems": (True,),
    "$dynamicRef": (),
    "$recursiveRef": (),
}
"""Keywords that cannot be enforced, with the values (besides an empty object) that require nothing."""


def json_rule(schema: Mapping[str, Any], param: str) -> str:
    """The expression for a schema's JSON inside a rule, with keys in the schema's order.

    Raises InvalidRequest, naming the place, for what cannot be enforced.
    """
    try:
        key = orjson.dumps(schema)
    except TypeError:  # numbers or levels beyond its limits
        key = b""
    known = _rules.get(key)
    if known is None:
        with one_at_a_time(len(key) or MAX_SCHEMA_TEXT):
            check_enforceable(schema, param)
            written = _as_enforced(schema, Exclusion(schema))
            known = "%json " + json.dumps({**written, "x-guidance": WHITESPACE})
        if key and len(key) <= MAX_CACHED_BYTES:
            _rules.put(key, known)
    return known


class _RuleCache:
    """A cache of schemas' rules, because clients send the same schemas repeatedly. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: OrderedDict[bytes, str] = OrderedDict()

    def get(self, key: bytes) -> str | None:
        with self._lock:
            found = self._rules.get(key)
            if found is not None:
                self._rules.move_to_end(key)
            return found

    def put(self, key: bytes, rule: str) -> None:
        with self._lock:
            self._rules[key] = rule
            if len(self._rules) > MAX_CACHED_RULES:
                self._rules.popitem(last=False)


MAX_CACHED_RULES, MAX_CACHED_BYTES = 512, 32 << 10  # schemas, and bytes of each
_rules = _RuleCache()


def check_enforceable(schema: Any, param: str) -> None:
    """Raise InvalidRequest, naming the place, for a schema that is too large or that llguidance cannot
    enforce."""
    _check_size(schema, param)
    counts = dict.fromkeys(("members of enum", "properties", "references"), 0)
    for path, node in schemas_in(schema):
        counts["members of enum"] += len(_list(node.get("enum")))
        counts["properties"] += len(_dict(node.get("properties")))
        counts["references"] += "$ref" in node
        _check_node(node, path, param)
        if "$ref" in node:
            _check_reference(schema, node["$ref"], place(param, (*path, "$ref")))
    for what, limit in zip(counts, (MAX_ENUM, MAX_PROPERTIES, MAX_REFS), strict=True):
        check_count(param, what, counts[what], limit)


def schemas_in(schema: Any) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """A schema and all of its subschemas that are objects, each with its path."""
    stack: list[tuple[Path, Any]] = [((), schema)]
    while stack:
        path, node = stack.pop()
        if not isinstance(node, dict):
            continue
        yield path, node
        stack += reversed([((*path, *step), child) for step, child in schema_children(node)])


def schema_children(node: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """A schema's direct subschemas, with their paths."""
    for name, value in node.items():
        if name in _SCHEMAS and isinstance(value, list):
            yield from (((name, at), each) for at, each in enumerate(value))
        elif name in _NAMED_SCHEMAS and isinstance(value, dict):
            yield from (((name, key), each) for key, each in value.items())
        elif name in _SCHEMA:
            yield (name,), value


def _check_size(schema: Any, param: str) -> None:
    """Count values, characters and levels."""
    size = characters = 0
    level, depth = [schema], 0
    while level:
        depth += 1
        check_count(param, "levels", depth, MAX_SCHEMA_DEPTH)
        deeper: list[Any] = []
        for value in level:
            size += len(value) if isinstance(value, (dict, list)) else 0
            check_count(param, "values", size, MAX_SCHEMA_SIZE)
            inner = value
            if isinstance(value, dict):
                characters += sum(map(len, value))
                inner = value.values()
            for each in inner if isinstance(value, (dict, list)) else ():
                if isinstance(each, str):
                    characters += len(each)
                elif isinstance(each, (dict, list)):
                    deeper.append(each)
        check_count(param, "characters", characters, MAX_SCHEMA_TEXT)
        level = deeper


def _check_node(node: Mapping[str, Any], path: Path, param: str) -> None:
    for name, neutral in _NEUTRAL.items():
        if name in node and not _requires_nothing(node, name, neutral):
            _refuse_keyword(place(param, (*path, name)), name)
    if "if" in node and ("then" in node or "else" in node):
        _refuse_keyword(place(param, (*path, "if")), "if")
    pattern = node.get("pattern")
    if isinstance(pattern, str):
        where = place(param, (*path, "pattern"))
        check_pattern(pattern, where)
        if re.search(r"(?<!\\)(\\\\)*\\$", pattern):
            refuse(where, "it ends with a backslash.")
    for pattern in _dict(node.get("patternProperties")):
        check_pattern(pattern, place(param, (*path, "patternProperties", pattern[:64])))
    for name in _LEAST:
        count = node.get(name)
        if isinstance(count, (int, float)) and count > MAX_COUNT:
            where = place(param, (*path, name))
            raise bad_request.out_of_range(where, count, low=None, high=MAX_COUNT)
    multiple = node.get("multipleOf")
    if isinstance(multiple, (int, float)) and _digits(multiple) > MAX_MULTIPLE:
        where = place(param, (*path, "multipleOf"))
        raise bad_request.out_of_range(where, multiple, low=None, high=MAX_MULTIPLE)
    kinds = node.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            raise bad_request.not_one_of(place(param, (*path, "type")), kind, _TYPES)
    if node.get("enum") == []:
        refuse(place(param, (*path, "enum")), "it must not be empty.")
    for name in _NAMED_SCHEMAS:
        if name in node and not isinstance(node[name], dict):
            raise bad_request.wrong_type(place(param, (*path, name)), "an object", node[name])


def _digits(number: float) -> int:
    """The significant digits as an integer: enforcing a multiple takes that many states."""
    digits = str(number).lower().partition("e")[0].replace(".", "").strip("-0")
    return int(digits[:12] or 0)


def _requires_nothing(node: Mapping[str, Any], name: str, neutral: tuple[Any, ...]) -> bool:
    value = node[name]
    if name in ("then", "else") and "if" not in node:
        return True
    if name in ("minContains", "maxContains") and "contains" not in node:
        return True
    if name == "uniqueItems" and node.get("maxItems") in (0, 1):
        return True
    return (value == {} and name != "not") or any(value is each for each in neutral)


def _refuse_keyword(where: str, name: str) -> None:
    raise bad_request.unsupported(
        where,
        f"cannot be enforced: '{name}' is not supported. Remove it, or do not require the answer to follow "
        "the schema.",
    )


def _check_reference(schema: Any, reference: Any, where: str) -> None:
    """A reference must point into the schema itself."""
    if not isinstance(reference, str):
        raise bad_request.wrong_type(where, "a string", reference)
    own = schema.get("$id") if isinstance(schema, dict) else None
    base, _, pointer = reference.partition("#")
    if base and not (isinstance(own, str) and base == own.removesuffix("#")):
        refuse(
            where, "it points outside the schema; only references into itself (#/...) are followed."
        )
    if pointer and not pointer.startswith("/"):
        return  # an anchor, which the library resolves
    node = schema
    for step in unquote(pointer).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdecimal() and len(key) < 7 and int(key) < len(node):
            node = node[int(key)]
        else:
            refuse(where, f"there is nothing at '{reference[:100]}'.")


def surely_enforceable(schema: Any) -> bool:
    """Whether a schema has only keywords known to be safe, so that it need not be tried."""
    return all(node.keys() <= _SAFE_KEYWORDS for _, node in schemas_in(schema))


_SAFE_KEYWORDS = {
    *(
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "$ref",
    ),
    *(
        "$defs",
        "definitions",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
    ),
    *(
        "title",
        "description",
        "default",
        "examples",
        "$schema",
        "$comment",
        "deprecated",
        "readOnly",
    ),
}


SAFE_INTEGER = 2**53 - 1  # beyond it, readers of JSON differ (RFC 8259, section 6)


def _as_enforced(schema: Any, exclusion: Exclusion) -> Any:
    """Rewrite a schema: patterns converted, integers limited to what every reader supports, `oneOf` replaced
    by `anyOf` where equivalent, and no-op keywords removed. Recursion is bounded by MAX_SCHEMA_DEPTH."""
    if isinstance(schema, list):
        return [_as_enforced(each, exclusion) for each in schema]
    if not isinstance(schema, dict):
        return schema
    written: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "pattern" and isinstance(value, str):
            converted = pattern_in_json(value)
            all_of = [*written.get("allOf", ()), *converted.get("allOf", ())]
            written |= {**converted, "allOf": all_of} if all_of else converted
        elif (
            name in _NEUTRAL or name == "if" or (name == "$schema" and _STANDARD not in str(value))
        ):
            continue
        elif name in _MOST and isinstance(value, (int, float)) and value > MAX_COUNT:
            continue  # no answer is that long
        elif name in (*_LEAST, *_MOST) and isinstance(value, float) and value.is_integer():
            written[name] = int(value)
        elif name in _VALUES:
            written[name] = value
        elif name == "format" and value == "uri" and "pattern" not in schema:
            written["pattern"] = URI
        elif name == "patternProperties" and isinstance(value, dict):
            written[name] = {
                ascii_classes(pattern): _as_enforced(each, exclusion)
                for pattern, each in value.items()
            }
        elif name in _NAMED_SCHEMAS and isinstance(value, dict):
            written[name] = {key: _as_enforced(each, exclusion) for key, each in value.items()}
        elif name == "oneOf" and isinstance(value, list) and exclusion.holds(value, schema):
            converted = {"anyOf": _as_enforced(value, exclusion)}
            if "anyOf" in schema:
                converted = {"allOf": [*written.get("allOf", ()), converted]}
            written |= converted
        elif name == "allOf" and isinstance(value, list):
            written[name] = [*written.get(name, ()), *_as_enforced(value, exclusion)]
        else:
            written[name] = _as_enforced(value, exclusion)
    if schema.get("type") == "integer" and not _BOUNDS & schema.keys():
        written |= {"minimum": -SAFE_INTEGER, "maximum": SAFE_INTEGER}
    return written


_STANDARD = "json-schema.org"  # the library fails on any other dialect
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const"}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
