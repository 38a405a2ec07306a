"""Calls that models make by themselves: each format, however it is split, and what only looks like one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.openai.engines.protocol import (
    ChatRequest,
    Finish,
    Message,
    Piece,
    Pieces,
    TokenLogprob,
    Tool,
)
from extensions.openai.errors import EngineFailed
from extensions.openai.generation.chat.answer import answer_chat
from extensions.openai.generation.chat.answer_shape import Wanted
from extensions.openai.generation.chat.harmony import ChannelReader
from extensions.openai.generation.chat.parts import PartReader, apart
from extensions.openai.generation.chat.reasoning_reader import TAGS, ThoughtReader
from extensions.openai.generation.tools.plan import ToolPlan
from extensions.openai.generation.tools.reading.formats import FORMS, MARKS
from extensions.openai.generation.tools.reading.reader import CallReader
from tests.generation.chat.test_answer import Scripted
from tests.support.process import ROOT

WEATHER = Tool(
    "get_weather",
    None,
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "hourly": {"type": "boolean"},
        },
    },
)
ADD = Tool("add-up", None, {"type": "object", "properties": {"numbers": {"type": "array"}}})
NOW = Tool("now", None, {"type": "object", "properties": {}})
TOOLS = (WEATHER, ADD, NOW)

PARIS: dict[str, Any] = {"city": 'Paris "<>" 🙂', "days": 3}
ARGUMENTS = json.dumps(PARIS, ensure_ascii=False)
W, A = ("get_weather", PARIS), ("add-up", {"numbers": [1, [2]]})
ONE = f'{{"name": "get_weather", "arguments": {ARGUMENTS}}}'
TWO = '{"name": "add-up", "arguments": {"numbers": [1, [2]]}}'
OLD = '{"name": "add-up", "parameters": {"numbers": [1, [2]]}}'

OUTPUT: list[tuple[str, str, str, list[Any]]] = [
    ("Hermes, Qwen", "", f"<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{TWO}\n</tool_call>", [W, A]),
    ("Hermes, Qwen", "Let me see.\n", f"<tool_call>{TWO}</tool_call>\n", [A]),
    ("Hermes, Qwen", "", f"<tool_call>\n{TWO}", [A]),
    ("Qwen3-Coder", "", "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis \"<>\" 🙂\n"
     "</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>", [W]),
    ("Qwen3-Coder", "So.", "<function=add-up>\n<parameter=numbers>\n[1, [2]]\n</parameter>\n</function>",
     [A]),
    ("Qwen3-Coder", "", "<tool_call>\n<function=now>\n</function>\n</tool_call>", [("now", {})]),
    ("GLM 4.5", "", "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris \"<>\" 🙂"
     "</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>", [W]),
    ("GLM 4.5", "", "<tool_call>now</tool_call>", [("now", {})]),
    ("Llama 3.1, Functionary", "", f"<function=get_weather>{ARGUMENTS}</function>", [W]),
    ("Llama 3", "", f"<|python_tag|>{OLD}; {OLD}", [A, A]),
    ("Llama 3", "", f"\n\n{OLD}", [A]),
    ("Llama 3", "", f'{{"type": "function", "function": {TWO}}}', [A]),
    ("Mistral", "", f"[TOOL_CALLS] [{ONE}, {TWO}]", [W, A]),
    ("Mistral since 2025", "", f"[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}", [W]),
    ("Mistral since 2025", "Hm. ", "[TOOL_CALLS]get_weather[CALL_ID]a1[ARGS]" + ARGUMENTS
     + '[TOOL_CALLS]add-up[ARGS]{"numbers": [1, [2]]}', [W, A]),
    ("DeepSeek V3.1", "", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>" + ARGUMENTS
     + '<｜tool▁call▁end｜><｜tool▁call▁begin｜>add-up<｜tool▁sep｜>{"numbers": [1, [2]]}<｜tool▁call▁end｜>'
     "<｜tool▁calls▁end｜>", [W, A]),
    ("DeepSeek V3, R1", "", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
     "```json\n" + ARGUMENTS + "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", [W]),
    ("Kimi K2", "", "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
     f"<|tool_call_argument_begin|>{ARGUMENTS}<|tool_call_end|><|tool_calls_section_end|>", [W]),
    ("Phi 4 mini", "", f"<|tool_call|>[{ONE}]<|/tool_call|>", [W]),
    ("Granite 3", "", f"<|tool_call|>[{ONE}, {TWO}]", [W, A]),
    ("Command R7B, Command A", "", '<|START_ACTION|>[\n{"tool_call_id": "0", "tool_name": "get_weather", '
     f'"parameters": {ARGUMENTS}}}\n]<|END_ACTION|>', [W]),
    ("Hunyuan, MiniMax-M1", "", f"<tool_calls>\n{ONE}\n{TWO}\n</tool_calls>", [W, A]),
    ("MiniMax-M2", "", '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">'
     'Paris "<>" 🙂</parameter>\n<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>', [W]),
    ("Nemotron", "", f"<TOOLCALL>[{ONE}]</TOOLCALL>", [W]),
    ("InternLM", "I look it up.", f"<|action_start|><|plugin|>\n{OLD}<|action_end|>", [A]),
    ("LFM2", "", "<|tool_call_start|>[get_weather(city='Paris \"<>\" 🙂', days=3), now()]<|tool_call_end|>",
     [W, ("now", {})]),
    ("xLAM", "", f"[{ONE}, {TWO}]", [W, A]),
    ("Llama 4", "", "[get_weather(city='Paris \"<>\" 🙂', days=3)]", [W]),
    ("Llama 4", "", "<|python_start|>[get_weather(city='Paris \"<>\" 🙂', days=3)]<|python_end|>", [W]),
    ("Seed-OSS", "", "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Paris \"<>\" 🙂</parameter>\n"
     "<parameter=days>3</parameter>\n</function>\n</seed:tool_call>", [W]),
    ("Olmo 3", "", "<function_calls>get_weather(city='Paris \"<>\" 🙂', days=3)\nnow()</function_calls>",
     [W, ("now", {})]),
    ("Apertus", "", f'<|tools_prefix|>[{{"get_weather": {ARGUMENTS}}}, {{"now": {{}}}}]<|tools_suffix|>',
     [W, ("now", {})]),
    ("DeepSeek V3.2", "", '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter '
     'name="city" string="true">Paris "<>" 🙂</｜DSML｜parameter>\n<｜DSML｜parameter name="days" '
     'string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>', [W]),
    ("Gemma 4", "", '<|tool_call>call:get_weather{city:<|"|>Paris "<>" 🙂<|"|>,days:3}<tool_call|>'
     '<|tool_call>call:now{}<tool_call|>', [W, ("now", {})]),
    ("Gemma 4", "", '<|tool_call>call:add-up{numbers:[1,[2]]}<tool_call|>', [A]),
    ("FunctionGemma", "", '<start_function_call>call:get_weather{city:<escape>Paris "<>" 🙂<escape>, days:3}'
     '<end_function_call>', [W]),
    # Models leave tags out, write them twice, quote them, and begin again.
    ("Qwen3-Coder", "So.\n", '<function=get_weather>\n<parameter=city>\nParis "<>" 🙂\n</parameter>\n'
     "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>", [W]),
    ("Qwen3-Coder", "", '<tool_call>\n<function=get_weather>\n<parameter=city>\nParis "<>" 🙂\n'
     "<parameter=days>\n3\n</function>\n</tool_call>", [W]),
    ("Qwen3-Coder", "", '<tool_call>\n<function=get_weather>\n<parameter=city>\nParis "<>" 🙂\n</parameter>'
     "\n<parameter=days>\n3\n</parameter>\n</tool_call>", [W]),
    ("Qwen3-Coder", "", "<tool_call>\n<function=get_weather>\n<parameter=city>\n"
     "<tool_call> and </tool_call>\n</parameter>\n</function>\n</tool_call>",
     [("get_weather", {"city": "<tool_call> and </tool_call>"})]),
    ("Hermes, Qwen", "Calls stand in `<tool_call>` so:\n", f"<tool_call>\n{TWO}\n</tool_call>", [A]),
    ("Hermes, Qwen", "", f"<tool_call>\n{ONE}\n<tool_call>\n{TWO}\n</tool_call>", [W, A]),
    ("Hermes, Qwen", "", f"<tool_call>\n{TWO}}}\n</tool_call>", [A]),
    ("Hermes, Qwen", "", '<tool_call>{"arguments": {"city": "</tool_call>"}, "name": "get_weather"}'
     "</tool_call>", [("get_weather", {"city": "</tool_call>"})]),
    ("Hermes, Qwen", "", '<tool_call>\n{"name": "now", "arguments": null}\n</tool_call>', [("now", {})]),
    # What is no JSON in a string is made to be.
    ("Hermes, Qwen", "", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "a\n\tb"}}\n'
     "</tool_call>", [("get_weather", {"city": "a\n\tb"})]),
    ("Hermes, Qwen", "", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "C:\\dir"}}\n'
     "</tool_call>", [("get_weather", {"city": "C:\\dir"})]),
]  # fmt: skip


def pieces_of(parts: list[str], finish: Finish = "stop") -> Pieces:
    for part in parts:
        yield None
        yield Piece(part, tokens=1)
    yield Piece(tokens=1, finish=finish)


def read(pieces: Iterator[Piece | None]) -> tuple[str, str, list[Any], list[Piece]]:
    """The text, the thought, the calls, and the pieces of all."""
    found = [piece for piece in pieces if piece is not None]
    calls: list[list[str]] = []
    for delta in (call for piece in found for call in piece.tool_calls):
        if delta.name is not None:
            assert delta.index == len(calls) and delta.id
            calls.append([delta.name, ""])
        calls[delta.index][1] += delta.arguments
    whole = [(name, json.loads(arguments)) for name, arguments in calls]
    thought = "".join(piece.reasoning for piece in found)
    return "".join(piece.text for piece in found), thought, whole, found


def splits(text: str) -> list[list[str]]:
    """The text whole, in single characters, and cut at each tenth place."""
    return [[text], list(text), *([text[:at], text[at:]] for at in range(1, len(text), 10))]


@pytest.mark.parametrize(("form", "before", "output", "calls"), OUTPUT)
def test_each_form_is_read_however_it_is_split(
    form: str, before: str, output: str, calls: list[Any]
) -> None:
    for parts in splits(before + output):
        text, _, found, pieces = read(apart(pieces_of(parts), CallReader(TOOLS)))
        assert (text, found) == (before.rstrip(), calls), parts
        assert pieces[-1].finish == "tool_calls"
        assert sum(piece.tokens for piece in pieces) == len(parts) + 1


def test_each_row_has_an_example() -> None:
    assert {form.models for form in FORMS} == {form for form, *_ in OUTPUT}
    assert all(re.search(r"[<\[｜]", mark) for mark in MARKS)
    reported = " ".join((ROOT / "docs" / "webui.md").read_text().split())
    assert all(name in reported for form in FORMS for name in form.models.split(", "))


@pytest.mark.parametrize("behind", ["Done.\n", "Done. ", "</b> Done", "<think>x</think>"])
def test_text_behind_a_call_is_kept_without_the_spaces_between(behind: str) -> None:
    for parts in splits(f"<tool_call>\n{TWO}\n</tool_call>\n\n{behind}"):
        text, _, calls, _ = read(apart(pieces_of(parts), CallReader(TOOLS)))
        assert (text, calls) == (behind, [A]), parts


@pytest.mark.parametrize(("form", "before", "output", "calls"), OUTPUT)
def test_a_call_of_a_hidden_tool_stays_text(
    form: str, before: str, output: str, calls: list[Any]
) -> None:
    for parts in splits(before + output):
        reader = CallReader(TOOLS[:0], hidden=NAMES)
        text, _, found, pieces = read(apart(pieces_of(parts), reader))
        assert (text, found) == (before + output, []), parts
        assert pieces[-1].finish == "stop"


UNION = Tool(
    "set",
    None,
    {
        "type": "object",
        "$defs": {"Size": {"enum": ["1", "2"]}},
        "properties": {
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "also": {"type": ["string", "null"]},
            "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "size": {"$ref": "#/$defs/Size"},
            "on": {"type": "boolean"},
            "map": {"type": "object"},
            "number": {"type": "number"},
            "open": {},
        },
    },
)


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("maybe", "123", "123"),
        ("maybe", "null", None),
        ("maybe", '"quoted"', '"quoted"'),
        ("also", "true", "true"),
        ("also", "null", None),
        ("count", "7", 7),
        ("count", "None", None),
        ("size", "1", "1"),
        ("on", "True", True),
        ("map", "{'a': None, 'b': [True]}", {"a": None, "b": [True]}),
        ("map", '{"a": null}', {"a": None}),
        ("number", "2", 2),
        ("number", "1e999", "1e999"),
        ("open", "NaN", "NaN"),
        ("open", "[1]", [1]),
        ("open", "9" * 5000, "9" * 5000),
    ],
)
def test_values_without_quotes_have_the_types_of_their_schema(
    key: str, written: str, value: Any
) -> None:
    parameter = f"<parameter={key}>\n{written}\n</parameter>"
    output = f"<tool_call>\n<function=set>\n{parameter}\n</function>\n</tool_call>"
    _, _, calls, _ = read(apart(pieces_of([output]), CallReader((UNION,))))
    assert calls == [("set", {key: value})]


def test_a_recursive_schema_of_a_value_is_given_up() -> None:
    node = {"anyOf": [{"$ref": "#/properties/x"}] * 32}
    tool = Tool("set", None, {"type": "object", "properties": {"x": node}})
    output = "<tool_call><function=set><parameter=x>1</parameter></function></tool_call>"
    assert read(apart(pieces_of([output]), CallReader((tool,))))[2] == [("set", {"x": 1})]


@pytest.mark.parametrize(
    "output",
    [
        '<tool_call>{"function": {"name": "get_weather", "arguments": {"city": "\\ud83d"}}}</tool_call>',
        '[TOOL_CALLS]get_weather[ARGS]{"city": "\\ud83d", "days": 1e999}',
        "<|tool_call_start|>[get_weather(city='\\ud83d')]<|tool_call_end|>",
    ],
)
def test_arguments_can_be_sent(output: str) -> None:
    *_, pieces = read(apart(pieces_of([output]), CallReader(TOOLS)))
    arguments = "".join(call.arguments for piece in pieces for call in piece.tool_calls)
    arguments.encode()
    assert json.loads(arguments)["city"] == "\ud83d" and "Infinity" not in arguments


def test_a_limit_makes_no_call_of_a_part_of_one() -> None:
    parameter = '<parameter=city>\nParis "<>" 🙂\n</parameter>'
    output = f"<tool_call>\n<function=get_weather>\n{parameter}\n</function>\n</tool_call>"
    for cut in range(1, output.index("\n</tool_call>")):
        for parts in ([output[:cut]], list(output[:cut])):
            found = read(apart(pieces_of(parts, "length"), CallReader(TOOLS)))
            assert found[2] == [], parts


# Sample: `{"name": "get_weather", "arguments": {"city": "abc abc abc ...`
U = '<tool_call>\n{"name": "get_weather", "arguments": {"city": '


@pytest.mark.parametrize(
    ("begin", "unit", "end"),
    [
        (U + "[0.", "1234", "]}}\n</tool_call>"),
        (U + '"', "abc ", '"}}\n</tool_call>'),
        (U.replace("get_weather", "unknown") + '"', "abc ", '"}}\n</tool_call>'),
        ('<tool_call>\n{"name": "', "abcd", '", "arguments": {}}\n</tool_call>'),
        (U + '"x"}', "abcd", ""),
        (
            "<tool_call>\n<function=get_weather>\n<parameter=city>\n",
            "ab\n",
            "</parameter>\n</function>\n</tool_call>",
        ),
        ("Let me see.", "\n", f"<tool_call>\n{TWO}\n</tool_call>"),
        ("", "<tool_call>\n", ""),
        ("", "<tool_call>{", ""),
        ('```json\n{"name": "get_weather", "arguments": {"city": "', "``` ", '"}}\n```'),
        ('```json\n{"name": "unknown", "arguments": {"city": "', "``` ", '"}}\n```'),
        ('{"name": "get_weather", "arguments": {"city": "', "A line of a long text.\n" * 2, '"}}'),
        ("<|tool_call>call:get_weather{city:", "'a\\", "<tool_call|>"),
    ],
)
def test_long_answers_take_time_in_their_length(begin: str, unit: str, end: str) -> None:
    """With time in the square of it, these take minutes."""
    parts = [*begin, *[unit] * 30_000, *end]
    found = [piece for piece in apart(pieces_of(parts), CallReader(TOOLS)) if piece is not None]
    assert sum(piece.tokens for piece in found) == len(parts) + 1
    text, _, calls, _ = read(iter(found))
    assert calls or text == "".join(parts)


MALFORMED = [
    ("{'city': 'Oslo', \"days\": 3}", {"city": "Oslo", "days": 3}),
    ('{"hourly": True, "city": None}', {"hourly": True, "city": None}),
    ('{"days": 3, }', {"days": 3}),
    ('{"days": [1, 2}', {"days": [1, 2]}),
    ('{"city": "Oslo" "days": 3}', {"city": "Oslo", "days": 3}),
]
CALLS = [
    '<tool_call>\n{"name": "get_weather", "arguments": %s}\n</tool_call>',
    '[TOOL_CALLS] [{"name": "get_weather", "arguments": %s}]',
    "[TOOL_CALLS]get_weather[ARGS]%s",
    "<function=get_weather>%s</function>",
    '{"name": "get_weather", "parameters": %s}',
]


@pytest.mark.parametrize(("written", "meant"), MALFORMED)
@pytest.mark.parametrize("form", CALLS)
def test_slips_in_the_json_of_a_call_are_mended(form: str, written: str, meant: Any) -> None:
    for parts in splits(form % written):
        text, _, calls, _ = read(apart(pieces_of(parts), CallReader(TOOLS)))
        assert (text, calls) == ("", [("get_weather", meant)])


@pytest.mark.parametrize(
    "written",
    [
        '{"days": [{"a": 1}}, {"b": 2}]}',
        '{"days": [{"a": 1}}, "hours": 2}',
        '{"days": {"a": [1, 2}, "hours": 3}}',
        """{"city": 'print('}')'}""",
        """{'city': 'it's'}""",
        '{"days": ["say ""hi"""]}',
    ],
)
@pytest.mark.parametrize("form", CALLS)
@pytest.mark.parametrize("parallel", [True, False])
def test_no_call_loses_a_part_of_what_the_model_wrote(
    form: str, written: str, parallel: bool
) -> None:
    """Where it is not clear what is meant, the answer is text, or the arguments are no JSON."""
    found: set[tuple[str, str]] = set()
    for parts in splits(form % written):
        reader = CallReader(TOOLS, parallel=parallel)
        pieces = [each for each in apart(pieces_of(parts), reader) if each is not None]
        text = "".join(each.text for each in pieces)
        arguments = "".join(call.arguments for each in pieces for call in each.tool_calls)
        found.add((text, arguments))
    ((text, arguments),) = found
    if text:
        assert (text, arguments) == (form % written, "")
    else:
        assert all(letter in arguments for letter in re.findall(r"\w+", written))
        with pytest.raises(ValueError, match="line 1"):
            json.loads(arguments)


