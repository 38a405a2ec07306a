"""Formats of calls, learned from what a template writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extensions.openai.engines.protocol import EngineInfo, Piece, Pieces, Tool
from extensions.openai.engines.template_traits import TemplateTraits
from extensions.openai.generation.chat.parts import apart
from extensions.openai.generation.tools.reading.formats import FORMS
from extensions.openai.generation.tools.reading.learned_formats import AnswerFormat, format_of
from extensions.openai.generation.tools.reading.reader import CallReader

PLACES = Tool("find_places", None, {"properties": {"city": {"type": "string"}}})
CLOCK = Tool("read_clock", None, {"properties": {"zone": {"type": "string"}}})

SAMPLES = {
    "[call find_places]{}[/call]": '[call find_places]{"city": "Oslo", "limit": 3}[/call]',
    "name in JSON": '<do>{"name": "find_places", "arguments": {"city": "Oslo", "limit": 3}}</do>',
    "name before": '<fn>find_places\n{"city": "Oslo", "limit": 3}</fn>',
    "tags": "<fn>find_places</fn><k>city</k><v>Oslo</v><k>limit</k><v>3</v></end>",
    "tags in lines": "<act>\n<find_places>\n<arg=city>Oslo</arg>\n<arg=limit>3</arg>\n</find_places>\n</act>",
}


def format_from(sample: str, *ends: str) -> AnswerFormat:
    traits = TemplateTraits(call_sample=sample, turn_ends=ends)
    return format_of(EngineInfo("m", 1, "tests", 100, "llama.cpp", "fp", 256, template=traits))


def read(output: str, form: AnswerFormat) -> tuple[str, list[Any]]:
    def pieces() -> Pieces:
        yield from (Piece(character, tokens=1) for character in output)
        yield Piece(tokens=1, finish="stop")

    made = [p for p in apart(pieces(), CallReader((PLACES, CLOCK), form.forms)) if p]
    calls: dict[int, list[str]] = {}
    for call in (call for piece in made for call in piece.tool_calls):
        known = calls.setdefault(call.index, [call.name or "", ""])
        known[1] += call.arguments
    text = "".join(piece.text for piece in made)
    return text, [(name, json.loads(arguments)) for name, arguments in calls.values()]


@pytest.mark.parametrize("family", SAMPLES)
def test_a_format_of_no_known_family_is_learned_from_the_sample(family: str) -> None:
    sample = SAMPLES[family]
    form = format_from(sample + "<|end|>\n", "<|end|>")
    assert form.forms[0] not in FORMS
    called = sample.replace("Oslo", "São Paulo")
    text, calls = read(f"I look.\n{called}", form)
    assert (text, calls) == ("I look.", [("find_places", {"city": "São Paulo", "limit": 3})])
    assert read("Nothing to call.", form) == ("Nothing to call.", [])


@pytest.mark.parametrize(
    "sample",
    [
        '<tool_call>\n{"name": "find_places", "arguments": {"city": "Oslo", "limit": 3}}\n</tool_call>',
        '[TOOL_CALLS]find_places[ARGS]{"city": "Oslo", "limit": 3}',
        '{"name": "find_places", "parameters": {"city": "Oslo", "limit": 3}}',
    ],
)
def test_known_families_need_no_format_of_their_own(sample: str) -> None:
    assert format_from(sample).forms == FORMS


def test_a_template_that_shows_no_calls_has_the_known_formats() -> None:
    assert format_of(EngineInfo("m", 1, "tests", 100, "llama.cpp", "fp", 256)) == AnswerFormat()
    assert format_from("I call find_places now").forms == FORMS
