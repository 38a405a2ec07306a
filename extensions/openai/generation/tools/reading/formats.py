"""The formats in which models write calls: one row of FORMS each.

Demanded calls are written in our own format (`plan.py`). Source of the formats: the earlier calls in the
prompts of the models' chat templates.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ....engines.protocol import Tool
from ....system import python_ast
from .streamed_arguments import StreamedArguments
from .typed_values import kinds_of, typed_value

Tools = Mapping[str, Tool]
"""By their names."""


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """One call."""

    name: str
    arguments: str
    """JSON text of an object."""


Read = Callable[[str, Tools], list[ParsedCall]]
"""The calls between two marks. Raises ValueError if there are none."""


_BEGIN = re.compile(r"\s*(?:[\[{<]|[\w.:/+-]{0,256}(?:\s*(?:[\[{(<>]|\Z)))")
"""JSON, another mark, or a name followed by one of these; prose that quotes a mark has words there."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """One format. If several have the same marks, the first that can read the text between them does."""

    models: str
    """The models that use it."""
    opening: str
    closing: str
    """Empty: the end of the answer, which always closes a complete call."""
    read: Read
    inner: tuple[str, ...] = ()
    """Other marks, which may be tokens."""
    bare: bool = False
    """The opening is not a mark and may begin any text: it counts only at the start of an answer, and only
    for known functions."""
    value: tuple[str, ...] = ()
    """The start and the ends of a value that may contain the closing mark; empty: a JSON string."""
    lenient: bool = False
    """Reads incomplete calls, so only up to the closing mark."""
    begin: re.Pattern[str] | None = _BEGIN
    """Matches the text after the opening, or a prefix of it; None: anything."""


# Readers


def read_json(text: str, tools: Tools) -> list[ParsedCall]:
    """JSON objects, or lists of them, with any separators."""
    found: list[ParsedCall] = []
    decoder, at = json.JSONDecoder(), 0
    try:
        while at < len(text):
            if text[at] in " \t\r\n,;":
                at += 1
                continue
            value, at = _decoded(decoder, text, at)
            found += map(_call_of, value if isinstance(value, list) else [value])
    except RecursionError:
        raise ValueError from None
    return _not_empty(found)


def _decoded(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:
    """A value and where it ends. Raises ValueError."""
    try:
        return decoder.raw_decode(text, at)
    except ValueError:
        written, size = _mended(text[at:])
        return json.loads(written), at + size


def _mended(text: str) -> tuple[str, int]:
    """The JSON of an object that models write in Python's way or slip in, and where it ends. Raises
    ValueError."""
    arguments = StreamedArguments()
    size, written = arguments.push(text)
    if not arguments.over:
        raise ValueError
    return written, size


def _call_of(value: Any) -> ParsedCall:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        raise ValueError
    name = next((value[key] for key in NAME_KEYS if key in value), None)
    arguments: Any = next((value[key] for key in ARGUMENT_KEYS if key in value), None)
    if not isinstance(name, str) or not name or not _is_encodable(name):
        raise ValueError
    return ParsedCall(name, _object(arguments))


NAME_KEYS = ("name", "tool_name", "function")
ARGUMENT_KEYS = ("arguments", "parameters", "args")
KEYS = (*NAME_KEYS, *ARGUMENT_KEYS, "type", "id", "tool_call_id")


def _object(arguments: Any) -> str:
    """Arguments as JSON text; they may be that already."""
    if isinstance(arguments, str):
        return _object_text(arguments)
    if not isinstance(arguments, dict | None):
        raise ValueError
    return _to_json(arguments or {})


def _object_text(text: str) -> str:
    """The JSON text of an object, unchanged but for slips. Raises ValueError if it is not one."""
    text = text.strip() or "{}"
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError from None
    except ValueError:
        written, size = _mended(text)
        if size < len(text):
            raise
        return written
    if not isinstance(value, dict):
        raise ValueError
    return text


def _no_constant(word: str) -> Any:
    """Refuse `NaN` and `Infinity`, which Python accepts but JSON does not have."""
    raise ValueError(word)


def _to_json(value: Any) -> str:
    """A value's JSON, encodable as UTF-8. Raises ValueError for infinite numbers."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if _is_encodable(text) else json.dumps(value, allow_nan=False)