def test_what_is_held_back_is_no_delta_without_text() -> None:
    output = CALLS[0] % '{"hourly": True, "days": [1, 2, ], "city": "Oslo" }'
    pieces = [
        each for each in apart(pieces_of(list(output)), CallReader(TOOLS)) if each is not None
    ]
    first, *others = (call.arguments for each in pieces for call in each.tool_calls)
    assert all(others) and json.loads(first + "".join(others))["days"] == [1, 2]
    assert sum(each.tokens for each in pieces) == len(output) + 1


def test_only_the_first_call_is_made_where_it_is_to_be_one() -> None:
    output = "".join(CALLS[0] % each for each in ("{'days': 3}", '{"days": [4}', '{"days": 5}'))
    for parts in splits(output):
        text, _, calls, pieces = read(apart(pieces_of(parts), CallReader(TOOLS, parallel=False)))
        assert (text, calls, pieces[-1].finish) == (
            "",
            [("get_weather", {"days": 3})],
            "tool_calls",
        )


@pytest.mark.parametrize("quote", ["'", '"'])
def test_text_in_quotes_has_no_keys(quote: str) -> None:
    """Gemma has a mark in place of quotes, and does not always write it."""
    city = "Oslo, or: Bergen"
    output = f"<|tool_call>call:get_weather{{city:{quote}{city}{quote},days:3}}<tool_call|>"
    for parts in splits(output):
        text, _, calls, _ = read(apart(pieces_of(parts), CallReader(TOOLS)))
        assert (text, calls) == ("", [("get_weather", {"city": city, "days": 3})])


