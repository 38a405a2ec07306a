"""What the arguments of a demanded call may hold."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest

from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.tools.enforcing.schemas import enforced_schema

A = {"properties": {"a": {"type": "integer"}}}
NESTED = {"properties": {"inner": {"type": "object", **A}, "list": {"items": A}}}

CASES: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    (A, [{}, {"a": 1}], [{"b": 1}, {"a": 1, "b": 1}, {"a": "x"}]),
    ({**A, "additionalProperties": True}, [{"b": 1}], [{"a": "x"}]),
    ({**A, "additionalProperties": {"type": "string"}}, [{"b": "x"}], [{"b": 1}]),
    ({**A, "patternProperties": {"^x": {}}}, [{"xy": 1}], []),
    ({"type": "object"}, [{}, {"anything": 1}], []),
    (NESTED, [{"inner": {"a": 1}, "list": [{"a": 2}]}], [{"inner": {"b": 1}}, {"list": [{"b": 1}]}]),
    # Parts of one object know of each other's properties.
    ({"allOf": [A, {"properties": {"b": {}}}]}, [{"a": 1, "b": 2}], [{"a": "x"}]),
    ({"properties": {"kind": {}}, "anyOf": [A, {"properties": {"b": {}}}]}, [{"kind": 1, "b": 2}], []),
    ({"anyOf": [A, {"properties": {"b": {}}}]}, [{"a": 1}, {"b": 1}], [{"a": 1, "b": 1}]),
    (
        {"properties": {"p": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "object", **A}}},
        [{"p": {"a": 1}}],
        [{"p": {"b": 1}}],
    ),
    ({"properties": {"e": {"enum": [{"properties": {}}]}}}, [{"e": {"properties": {}}}], []),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "taken", "refused"), CASES)
def test_properties_that_are_not_named_are_no_arguments(
    schema: dict[str, Any], taken: list[Any], refused: list[Any]
) -> None:
    before = copy.deepcopy(schema)
    made = jsonschema.Draft202012Validator(enforced_schema(schema, "tools"))
    assert schema == before
    assert all(made.is_valid(value) for value in taken)
    assert not any(made.is_valid(value) for value in refused)


def test_arguments_are_an_object() -> None:
    with pytest.raises(InvalidRequest) as refused:
        enforced_schema({"type": "array"}, "tools[0].function.parameters")
    assert refused.value.param == "tools[0].function.parameters.type"


def test_a_schema_may_be_deep() -> None:
    schema: dict[str, Any] = {}
    for _ in range(50_000):
        schema = {"properties": {"a": schema}}
    made = enforced_schema(schema, "tools")
    assert made["additionalProperties"] is False
