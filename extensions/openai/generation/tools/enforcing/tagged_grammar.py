"""A grammar for calls with arguments between tags, in the template's own format.

Sample: `<call=get_weather><parameter=city>Oslo</parameter></call>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...grammar.bounds import MAX_COUNT
from ...grammar.constraints import ANYTHING
from ...grammar.json_schema import json_rule
from ...grammar.lark import class_member, literal
from ...grammar.regex import regex_terminal
from ..plan import ToolPlan
from ..reading.learned_formats import CallShape
from .schemas import enforced_schema

ANY_KEY = r"/[^<>\n]+/"


def tagged_grammar(plan: ToolPlan, shape: CallShape) -> str:
    """The grammar of any text, then perhaps calls; those of strict functions match their schemas.

    A value of a type other than string is JSON. A string is unquoted; its `enum`, `const`, `pattern` and
    lengths are enforced, its `format` is not.
    """
    begin = literal(shape.begin)
    rules = ["any_parameter: " + _parameter(shape, ANY_KEY, None, {})]
    for at, tool in enumerate(plan.shown):
        if tool.name in plan.strict:
            schema = enforced_schema(tool.parameters, "tools")
            arguments = " ".join(_parameters(shape, schema))
        else:
            arguments = "any_parameter*"
        rules.append(
            f"call_{at}: {literal(tool.name + shape.middle)} {arguments} {literal(shape.end)}"
            if shape.middle or shape.end
            else f"call_{at}: {literal(tool.name)} {arguments}"
        )
    rules.append("call: " + " | ".join(f"call_{at}" for at in range(len(plan.shown))))
    rules.append(f"any_value[suffix={literal(_tags(shape)[2])}]: {ANYTHING}")
    rules.append(f"before[suffix={begin}]: {ANYTHING}")
    rules.append(f"TEXT: {ANYTHING} & ~/(.|\\n)*{''.join(map(class_member, shape.begin))}(.|\\n)*/")
    more = f" (/\\n*/ {begin} call){{0,{plan.max_calls - 1}}}" if plan.max_calls > 1 else ""
    return "\n".join([f"start: TEXT | before call{more}", *rules])


def _tags(shape: CallShape) -> tuple[str, str, str]:
    assert shape.tags is not None
    return shape.tags


def _parameters(shape: CallShape, schema: Mapping[str, Any]) -> Iterator[str]:
    """The parameters' rules, in the schema's order."""
    shared = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    required = schema.get("required", ())
    for name, each in (schema.get("properties") or {}).items():
        optional = "" if name in required else "?"
        yield f"({_parameter(shape, literal(name), each, shared)}){optional}"
    if schema.get("additionalProperties", True) is not False:
        yield "any_parameter*"


def _parameter(shape: CallShape, key: str, schema: Any, shared: Mapping[str, Any]) -> str:
    before_key, to_value, after_value = _tags(shape)
    return f"{literal(before_key)} {key} {literal(to_value)} {_value(schema, shared, literal(after_value))}"


def _value(schema: Any, shared: Mapping[str, Any], behind: str) -> str:
    if not isinstance(schema, dict) or schema.get("type") in (None, "string") or _is_union(schema):
        texts = _allowed_texts(schema) if isinstance(schema, dict) else None
        if texts:
            return f"({' | '.join(map(literal, texts))}) {behind}"
        if isinstance(schema, dict) and isinstance(schema.get("pattern"), str):
            return f"{regex_terminal(schema['pattern'])} {behind}"
        if isinstance(schema, dict) and ("minLength" in schema or "maxLength" in schema):
            return f"/(.|\\n){_lengths(schema)}/ {behind}"
        return "any_value"
    return f"{json_rule({**schema, **shared}, 'tools')} {behind}"


def _lengths(schema: Mapping[str, Any]) -> str:
    """A string's bounds, as a regular expression has them."""
    low, high = (schema.get(name) for name in ("minLength", "maxLength"))
    if isinstance(high, (int, float)) and high > MAX_COUNT:
        high = None
    return f"{{{_whole(low or 0)},{'' if high is None else _whole(high)}}}"


def _whole(count: Any) -> Any:
    return int(count) if isinstance(count, float) and count.is_integer() else count


def _is_union(schema: Mapping[str, Any]) -> bool:
    return isinstance(schema.get("type"), list)


def _allowed_texts(schema: Mapping[str, Any]) -> list[str]:
    """The only texts that a string may be; empty: others are allowed."""
    found = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        return []
    return found