def test_brackets_that_a_model_forgets_are_added_and_those_that_a_limit_cuts_are_not() -> None:
    output = '<tool_call>\n{"name": "get_weather", "arguments": {"days": [1, 2'
    for end in ("", "\n</tool_call>", ",", ", \n</tool_call>"):
        for parts in splits(output + end):
            _, _, calls, _ = read(apart(pieces_of(parts), CallReader(TOOLS)))
            assert calls == [("get_weather", {"days": [1, 2]})]
    pieces = apart(pieces_of([output], "length"), CallReader(TOOLS))
    said = [call.arguments for each in pieces if each for call in each.tool_calls]
    assert "".join(said) == '{"days": [1, 2'


def test_a_call_comes_as_soon_as_it_is_complete() -> None:
    parts = [f"<tool_call>\n{ONE}\n</tool_call>", "\n", f"<tool_call>\n{TWO}\n</tool_call>"]
    pieces = [piece for piece in apart(pieces_of(parts), CallReader(TOOLS)) if piece is not None]
    assert [bool(piece.tool_calls) for piece in pieces] == [True, False, True, False]


@pytest.mark.parametrize(
    ("output", "calls"),
    [
        (f"```json\n{ONE}\n```", [W]),
        (f"\n ```JSON\r\n{TWO}\r\n``` \n\n", [A]),
        (f"```\n[{ONE}, {TWO}]\n```", [W, A]),
        (f"```json {ONE}```", [W]),
        (f"```json\n{ONE}\n{TWO}\n```", [W, A]),
        ('```json\n{"name": "get_weather", "arguments": {"city": "```\\"```\\\\"}}\n```',
         [("get_weather", {"city": '```"```\\'})]),
    ],
)  # fmt: skip
def test_a_call_that_is_a_block_of_code_is_read_where_it_is_all_of_the_answer(
    output: str, calls: list[Any]
) -> None:
    for parts in splits(output):
        text, _, found, pieces = read(apart(pieces_of(parts), CallReader(TOOLS)))
        assert (text, found, pieces[-1].finish) == ("", calls, "tool_calls"), parts
    text, _, found, _ = read(apart(pieces_of([output]), CallReader(TOOLS, bare=False)))
    assert (text, found) == (output, [])
    reader = ThoughtReader(CallReader(TOOLS))
    text, thought, found, _ = read(apart(pieces_of(list(f"<think>Hm.</think>{output}")), reader))
    assert (text, thought, found) == ("", "Hm.", calls)