def _is_encodable(text: str) -> bool:
    """Whether a text has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_empty(found: list[ParsedCall]) -> list[ParsedCall]:
    if not found:
        raise ValueError
    return found


def named(pattern: str) -> Read:
    """A reader of calls that match a pattern with two groups: the name and the arguments' JSON."""
    compiled = re.compile(pattern, re.DOTALL)

    def read(text: str, tools: Tools) -> list[ParsedCall]:
        return [ParsedCall(name, _object_text(inner)) for name, inner in _each(compiled, text)]

    return read


def tagged(pattern: str, parameter: str) -> Read:
    """A reader of calls with arguments between tags: the groups of `pattern` are the name and the inner text,
    where those of `parameter` are key and value."""
    compiled, inside = re.compile(pattern, re.DOTALL), re.compile(parameter, re.DOTALL)

    def read(text: str, tools: Tools) -> list[ParsedCall]:
        found = []
        for name, inner in _each(compiled, text):
            schema = tools[name].parameters if name in tools else {}
            known = schema.get("properties")
            types = known if isinstance(known, dict) else {}
            pairs = list(_each(inside, inner)) if inner.strip() else []
            if not pairs and name not in tools:  # it may be any text
                raise ValueError
            values = {
                key: typed_value(value, kinds_of(types.get(key), schema)) for key, value in pairs
            }
            found.append(ParsedCall(name, _to_json(values)))
        return found

    return read


def _each(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, str]]:
    """The two groups of each match. Raises ValueError if there is no match, or other text."""
    text, at = text.strip(), 0
    while at < len(text) or at == 0:
        match = pattern.match(text, at)
        if match is None or match.end() == at:
            raise ValueError
        yield match[1].strip(), match[2]
        at = match.end()
        while at < len(text) and text[at].isspace():
            at += 1


def read_python(text: str, tools: Tools) -> list[ParsedCall]:
    """A list of Python calls with keyword arguments only, or one call in each line."""
    try:
        lines = [getattr(line, "value", None) for line in python_ast.parse(text.strip()).body]
        calls: list[Any] = lines
        if len(lines) == 1 and isinstance(lines[0], ast.List):
            calls = lines[0].elts
        return _not_empty([_python_call(call) for call in calls])
    except (SyntaxError, RecursionError, MemoryError, TypeError):
        raise ValueError from None


def _python_call(call: ast.AST | None) -> ParsedCall:
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError
    values = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords if each.arg}
    if len(values) != len(call.keywords):
        raise ValueError
    return ParsedCall(ast.unparse(call.func), _to_json(values))


def read_by_name(text: str, tools: Tools) -> list[ParsedCall]:
    """A list of objects, each with the function's name as its only key: `[{"now": {}}]`."""
    value = json.loads(text)
    calls = value if isinstance(value, list) else [value]
    if not all(isinstance(call, dict) and len(call) == 1 for call in calls):
        raise ValueError
    return _not_empty([ParsedCall(name, _object(call[name])) for call in calls for name in call])


def quoted_by(quote: str) -> Read:
    """A reader of one call with unquoted keys and strings between two marks:
    `call:get_weather{city:<escape>Oslo<escape>,days:3}`."""

    def read(text: str, tools: Tools) -> list[ParsedCall]:
        head = _CALL_NAME.match(text)
        parts = text[head.end() :].split(quote) if head else []
        if head is None or len(parts) % 2 == 0:
            raise ValueError
        arguments = [
            json.dumps(part, ensure_ascii=False) if at % 2 else _BARE_KEY.sub(_quoted, part)
            for at, part in enumerate(parts)
        ]
        return [ParsedCall(head[1], _object_text("".join(arguments)))]

    return read


