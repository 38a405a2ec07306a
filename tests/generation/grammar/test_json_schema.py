"""What of JSON schemas is refused before anything is compiled, and where it says it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.grammar.constraints import ResponseFormatField
from extensions.openai.generation.grammar.json_schema import json_rule, surely_enforceable
from extensions.openai.generation.grammar.regex import pattern_in_json
from extensions.openai.schemas.validation import check

STRING = {"type": "string"}
BYTES = LLTokenizer("byte")


def within(schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"type": "array", "items": schema}}}


WHERE = "field.properties.a.items"


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"not": {"type": "null"}}, ".not"),
        ({"if": {}, "then": {"minLength": 1}}, ".then"),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, ".propertyNames"),
        ({"type": "array", "uniqueItems": True}, ".uniqueItems"),
        ({"type": "array", "contains": STRING}, ".contains"),
        ({"type": "array", "contains": STRING, "minContains": 2}, ".contains"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, ".dependentRequired"),
        ({"type": "object", "dependentSchemas": {"a": STRING}}, ".dependentSchemas"),
        ({"type": "object", "unevaluatedProperties": False}, ".unevaluatedProperties"),
        ({"type": "string", "minLength": 2**31}, ".minLength"),
        ({"type": "integer", "multipleOf": 9_005}, ".multipleOf"),
        ({"type": "number", "multipleOf": 0.123456}, ".multipleOf"),
        ({"type": "string", "pattern": "(" * 100}, ".pattern"),
        ({"type": "string", "pattern": "a{20000}"}, ".pattern"),
        ({"type": "string", "pattern": "a" * 9_000}, ".pattern"),
        ({"type": "string", "pattern": "a\\"}, ".pattern"),
        ({"enum": []}, ".enum"),
        ({"type": "text"}, ".type"),
        ({"type": ["string", 5]}, ".type"),
        ({"properties": []}, ".properties"),
        ({"$ref": "https://example.com/schema.json"}, ".$ref"),
        ({"$ref": "other.json#/a"}, ".$ref"),
        ({"$ref": "#/$defs/missing"}, ".$ref"),
        ({"$ref": "#/properties/a/items/allOf/1"}, ".$ref"),
        ({"$ref": 5}, ".$ref"),
        ({"anyOf": [STRING, {"allOf": [{"not": {}}]}]}, ".anyOf[1].allOf[0].not"),
        ({"patternProperties": {"^x": {"not": {}}}}, ".patternProperties.^x.not"),
    ],
)
def test_the_place_of_what_cannot_be_enforced(schema: Any, place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        json_rule(within(schema), "field")
    assert caught.value.param == WHERE + place


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "array", "prefixItems": [STRING], "items": False},
        {"type": "array", "uniqueItems": False},
        {"type": "integer", "multipleOf": 86_400},
        {"type": "number", "multipleOf": 0.01},
        {"type": "array", "items": STRING, "maxItems": 1, "uniqueItems": True},
        {"type": "object", "propertyNames": {}},
        {"type": "object", "unevaluatedProperties": True},
        {"type": "array", "minContains": 0},
        {"not": False},
        {"then": STRING},
        {"enum": ["not", {"not": 1}], "default": {"not": 1}, "examples": [{"if": 1}]},
        {"type": "object", "properties": {"not": STRING, "if": STRING, "enum": {"type": "array"}}},
        {"$ref": "#/$defs/a~1b%20c"},
        {"$ref": "#"},
        {"$ref": "#/definitions/list/items"},
        {"type": "string", "minLength": 1.0, "maxLength": 3.0},
        {"type": "string", "minLength": 100_000, "maxLength": 524_288},
        {"type": "string", "maxLength": 2**53 - 1},
        {"type": "array", "items": STRING, "maxItems": 1e300},
        {"type": "object", "maxProperties": 10**30},
        {"type": "string", "title": "x", "nullable": True, "x-other": {"not": 1}},
    ],
)
def test_what_can_be_enforced(schema: Any) -> None:
    whole = {
        **within(schema),
        "$schema": "https://example.com/of-our-own",
        "$defs": {"a/b c": STRING},
        "definitions": {"list": {"items": {"type": "boolean"}}},
    }
    rule = json_rule(whole, "field")
    assert not LLMatcher.validate_grammar(f"start: {rule}").strip()


@pytest.mark.parametrize(
    ("length", "fits"), [(19_999, False), (20_000, True), (30_000, True), (30_001, False)]
)
def test_large_bounds_are_enforced(length: int, fits: bool) -> None:
    rule = json_rule({"type": "string", "minLength": 20_000, "maxLength": 30_000}, "field")
    matcher = LLMatcher(BYTES, f"start: {rule}", log_level=0)
    text = b'"%s"' % (b"a" * length)
    assert (matcher.try_consume_tokens(list(text)) == len(text)) == fits


def test_a_definition_may_refer_to_itself() -> None:
    tree = {
        "type": "object",
        "properties": {"inner": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
        "required": ["inner"],
        "additionalProperties": False,
    }
    rule = json_rule({"$ref": "#/$defs/tree", "$defs": {"tree": tree}}, "field")
    matcher = LLMatcher(BYTES, f"start: {rule}", log_level=0)
    assert matcher.consume_tokens(list(b'{"inner": {"inner": null}}')) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("schema", "bound"),
    [
        ({"enum": list(range(5_001))}, "5000"),
        ({"properties": {f"p{at}": STRING for at in range(5_001)}}, "5000"),
        ({"anyOf": [{"type": "string"}] * 30_000}, "20000"),
        ({"description": "x" * 600_000}, "524288"),
        ({"allOf": [{"$ref": "#"}] * 2_001}, "2000"),
    ],
)
def test_a_bound_is_named(schema: Any, bound: str) -> None:
    with pytest.raises(InvalidRequest, match=bound) as caught:
        json_rule(schema, "field")
    assert caught.value.param == "field"


@pytest.mark.parametrize("depth", [200, 100_000])
def test_depth_is_bounded_without_recursion(depth: int) -> None:
    schema: Any = STRING
    for _ in range(depth):
        schema = {"items": schema}
    with pytest.raises(InvalidRequest, match="96"):
        json_rule(schema, "field")


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a": ' * 200_000, '{"a": "' + "x" * (3 << 20) + '"}']
)
def test_a_schema_as_text_is_bounded_too(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        assert check(ResponseFormatField, {"guided_json": text}).constraint
    assert caught.value.param == "guided_json"


@pytest.mark.parametrize(
    "pattern", ["[" + r"\x41" * 300, "[" + r"\\" * 300, r"\x4" * 300, "[" * 300]
)
def test_patterns_are_written_out_in_time(pattern: str) -> None:
    """Each of these took twice as long with each further character."""
    assert pattern_in_json(pattern)


def test_strict_objects_are_closed() -> None:
    """OpenAI guide "Structured outputs": with `strict`, objects have no other properties than they name."""
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    for strict, allowed in ((True, False), (False, True), (None, True)):
        body = {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": schema, "strict": strict},
        }
        found = check(ResponseFormatField, {"response_format": body}).constraint
        assert found is not None
        matcher = LLMatcher(BYTES, found[0], log_level=0)
        output = list(b'{"a": true, "b": 1}')
        assert (matcher.try_consume_tokens(output) == len(output)) == allowed


def test_what_is_sure_to_be_enforceable() -> None:
    assert surely_enforceable(within({"anyOf": [STRING, {"$ref": "#/$defs/x"}]}))
    unsure: tuple[Any, ...] = ({"pattern": "("}, {"not": {}}, {"oneOf": [STRING]}, {"format": "x"})
    for schema in unsure:
        assert not surely_enforceable(within(schema))
    assert (
        json.loads(json_rule({"type": "integer"}, "x").removeprefix("%json "))["maximum"]
        == 2**53 - 1
    )


def test_a_schema_that_comes_again_is_not_read_again() -> None:
    schema = within({"type": "string", "maxLength": 77})
    first = json_rule(schema, "one")
    assert json_rule(json.loads(json.dumps(schema)), "another") is first
    assert json_rule(within({"type": "string", "maxLength": 78}), "one") != first
    for param in ("one", "another"):  # the error names the field that has the fault
        with pytest.raises(InvalidRequest) as caught:
            json_rule({"not": {}}, param)
        assert caught.value.param == f"{param}.not"