@pytest.mark.parametrize(
    "output",
    [
        f"```json\n{ONE}\n```\nThat is it.",
        f"So:\n```json\n{ONE}\n```",
        f"```json\n{ONE}\n",
        f"```json\n{ONE}\n`` `",
        f"```json\n{ONE} and\n```\n",
        f"```python\n{ONE}\n```",
        '```json\n{"name": "Bob", "arguments": {}}\n```',
        '```json\n{"name": "now", "arguments": {}\n```',
        '```json\n{"name": "now\n```',
        "```json\n[get_weather(city='x')]\n```",
        "```json\n[1, 2]\n```",
        "```json\n```",
        "``` ```",
        "```",
        "``",
        "`now` is it",
    ],
)
def test_what_only_looks_like_one_comes_as_it_was_written(output: str) -> None:
    for finish in ("stop", "length"):
        for parts in splits(output):
            text, _, calls, pieces = read(apart(pieces_of(parts, finish), CallReader(TOOLS)))
            assert (text, calls, pieces[-1].finish) == (output, [], finish), parts


def test_a_block_of_code_is_held_up_no_longer_than_it_may_be_a_call() -> None:
    for output in ('```json\n{"answer": 42', "```python\nprint(1)", f"```json\n{ONE}\n``` is"):
        found = apart(pieces_of([*output, "and", "more"]), CallReader(TOOLS))
        shown = [piece.text for piece in found if piece is not None]
        assert shown[-3:-1] == ["and", "more"], output


