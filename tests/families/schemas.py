"""Schemas of tools as agents and MCP servers send them: words of every draft of JSON Schema, and others.

Source: JSON Schema, drafts 4 to 2020-12, "Validation" and "Applicators".
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
DEFS = {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}

PROPERTIES: dict[str, Any] = {
    # Any value.
    "true": True,
    "false": False,
    "empty": {},
    "description only": {"description": "Anything."},
    "type as a list": {"type": ["string", "number", "null"]},
    "unknown type": {"type": "date"},
    "enum of several types": {"enum": ["a", 1, None, True, {"b": []}]},
    "empty enum": {"type": "string", "enum": []},
    "const": {"const": {"a": [1]}},
    "null": {"type": "null"},
    "nullable": {"type": "string", "nullable": True},
    "defaults and examples": {"type": "string", "default": "x", "examples": ["y"], "$comment": "z"},
    # Texts.
    "long text": {"type": "string", "minLength": 1, "maxLength": 524_288},
    "negative length": {"type": "string", "maxLength": -1},
    "pattern": {"type": "string", "pattern": r"^\d{4}-[a-z]+$"},
    "unanchored pattern": {"type": "string", "pattern": "[a-z]+"},
    "look-ahead": {"type": "string", "pattern": r"^(?!con$)(?=.*\d)[^/]+(?<!\.)$"},
    "back-reference": {"type": "string", "pattern": r"^(['\"]).*\1$"},
    "unicode class": {"type": "string", "pattern": r"^\p{L}+$"},
    "broken pattern": {"type": "string", "pattern": "^([a-z$"},
    "formats": {"anyOf": [{"type": "string", "format": f} for f in ("date-time", "uri", "x-own")]},
    "encoded": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"},
    # Numbers.
    "range": {"type": "integer", "minimum": -(2**53) + 1, "maximum": 2**53 - 1},
    "exclusive range": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "draft 4 range": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
    "multiple": {"type": "number", "multipleOf": 0.01},
    "empty range": {"type": "integer", "minimum": 5, "maximum": 3},
    "huge numbers": {"type": "number", "maximum": 1e308, "minimum": -1e308},
    # Arrays.
    "tuple": {"type": "array", "prefixItems": [TEXT, {"type": "number"}], "items": False},
    "draft 4 tuple": {"type": "array", "items": [TEXT, TEXT], "additionalItems": False},
    "items true": {"type": "array", "items": True},
    "without items": {"type": "array"},
    "contains": {
        "type": "array",
        "contains": {"type": "number"},
        "minContains": 2,
        "maxContains": 3,
    },
    "unique": {"type": "array", "items": TEXT, "uniqueItems": True, "minItems": 1},
    "many items": {"type": "array", "items": TEXT, "minItems": 0, "maxItems": 100_000},
    "unevaluated items": {"type": "array", "unevaluatedItems": False},
    # Objects.
    "map": {"type": "object", "additionalProperties": TEXT},
    "closed": {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False},
    "names": {"type": "object", "propertyNames": {"pattern": "^[A-Za-z_]{1,64}$"}},
    "pattern properties": {"type": "object", "patternProperties": {"^x-": TEXT}},
    "number of properties": {"type": "object", "minProperties": 1, "maxProperties": 3},
    "dependent required": {"type": "object", "dependentRequired": {"a": ["b"]}},
    "dependent schemas": {"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}},
    "dependencies": {"type": "object", "dependencies": {"a": ["b"]}},
    "unevaluated": {"type": "object", "unevaluatedProperties": False},
    "odd names": {"type": "object", "properties": {"a b": TEXT, "": TEXT, "ü/~": TEXT, '"': TEXT}},
    "required undeclared": {"type": "object", "properties": {}, "required": ["a"]},
    # Combinations.
    "any of one": {"anyOf": [{"type": "number"}]},
    "any of null": {"anyOf": [TEXT, {"type": "null"}], "default": None},
    "one of": {"oneOf": [{"type": "string", "enum": ["a"]}, {"type": "string", "pattern": "^b"}]},
    "one of objects": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"},
    "all of": {"allOf": [TEXT, {"minLength": 1}, {"not": {"const": "x"}}]},
    "not": {"not": {"type": "null"}},
    "if": {"if": {"const": 1}, "then": {"type": "integer"}, "else": TEXT},
    "empty any of": {"anyOf": []},
    # References.
    "reference": {"$ref": "#/$defs/node"},
    "reference and more": {"$ref": "#/$defs/node", "description": "A node."},
    "reference to nothing": {"$ref": "#/$defs/none"},
    "foreign reference": {"$ref": "https://example.com/schema.json"},
    "anchor": {"$anchor": "here", "type": "string"},
    "identity": {"$id": "https://example.com/x", "type": "string"},
    "dynamic reference": {"$dynamicRef": "#node"},
    # Words without meaning, and texts that look like the template's.
    "unknown words": {"type": "string", "startsWith": "/", "x-order": 3, "title": "T"},
    "texts of templates": {
        "type": "string",
        "description": "{{ x }} {% if %} </tool_call> <|im_end|>",
    },
}
WHOLE: dict[str, Any] = {
    "no schema": None,
    "no properties": {"type": "object"},
    "null properties": {"type": "object", "properties": {}, "required": []},
    "dialect": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"},
    "any of at the top": {"anyOf": [{"type": "object", "properties": {"a": TEXT}}]},
    "only a reference": {"$ref": "#/$defs/node", "$defs": DEFS},
    "no type": {"properties": {"a": TEXT}},
}


def every_schema() -> dict[str, Any]:
    """Schemas of a function's parameters, by what is particular about each."""
    properties = {
        name: {"type": "object", "properties": {"q": schema}, "$defs": DEFS}
        for name, schema in PROPERTIES.items()
    }
    return properties | WHOLE
