"""What is small and plain is read at once; everything else is tried in a process of its own first."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from extensions.openai.generation.grammar.compiling import compiler as module
from extensions.openai.generation.grammar.compiling.compiler import Compiler
from extensions.openai.generation.grammar.compiling.simple_grammars import MAX_LENGTH, is_simple
from extensions.openai.generation.grammar.enforce import read_here
from extensions.openai.generation.grammar.json_schema import json_rule
from tests.generation.grammar.compiling.test_compiler import problem

STRING = {"type": "string"}


def schema(value: Any) -> str:
    return "start: " + json_rule(value, "x")


SIMPLE = (
    'start: "yes" | "no"',
    'start: "a \\"quoted\\" word"',
    schema({"type": "object"}),
    schema(
        {
            "title": "Person",
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 40, "default": ""},
                "age": {"type": "integer", "minimum": 0, "maximum": 150},
                "tags": {"type": "array", "items": {"enum": ["a", "b", None, 1]}},
                "nick": {"type": ["string", "null"]},
                "home": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}]},
            },
            "required": ["name", "age"],
            "additionalProperties": False,
            "$defs": {
                "Address": {"type": "object", "properties": {"city": {"$ref": "#/$defs/City"}}},
                "City": STRING,
            },
        }
    ),
    'start: "<tool_call>\\n" call ("\\n" "<tool_call>\\n" call){0,127}\n'
    'call_0: "{" arguments_0 "}"\narguments_0: ' + json_rule({"type": "object"}, "x") + "\n"
    "call: call_0",
)
WILD = (
    "start: /a+/",
    'start: "a"i',
    'start: "a"+',
    'start: "a"{5}',
    'start: "a',
    "start: <|end|>",
    "start: start",
    "start: a\na: b\nb: a",
    "start: a",
    'start: a[suffix="x"]\na: "b"',
    'start: "a"\nstart: "b"',
    'start: ("a"{0,9}){0,9}',
    'start: "a"{0,999}',
    '%llguidance {}\nstart: "a"',
    "start: %json {",
    "start: %json " + 3_000 * "[",
    'start: %json {"type": "array", "items": ' + 3_000 * "[",
    "start: " + " | ".join(f'"{at}"' for at in range(2_000)),
    "start: " + json.dumps("x" * MAX_LENGTH),
    schema({"$ref": "#"}),
    schema(
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}
    ),
    schema({"type": "string", "pattern": "a+"}),
    schema({"type": "string", "maxLength": 5_000}),
    schema({"type": "array", "items": STRING, "minItems": 5_000}),
    schema({"type": "integer", "multipleOf": 7}),
    schema({"type": "string", "format": "email"}),
    schema({"allOf": [STRING, STRING]}),
    schema({"oneOf": [STRING, {"enum": ["a"]}]}),
    schema({"properties": {"x": False}}),
    schema({"properties": {f"p{at}": STRING for at in range(200)}}),
    schema({"const": [[["deep"]]]}),
    schema({"type": "number", "maximum": 1e300}),
)


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = STRING
    for _ in range(levels):
        inner = {"type": "array", "items": inner}
    return inner


@pytest.mark.parametrize("grammar", SIMPLE)
def test_what_most_clients_send_is_simple(grammar: str) -> None:
    assert is_simple(grammar)
    assert read_here(grammar) == ""


@pytest.mark.parametrize("grammar", WILD, ids=lambda grammar: grammar[:50])
def test_whatever_could_take_long_is_not(grammar: str) -> None:
    assert not is_simple(grammar)


def test_levels_are_counted_through_references() -> None:
    chain = {
        f"d{at}": {"type": "array", "items": {"$ref": f"#/$defs/d{at + 1}"}} for at in range(9)
    }

    def start(number: int) -> dict[str, Any]:
        return {
            "properties": {"x": {"$ref": f"#/$defs/d{number}"}},
            "$defs": {**chain, "d9": STRING},
        }

    assert is_simple(schema(deep(10))) and not is_simple(schema(deep(13)))
    assert is_simple(schema(start(0)))
    ring = {"d0": {"$ref": "#/$defs/d1"}, "d1": {"$ref": "#/$defs/d0"}}
    assert not is_simple("start: %json " + json.dumps({"$ref": "#/$defs/d0", "$defs": ring}))


def test_a_simple_grammar_needs_no_helper(caplog: pytest.LogCaptureFixture) -> None:
    compiler = Compiler(python="/nowhere/python")
    assert problem(compiler, SIMPLE[0]) == ""
    assert compiler.helper is None and not caplog.records


def test_what_is_wrong_is_said_as_the_helper_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(5)
    wrong = [
        {"type": "integer", "minimum": 5, "maximum": dice.randrange(5)},
        {"type": "array", "items": STRING, "minItems": 7, "maxItems": dice.randrange(7)},
        {"type": "strange"},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 9, "maxLength": 2}},
         "required": ["a"]},
    ]  # fmt: skip
    grammars = ["start: %json " + json.dumps(each) for each in wrong]
    compiler = Compiler()
    try:
        here = [problem(compiler, grammar) for grammar in grammars]
        monkeypatch.setattr(module, "is_simple", lambda _: False)
        assert here == [problem(compiler, grammar) for grammar in grammars]
    finally:
        compiler.close()
    assert all(here)