BETWEEN: list[tuple[str, str, str, list[Any]]] = [
    (f"<think>One.</think>\n<tool_call>{TWO}</tool_call>\n<think>\nTwo.\n</think>\n\nDone.",
     "One.\n\nTwo.", "Done.", [A]),
    (f"<tool_call>{TWO}</tool_call><think>Two.</think>\n<tool_call>\n{ONE}\n</tool_call>\n"
     f"<think>Three.</think><tool_call>{TWO}</tool_call>", "Two.\n\nThree.", "", [A, W, A]),
    (f"So.\n<tool_call>{TWO}</tool_call>\n<think></think>\nDone.", "", "So.Done.", [A]),
    (f"<tool_call>{TWO}</tool_call><think>And on", "And on", "", [A]),
    (f"<tool_call>{TWO}</tool_call>\n<think>And on\n<tool_call>{ONE}</tool_call>", "And on", "", [A, W]),
    (f"<TOOLCALL>[{TWO}]</TOOLCALL>[THINK]Hm.[/THINK]<TOOLCALL>[{TWO}]</TOOLCALL>", "Hm.", "", [A, A]),
    # Only what stands right behind a call, and only a whole mark.
    (f"<tool_call>{TWO}</tool_call>\nDone. <think>x</think>", "", "Done. <think>x</think>", [A]),
    (f"<tool_call>{TWO}</tool_call>\n<thinking>x</think>", "", "<thinking>x</think>", [A]),
    (f"<tool_call>{TWO}</tool_call>\n<thin", "", "<thin", [A]),
    ("<think>x</think><think>y</think>", "x", "<think>y</think>", []),
]  # fmt: skip


