"""What the evaluation of structured output asks: schemas, tools and prompts kept out of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tiny.fields import Shape, bare, schema, titled
from tiny.text import load

_TABLE = load("cases")


@dataclass(frozen=True)
class Case:
    """A request and what must stand in its answer.

    group: the row of the table. body: the request's fields beside the prompt. copied: values that the answer
    must have under these keys. json: whether the answer, or the arguments of its call, must be JSON.
    """

    group: str
    prompt: str
    body: dict[str, Any]
    copied: dict[str, Any] = field(default_factory=dict)
    json: bool = True


def _format(shape: Shape, titles: bool = False) -> dict[str, Any]:
    made = titled(shape, "Answer") if titles else schema(shape)
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": made}}}


def _tool(name: str, shape: Shape, titles: bool = False) -> dict[str, Any]:
    parameters = titled(shape, name) if titles else schema(shape)
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def _forced(name: str, shape: Shape, titles: bool = False) -> dict[str, Any]:
    choice = {"type": "function", "function": {"name": name}}
    return {"tools": [_tool(name, shape, titles)], "tool_choice": choice}


def names() -> set[tuple[str, ...]]:
    """The field names of every object, together, in order: none of these is trained on, but for those of
    one or two fields, which are too common."""
    shapes = [row[-1] for row in _TABLE["objects"] + _TABLE["tools"]]
    return {tuple(map(bare, shape)) for shape in shapes if len(shape) > 2}


def functions() -> set[str]:
    """The names of the functions, none of which is trained on."""
    return {row[1] for row in _TABLE["tools"] + _TABLE["copied_calls"]}


def cases() -> Iterator[Case]:
    """All cases, in the order of the table."""
    tools = _TABLE["tools"]
    for at, (prompt, shape) in enumerate(_TABLE["objects"]):
        yield Case("JSON of a schema", prompt, _format(shape, titles=at % 2 == 1))
    for at, (prompt, name, shape) in enumerate(tools):
        yield Case("a forced call", prompt, _forced(name, shape, titles=at % 2 == 1))
    for at, (prompt, name, shape) in enumerate(tools):
        offered = [_tool(name, shape), _tool(*tools[at - 7][1:])]
        yield Case("a required call", prompt, {"tools": offered, "tool_choice": "required"})
    for prompt in _TABLE["free"]:
        yield Case("any JSON object", prompt, {"response_format": {"type": "json_object"}})
    for prompt, pattern in _TABLE["regex"]:
        yield Case("a regular expression", prompt, {"guided_regex": pattern}, json=False)
    for prompt, choices in _TABLE["choices"]:
        yield Case("a choice", prompt, {"guided_choice": choices}, json=False)
    for prompt, shape, wanted in _TABLE["copied"]:
        yield Case("values from the prompt, JSON", prompt, _format(shape), wanted)
    for prompt, name, shape, wanted in _TABLE["copied_calls"]:
        yield Case("values from the prompt, call", prompt, _forced(name, shape), wanted)
