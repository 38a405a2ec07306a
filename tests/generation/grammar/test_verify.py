"""Answers of other servers against grammars: all that the schema allows is an answer, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.generation.grammar.json_schema import json_rule
from extensions.openai.generation.grammar.verify import answers

PLACE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "kind": {"enum": ["café", "bar"]},
        "at": {
            "type": "object",
            "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
            "required": ["x", "y"],
            "additionalProperties": False,
        },
        "near": {"type": "array", "items": {"$ref": "#"}},
    },
    "required": ["name"],
    "additionalProperties": False,
}
EITHER = {
    "anyOf": [
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
         "required": ["a", "b"], "additionalProperties": False},
        {"type": "object", "properties": {"c": {"type": "integer"}, "a": {"type": "integer"}},
         "required": ["c", "a"], "additionalProperties": False},
    ]
}  # fmt: skip


def grammar(schema: dict[str, Any]) -> str:
    return "start: " + json_rule(schema, "response_format")


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "x"}',
        ' {"name":"x"}\n',
        '{\n  "name": "x",\n  "kind": "bar"\n}',
        '{"kind": "bar", "name": "x"}',
        '{"kind": "caf\\u00e9", "name": "\\ud83d\\ude42 \\u007f\\n"}',
        '{"at": {"y": 2, "x": -1.5}, "name": "x"}',
        '{"name": "x", "near": [{"kind": "bar", "name": "y", "at": {"y": 1, "x": 1}}]}',
    ],
)
def test_all_forms_of_what_the_schema_allows(text: str) -> None:
    assert answers(text, grammar(PLACE))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "a cafe",
        '{"name": "x"} There it is.',
        '```json\n{"name": "x"}\n```',
        '{"name": "x"',
        '{"name": 7}',
        '{"name": "x", "more": 1}',
        '{"name": "x", "kind": "cafe"}',
        '{"name": "x", "at": {"x": 1}}',
        '{"name": "x", "near": [{"kind": "bar"}]}',
        "[" * 100_000,
        '{"name": "x", "near": ' + "[" * 5_000 + "]" * 5_000 + "}",
    ],
)
def test_all_else(text: str) -> None:
    assert not answers(text, grammar(PLACE))


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2}', '{"b": 2, "a": 1}', '{"c": 1, "a": 2}'])
def test_each_of_several_schemas_has_an_order_of_its_own(text: str) -> None:
    assert answers(text, grammar(EITHER))
    assert not answers(text.replace("}", ', "d": 1}'), grammar(EITHER))


def test_other_grammars_are_matched_as_they_are() -> None:
    assert answers("abc", "start: /[a-c]{3}/")
    for text in ("ab", "abcd", " abc", "abd"):
        assert not answers(text, "start: /[a-c]{3}/")