@pytest.mark.parametrize(("output", "thought", "text", "calls"), BETWEEN)
def test_a_thought_behind_a_call_is_one(
    output: str, thought: str, text: str, calls: list[Any]
) -> None:
    for parts in splits(output):
        reader = CallReader(TOOLS)
        made = ThoughtReader(reader, call_marks=reader.openings)
        found = read(apart(pieces_of(parts), made))
        assert found[:3] == (text, thought, calls), parts
        assert sum(piece.tokens for piece in found[3]) == len(parts) + 1


NO_CALLS = [
    "",
    "Plain text.",
    "  Spaces \n <tool_call>x</tool_call> \n",
    "2 < 3 and [1, 2]",
    "<tool_call>\nnot one\n</tool_call> but text",
    "<tool_call>",
    '<tool_call>{"name": 3}</tool_call>',
    "A <function=x>y</function> in HTML",
    "[TOOL_CALLS] is how it begins",
    '{"name": "Bob", "arguments": {"city": 1}}',
    '{"answer": 42}',
    '[1, 2, {"name": "x"}]',
    "[get_time(city='x')]",
    "[get_weather('x')]",
    "[get_weather(city=open('x'))]",
    "{" * 3000,
    "[" * 3000,
    "<tool_call>" + "[" * 20000 + "</tool_call>",
    "[TOOL_CALLS]" + "x" * 20000,
    "[TOOL_CALLS]x" + "{}" * 2000,
    "<tool_call>" + "<function=x>" * 2000 + "</tool_call>",
    '{"name": "now", "parameters": {}} is what I would call.',
]


@pytest.mark.parametrize("output", NO_CALLS)
def test_what_is_no_call_stays_text(output: str) -> None:
    for parts in ([output], list(output)) if len(output) < 100 else ([output],):
        text, _, calls, pieces = read(apart(pieces_of(parts), CallReader(TOOLS)))
        assert (text, calls) == (output, [])
        assert pieces[-1].finish == "stop"


@pytest.mark.parametrize("output", ['{"answer": 42}, and more', "[1, 2]", "Hello there"])
def test_text_that_cannot_be_a_call_is_not_held_up(output: str) -> None:
    pieces = [
        piece for piece in apart(pieces_of(list(output)), CallReader(TOOLS)) if piece is not None
    ]
    assert "".join(piece.text for piece in pieces[:8])


def test_a_call_that_a_limit_cuts_before_its_arguments_is_no_text() -> None:
    for output in ("So.\n<tool_call>", '<tool_call>\n{"name": "get_we', "[TOOL_CALLS]get_wea"):
        text, _, calls, pieces = read(apart(pieces_of([output], "length"), CallReader(TOOLS)))
        assert (text, calls, pieces[-1].finish) == (
            output.partition("\n<")[0] if output[0] == "S" else "",
            [],
            "length",
        )


