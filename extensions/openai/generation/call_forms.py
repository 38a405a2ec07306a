"""Calls that a model makes by itself, in the format that it was taught: FORMS, a row each.

Demanded calls are written in a format of ours (`tools.py`). Source of the formats: the chat templates of the
models, as they put earlier calls.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..engines.base import Tool

Tools = Mapping[str, Tool]
"""By their names."""


@dataclass(frozen=True, slots=True)
class Called:
    """One call."""

    name: str
    arguments: str
    """JSON text of an object."""


Read = Callable[[str, Tools], list[Called]]
"""The calls that stand between two marks. Raises ValueError where there are none."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """One format. Several may have the same marks: the first that can read what stands between them does."""

    of: str
    """Who writes so."""
    opening: str
    closing: str
    """Empty: the end of the answer, which in any case closes what is complete."""
    read: Read
    inner: tuple[str, ...] = ()
    """Further marks, which may be tokens of their own."""
    bare: bool = False
    """The opening is no mark, but may begin any text: it counts at the beginning of an answer only, and if
    the functions are known."""


# Readers


def read_json(text: str, tools: Tools) -> list[Called]:
    """JSON objects, or lists of them, with whatever models put between two."""
    found: list[Called] = []
    decoder, at = json.JSONDecoder(), 0
    try:
        while at < len(text):
            if text[at] in " \t\r\n,;":
                at += 1
                continue
            value, at = decoder.raw_decode(text, at)
            found += map(_call_of, value if isinstance(value, list) else [value])
    except RecursionError:
        raise ValueError from None
    return _some(found)


def _call_of(value: Any) -> Called:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        raise ValueError
    name = next((value[key] for key in NAME_KEYS if key in value), None)
    arguments: Any = next((value[key] for key in ARGUMENT_KEYS if key in value), {})
    if not isinstance(name, str) or not name:
        raise ValueError
    return Called(name, _object(arguments))


NAME_KEYS = ("name", "tool_name", "function")
ARGUMENT_KEYS = ("arguments", "parameters", "args")
KEYS = (*NAME_KEYS, *ARGUMENT_KEYS, "type", "id", "tool_call_id")


def _object(arguments: Any) -> str:
    """Arguments as JSON text; they may come as that, too."""
    if isinstance(arguments, str):
        if not isinstance(json.loads(arguments or "{}"), dict):
            raise ValueError
        return arguments or "{}"
    if not isinstance(arguments, dict):
        raise ValueError
    return json.dumps(arguments, ensure_ascii=False)


def _some(found: list[Called]) -> list[Called]:
    if not found:
        raise ValueError
    return found


def named(pattern: str) -> Read:
    """A reader of calls that match a pattern, whose groups are `name` and `json`."""
    compiled = re.compile(pattern, re.DOTALL)

    def read(text: str, tools: Tools) -> list[Called]:
        return [Called(name, _object(json.loads(inner))) for name, inner in _each(compiled, text)]

    return read


def tagged(pattern: str, parameter: str) -> Read:
    """The same, with the arguments between tags: `pattern` has the groups `name` and `inner`, and in that
    `parameter` those of `key` and `value`."""
    compiled, inside = re.compile(pattern, re.DOTALL), re.compile(parameter, re.DOTALL)

    def read(text: str, tools: Tools) -> list[Called]:
        found = []
        for name, inner in _each(compiled, text):
            known = tools[name].parameters.get("properties") if name in tools else None
            types = known if isinstance(known, dict) else {}
            pairs = list(_each(inside, inner)) if inner.strip() else []
            if not pairs and name not in tools:  # it may be any text
                raise ValueError
            values = {key: _value(value, types.get(key)) for key, value in pairs}
            found.append(Called(name, json.dumps(values, ensure_ascii=False)))
        return found

    return read


def _each(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, str]]:
    """The two groups of each match. Raises ValueError where there is none, or something else beside it."""
    text, at = text.strip(), 0
    while at < len(text) or at == 0:
        match = pattern.match(text, at)
        if match is None or match.end() == at:
            raise ValueError
        yield match[1].strip(), match[2]
        at = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip())


def _value(text: str, schema: Any) -> Any:
    """An argument that was written without JSON's quotes, as its schema wants it."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind == "string":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_python(text: str, tools: Tools) -> list[Called]:
    """A list of Python calls with names for all arguments."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List) else [tree]
        return _some([_python_call(call) for call in calls])
    except (SyntaxError, RecursionError, MemoryError, TypeError):
        raise ValueError from None


def _python_call(call: ast.expr) -> Called:
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError
    values = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords if each.arg}
    if len(values) != len(call.keywords):
        raise ValueError
    return Called(ast.unparse(call.func), json.dumps(values, ensure_ascii=False))


XML = tagged(
    r"<function=([^>\n]+)>(.*?)</function>",
    r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>",
)

FORMS: tuple[CallForm, ...] = (
    CallForm("Hermes, Qwen", "<tool_call>", "</tool_call>", read_json),
    CallForm("Qwen3-Coder", "<tool_call>", "</tool_call>", XML),
    CallForm("GLM 4.5", "<tool_call>", "</tool_call>", tagged(
        r"([^<\s]+)((?:\s*<arg_key>.*</arg_value>)?)$",
        r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>",
    ), ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")),
    CallForm("Llama 3.1, Functionary", "<function=", "</function>", named(r"([^>\n]+)>(.*)$")),
    CallForm("Qwen3-Coder", "<function=", "</function>", tagged(
        r"([^>\n]+)>(.*)$", r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>"
    )),
    CallForm("Llama 3", "<|python_tag|>", "", read_json),
    CallForm("Mistral", "[TOOL_CALLS]", "", read_json),
    CallForm("Mistral since 2025", "[TOOL_CALLS]", "", named(
        r"(?:\[TOOL_CALLS\])?\s*([^\[\{\s]+)(?:\[CALL_ID\][^\[]*)?(?:\[ARGS\])?\s*(\{.*?\})\s*"
        r"(?=\[TOOL_CALLS\]|$)"
    ), ("[ARGS]", "[CALL_ID]")),
    CallForm("DeepSeek V3.1", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", named(
        r"<｜tool▁call▁begin｜>([^<｜]+)<｜tool▁sep｜>(\s*\{.*?)<｜tool▁call▁end｜>"
    ), ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")),
    CallForm("DeepSeek V3, R1", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", named(
        r"<｜tool▁call▁begin｜>function<｜tool▁sep｜>([^\n]+)\n```json\n(.*?)\n```<｜tool▁call▁end｜>"
    )),
    CallForm("Kimi K2", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", named(
        r"<\|tool_call_begin\|>\s*(?:functions\.)?([^:<]+)(?::\d+)?\s*<\|tool_call_argument_begin\|>"
        r"(.*?)<\|tool_call_end\|>"
    ), ("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>")),
    CallForm("Phi 4 mini", "<|tool_call|>", "<|/tool_call|>", read_json),
    CallForm("Granite 3", "<|tool_call|>", "", read_json),
    CallForm("Command R7B, Command A", "<|START_ACTION|>", "<|END_ACTION|>", read_json),
    CallForm("Hunyuan, MiniMax-M1", "<tool_calls>", "</tool_calls>", read_json),
    CallForm("MiniMax-M2", "<minimax:tool_call>", "</minimax:tool_call>", tagged(
        r"<invoke name=\"([^\"]+)\">(.*?)</invoke>",
        r"<parameter name=\"([^\"]+)\">(.*?)</parameter>",
    )),
    CallForm("Nemotron", "<TOOLCALL>", "</TOOLCALL>", read_json),
    CallForm("InternLM", "<|action_start|><|plugin|>", "<|action_end|>", read_json,
             ("<|action_start|>", "<|plugin|>")),
    CallForm("LFM2", "<|tool_call_start|>", "<|tool_call_end|>", read_python),
    CallForm("Llama 3", "{", "", read_json, bare=True),
    CallForm("xLAM", "[", "", read_json, bare=True),
    CallForm("Llama 4", "[", "", read_python, bare=True),
)  # fmt: skip

MARKS: tuple[str, ...] = tuple(
    dict.fromkeys(
        mark
        for form in FORMS
        for mark in (form.opening, form.closing, *form.inner)
        if mark and not form.bare
    )
)
"""What has to be told of an answer for its calls to be seen, even where it is tokens that say nothing."""

OPENINGS = tuple(dict.fromkeys(form.opening for form in FORMS if not form.bare))