_CALL_NAME = re.compile(r"\s*call:\s*([\w.-]+)\s*(?=\{)")
_BARE_KEY = re.compile(
    r""""(?:[^"\\]|\\.?)*(?:"|\Z)|'(?:[^'\\]|\\.?)*(?:'|\Z)"""
    r"""|([{,]\s*)([^\s{}\[\],:"'][^\s{}\[\],:"]*)(?=\s*:)""",
    re.DOTALL,
)
"""A key without quotes; strings are matched too, so that no key is found inside of them."""


def _quoted(found: re.Match[str]) -> str:
    return f'{found[1]}"{found[2]}"' if found[2] else found[0]


XML = tagged(
    r"<function=([^>\n]+)>(.*?)</function>",
    r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>",
)

# Models omit closing tags.
LENIENT_XML = tagged(
    r"<function=([^>\n]+)>(.*?)(?:</function>|\Z)",
    r"<parameter=([^>\n]+)>\n?(.*?)\n?(?:</parameter>|(?=\n\s*<parameter=)|\Z)",
)
XML_VALUE = ("<parameter=", "</parameter>", "</function>")

FORMS: tuple[CallForm, ...] = (
    CallForm("Hermes, Qwen", "<tool_call>", "</tool_call>", read_json),
    CallForm("Qwen3-Coder", "<tool_call>", "</tool_call>", XML, value=XML_VALUE),
    CallForm("Qwen3-Coder", "<tool_call>", "</tool_call>", LENIENT_XML, value=XML_VALUE, lenient=True),
    CallForm("Seed-OSS", "<seed:tool_call>", "</seed:tool_call>", XML, value=XML_VALUE),
    CallForm("Seed-OSS", "<seed:tool_call>", "</seed:tool_call>", LENIENT_XML, value=XML_VALUE, lenient=True),
    CallForm("GLM 4.5", "<tool_call>", "</tool_call>", tagged(
        r"([^<\s]+)((?:\s*<arg_key>.*</arg_value>)?)$",
        r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>",
    ), ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"), value=("<arg_value>", "</arg_value>")),
    CallForm("Llama 3.1, Functionary", "<function=", "</function>", named(r"([^>\n]+)>(.*)$")),
    CallForm("Qwen3-Coder", "<function=", "</function>", tagged(
        r"([^>\n]+)>(.*)$", r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>"
    ), value=XML_VALUE),
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
    ), value=("<parameter name=", "</parameter>")),
    CallForm("Nemotron", "<TOOLCALL>", "</TOOLCALL>", read_json),
    CallForm("InternLM", "<|action_start|><|plugin|>", "<|action_end|>", read_json,
             ("<|action_start|>", "<|plugin|>")),
    CallForm("LFM2", "<|tool_call_start|>", "<|tool_call_end|>", read_python),
    CallForm("Llama 4", "<|python_start|>", "<|python_end|>", read_python),
    CallForm("Olmo 3", "<function_calls>", "</function_calls>", read_python),
    CallForm("Apertus", "<|tools_prefix|>", "<|tools_suffix|>", read_by_name),
    CallForm("DeepSeek V3.2", "<｜DSML｜function_calls>", "</｜DSML｜function_calls>", tagged(
        r"<｜DSML｜invoke name=\"([^\"]+)\">(.*?)</｜DSML｜invoke>",
        r"<｜DSML｜parameter name=\"([^\"]+)\"[^>]*>(.*?)</｜DSML｜parameter>",
    ), ("｜DSML｜",), value=("<｜DSML｜parameter name=", "</｜DSML｜parameter>")),
    CallForm("Gemma 4", "<|tool_call>", "<tool_call|>", quoted_by('<|"|>'), ('<|"|>',)),
    CallForm("FunctionGemma", "<start_function_call>", "<end_function_call>", quoted_by("<escape>"),
             ("<escape>",)),
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
"""Special tokens to report as text, because calls consist of them."""