# gpt-oss

THOUGHT = "<|channel|>analysis<|message|>The user asks. 1<2.<|end|>"
SPOKEN = "<|start|>assistant<|channel|>final<|message|>It is <b>fine</b>.<|return|>"
PREAMBLE = "<|start|>assistant<|channel|>commentary<|message|>I look it up.<|end|>"
CALL = (
    "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
    f"{ARGUMENTS}<|call|>"
)
OTHER_CALL = (
    f"<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>{ARGUMENTS}"
)
TALKS: list[tuple[str, str, str, list[Any]]] = [
    (THOUGHT + SPOKEN, "The user asks. 1<2.", "It is <b>fine</b>.", []),
    (
        SPOKEN.removeprefix("<|start|>assistant").removesuffix("<|return|>"),
        "",
        "It is <b>fine</b>.",
        [],
    ),
    (THOUGHT + PREAMBLE + CALL, "The user asks. 1<2.", "I look it up.", [W]),
    (OTHER_CALL.removeprefix("<|start|>assistant"), "", "", [W]),
    (
        "<|channel|>commentary to=functions.now <|constrain|>json<|message|><|call|>",
        "",
        "",
        [("now", {})],
    ),
    ("<|channel|>commentary to=now<|constrain|>json<|message|>{}<|call|>", "", "", [("now", {})]),
    ("<|channel|>analysis to=python code<|message|>print(1)<|call|>", "print(1)", "", []),
    (
        '<|channel|>analysis to=browser.search code<|message|>{"query": "x"}<|call|>',
        '{"query": "x"}',
        "",
        [],
    ),
    ("to", "", "to", []),
    ("Write <|message|> so", "", "Write <|message|> so", []),
    ("<|channel|>final to=user<|message|>Hi.<|return|>", "", "Hi.", []),
    ("It is <b>fine</b>.", "", "It is <b>fine</b>.", []),
    ("", "", "", []),
]


NAMES = [tool.name for tool in TOOLS]


def test_nothing_is_called_where_nothing_was_offered() -> None:
    text, thought, calls, pieces = read(apart(pieces_of([CALL]), ChannelReader()))
    assert (text, thought, calls) == ("", ARGUMENTS, [])
    assert pieces[-1].finish == "stop"


@pytest.mark.parametrize(("output", "thought", "text", "calls"), TALKS)
def test_channels_are_told_apart(output: str, thought: str, text: str, calls: list[Any]) -> None:
    for parts in splits(output):
        found = read(apart(pieces_of(parts), ChannelReader(tools=NAMES)))
        assert found[:3] == (text, thought, calls), parts
        assert found[3][-1].finish == ("tool_calls" if calls else "stop")


def test_a_hidden_function_is_not_called() -> None:
    for parts in splits(CALL):
        reader = ChannelReader(tools=["now"], hidden=["get_weather"])
        text, _, calls, pieces = read(apart(pieces_of(parts), reader))
        assert (text, calls, pieces[-1].finish) == ("", [], "stop")


def test_arguments_are_streamed_as_they_are_written() -> None:
    reader = ChannelReader(tools=NAMES)
    pieces = [piece for piece in apart(pieces_of(list(CALL)), reader) if piece is not None]
    parts = [call for piece in pieces for call in piece.tool_calls]
    assert parts[0].name == "get_weather" and parts[0].arguments == ""
    assert len(parts) > 10 and all(part.name is None for part in parts[1:])


SHOWN = Wanted(tools=ToolPlan(shown=TOOLS))


class Speaking(Scripted):
    """Says the parts it is given, behind a prompt that ends with `opening`."""

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ("<|end|>",)


def test_a_chat_reads_channels_where_the_prompt_wants_them() -> None:
    engine = Speaking([THOUGHT, PREAMBLE, CALL], opening="<|start|>assistant")
    request = ChatRequest((Message("user", "Hi"),), tools=TOOLS)
    text, thought, calls, _ = read(answer_chat(engine, request, wanted=SHOWN))
    assert (text, thought, calls) == ("I look it up.", "The user asks. 1<2.", [W])
    assert "<|channel|>" in engine.asked[0].marks
    # An answer that is kept to a form begins where text is said.
    constrained = replace(request, tools=(), grammar='start: "x"')
    engine = Speaking(["x", "<|end|>", "y"], opening="<|start|>assistant")
    text, *_ = read(answer_chat(engine, constrained))
    assert text == "x"
    assert str(engine.asked[0].prompt).endswith("<|start|>assistant<|channel|>final<|message|>")


def test_a_chat_reads_calls_up_to_where_a_turn_ends() -> None:
    engine = Speaking(["So. <tool_", f"call>{ONE}</tool_call>\n<|en", "d|> and more"])
    text, _, calls, pieces = read(answer_chat(engine, ChatRequest((), tools=TOOLS), wanted=SHOWN))
    assert (text, calls, pieces[-1].finish) == ("So.", [W], "tool_calls")
    assert set(MARKS) <= set(engine.asked[0].marks)


