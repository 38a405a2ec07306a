"""`oneOf` is enforced where its alternatives exclude each other, and refused where that is not sure."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from llguidance import LLMatcher, LLTokenizer

from extensions.openai.generation.grammar.exclusive import Exclusion
from extensions.openai.generation.grammar.json_schema import json_rule

BYTES = LLTokenizer("byte")
TEXT = {"type": "string"}


def tagged(value: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": value, **more}, "required": ["kind"]}


def closed(name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: TEXT},
        "required": [name],
        "additionalProperties": False,
    }


VALUES: tuple[object, ...] = (
    "fork", "agent-7", "", "abc", 1, 1.5, True, None, [], {}, {"kind": "a"}, {"kind": "b"},
    {"kind": "agent-7"}, {"kind": 1}, {"a": "x"}, {"b": "x"},
)  # fmt: skip
AGENT = {"type": "string", "pattern": "^agent-\\d+$"}

EXCLUSIVE: dict[str, dict[str, Any]] = {
    "types": {"oneOf": [TEXT, {"type": "integer"}, {"type": ["null", "boolean"]}]},
    "constants": {"oneOf": [{"const": "fork"}, {"const": "abc"}]},
    "enums": {"oneOf": [{"enum": ["fork", 1]}, {"enum": ["abc", None]}]},
    "an enum and a pattern": {"oneOf": [{"type": "string", "enum": ["fork"]}, AGENT]},
    "a pattern that any text has": {"oneOf": [{"const": ""}, {"type": "string", "minLength": 1}]},
    "a type beside": {"type": "string", "oneOf": [{"enum": ["fork"]}, {"pattern": "^agent-"}]},
    "an enum and a maximal length": {"oneOf": [{"enum": ["fork"]}, {"maxLength": 3, **TEXT}]},
    "a property that tells": {"oneOf": [tagged({"const": "a"}), tagged({"enum": ["b", "c"]})]},
    "its pattern": {"oneOf": [tagged({"const": "a"}), tagged(AGENT)]},
    "properties that are forbidden": {"oneOf": [closed("a"), closed("b")]},
    "references": {
        "oneOf": [{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/two"}],
        "$defs": {"one": tagged({"$ref": "#/$defs/a"}), "two": tagged(AGENT), "a": {"const": "a"}},
    },
    "alternatives within": {"oneOf": [{"anyOf": [{"const": "fork"}, {"type": "null"}]}, AGENT]},
    "all of": {"oneOf": [{"allOf": [TEXT, {"enum": ["fork", 1]}]}, {"allOf": [AGENT]}]},
    "any of beside": {"oneOf": [{"enum": ["fork"]}, AGENT], "anyOf": [TEXT, {"type": "null"}]},
    "a single one": {"oneOf": [TEXT]},
}


def matches(schema: dict[str, Any], value: Any) -> bool:
    matcher = LLMatcher(BYTES, "start: " + json_rule(schema, "field"), log_level=0)
    assert not matcher.get_error(), matcher.get_error()
    output = list(json.dumps(value).encode())
    return bool(matcher.try_consume_tokens(output) == len(output) and matcher.is_accepting())


@pytest.mark.parametrize("name", EXCLUSIVE)
def test_alternatives_that_exclude_each_other_are_enforced(name: str) -> None:
    """jsonschema decides what each schema allows."""
    schema = {"properties": {"a": EXCLUSIVE[name]}, "required": ["a"], "type": "object"}
    shared = EXCLUSIVE[name].get("$defs", {})
    reference = Draft202012Validator({**schema, "$defs": shared})
    assert any(reference.is_valid({"a": value}) for value in VALUES)
    for value in VALUES:
        wanted = reference.is_valid({"a": value})
        assert matches({**schema, "$defs": shared}, {"a": value}) == wanted, value


OVERLAPPING: dict[str, dict[str, Any]] = {
    "integers are numbers": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    "lengths": {"oneOf": [{"maxLength": 3, **TEXT}, {"minLength": 2, **TEXT}]},
    "a member that has the pattern": {"oneOf": [{"enum": ["fork", "agent-7"]}, AGENT]},
    "a pattern is for texts only": {"oneOf": [{"enum": [1, "fork"]}, {"pattern": "^agent-"}]},
    "two patterns": {"oneOf": [AGENT, {"pattern": "^a", **TEXT}]},
    "a property that may be left out": {
        "oneOf": [{"properties": {"a": {"const": value}}, "type": "object"} for value in "ab"]
    },
    "no objects, maybe": {
        "oneOf": [{"properties": {"a": {"const": value}}, "required": ["a"]} for value in "ab"]
    },
    "either is required": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"},
    "another may be added": {"oneOf": [closed("a"), {"properties": {"b": TEXT}, "type": "object"}]},
    "equal numbers": {"oneOf": [{"const": 1}, {"const": 1.0}]},
    "a circle": {"oneOf": [{"$ref": "#/$defs/a"}, TEXT], "$defs": {"a": {"$ref": "#/$defs/a"}}},
    "a pattern that cannot be tried": {"oneOf": [{"const": "b"}, {"pattern": "^(?=a)", **TEXT}]},
    "a pattern that is copied often": {"oneOf": [{"const": "b"}, {"pattern": "^(a{50}){50}", **TEXT}]},
    "the third": {"oneOf": [{"const": "a"}, {"const": 1}, TEXT]},
    "nothing": {"oneOf": []},
}  # fmt: skip


@pytest.mark.parametrize("name", OVERLAPPING)
def test_what_is_not_sure_to_be_exclusive_stays_as_it_is(name: str) -> None:
    schema = OVERLAPPING[name]
    assert '"oneOf"' in json_rule(
        {"type": "object", "properties": {"a": schema}, **schema}, "field"
    )


@pytest.mark.parametrize(
    "alternatives",
    [
        [{"const": str(at)} for at in range(5_000)],
        [{"enum": [f"{at}-{n}" for n in range(2_500)]} for at in range(2)],
        [{"allOf": [tagged({"const": at})] * 500, "required": [str(n) for n in range(500)],
          "type": "object"} for at in range(2)],
        [{"enum": ["a" * 60]}, *({**TEXT, "pattern": f"^{at}(.{{1,90}})+b"} for at in range(500))],
        [{"anyOf": [{"anyOf": [{"maxLength": n, **TEXT} for n in range(40)]}] * 40}] * 2,
    ],
    ids=["many", "long enums", "many facts", "many patterns", "choices in choices"],
)  # fmt: skip
def test_it_is_found_out_in_bounded_time(alternatives: list[Any]) -> None:
    begin = time.process_time()
    Exclusion({}).holds(alternatives, {})
    took = time.process_time() - begin
    assert took < 10