def test_a_thought_in_a_channel_is_continued() -> None:
    continued = Message("assistant", None, reasoning="The user")
    output = [" asks.<|end|>", *SPOKEN]
    for wanted in (Wanted(continued=continued), replace(SHOWN, continued=continued)):
        engine = Speaking(output, opening="<|start|>assistant")
        text, thought, *_ = read(answer_chat(engine, ChatRequest(()), wanted=wanted))
        assert (text, thought) == ("It is <b>fine</b>.", " asks.")
        assert str(engine.asked[0].prompt).endswith("<|channel|>analysis<|message|>The user")
    also_written = replace(continued, content="It is")
    engine = Speaking([" fine."], opening="<|start|>assistant")
    text, *_ = read(answer_chat(engine, ChatRequest(()), wanted=Wanted(continued=also_written)))
    assert text == " fine."
    assert str(engine.asked[0].prompt).endswith(
        "<|channel|>analysis<|message|>The user<|end|><|start|>assistant<|channel|>final<|message|>It is"
    )


@pytest.mark.parametrize("opening", ["", "<|start|>assistant"])
def test_a_continued_thought_is_not_kept_to_the_grammar_of_the_answer(opening: str) -> None:
    continued = Message("assistant", None, reasoning="The user")
    end = "</think>" if not opening else "<|end|>"
    engine = Speaking([" asks.", end], opening=opening)
    request = ChatRequest((), grammar='start: "x"')
    thought = ""
    with pytest.raises(EngineFailed):  # this engine keeps to no grammar
        for piece in answer_chat(engine, request, wanted=Wanted(continued=continued)):
            thought += piece.reasoning if piece else ""
    assert thought == " asks."
    assert [each.grammar for each in engine.asked] == [None, 'start: "x"']


ATOMS = (
    "<tool_call>", "</tool_call>", "\n", " ", "<function=now>", "</function>",
    "<parameter=city>", "</parameter>", '{"name": "get_weather", "arguments": ',
    '{"city": "Oslo"}', '{"city": "a\nb"}', "{}", "}", "]", "[", '"', ", ", "[TOOL_CALLS]",
    "[ARGS]", "now", "<|python_tag|>", "<think>", "</think>", "Hi. ", "🙂",
    "<arg_key>city</arg_key>", "<arg_value>x</arg_value>", "<|tool_call>", "call:now{}",
    "<tool_call|>", "null", "\\d", "<", "`", "```json\n", "```", "<thi",
)  # fmt: skip
CHANNELS = (
    "<|channel|>", "analysis", "commentary", "final", " to=functions.now", " to=python",
    "<|message|>", "<|end|>", "<|start|>", "assistant", "<|call|>", "<|return|>", "{}", "Hi",
    " ", "<|constrain|>json", "<", "🙂",
)  # fmt: skip


def reader_of(kind: str) -> PartReader:
    calls = CallReader(TOOLS, parallel=kind != "one call")
    if kind == "channels":
        return ChannelReader(tools=NAMES)
    if kind == "calls" or kind == "one call":
        return calls
    opened = TAGS[0] if kind == "opened thought" else None
    return ThoughtReader(calls, opened=opened, call_marks=calls.openings)


@settings(deadline=None)
@given(
    st.sampled_from(["calls", "one call", "thought", "opened thought", "channels"]),
    st.lists(st.integers(0, 1000), max_size=9),
    st.lists(st.integers(0, 1000), max_size=4),
    st.sampled_from(["stop", "length"]),
)
def test_where_an_answer_is_cut_makes_no_difference(
    kind: str, atoms: list[int], cuts: list[int], finish: Finish
) -> None:
    words = CHANNELS if kind == "channels" else ATOMS
    output = "".join(words[at % len(words)] for at in atoms)
    places = sorted({0, len(output), *(cut % (len(output) + 1) for cut in cuts)})
    some = [output[begin:end] for begin, end in pairwise(places)]
    found = []
    for parts in ([output], list(output), some):
        made = [
            piece for piece in apart(scored(parts, finish), reader_of(kind)) if piece is not None
        ]
        tokens = [token for piece in made for token in piece.logprobs]
        text = "".join(piece.text for piece in made)
        assert b"".join(token.bytes for token in tokens) == text.encode()
        assert len(tokens) == sum(piece.tokens for piece in made)
        calls: dict[int, str] = {}
        for call in (call for piece in made for call in piece.tool_calls):
            calls[call.index] = calls.get(call.index, "") + (call.name or "") + call.arguments
        found.append((text, "".join(piece.reasoning for piece in made), calls, made[-1].finish))
    assert found[0] == found[1] == found[2]


def scored(parts: list[str], finish: Finish) -> Pieces:
    for part in parts:
        yield Piece(part, tokens=1, logprobs=(TokenLogprob(part.encode(), -1.0),))
    yield Piece(tokens=1, finish=finish, logprobs=(TokenLogprob(b"", -1.0),))
