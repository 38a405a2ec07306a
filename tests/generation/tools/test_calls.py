"""Calls in the shapes of the reference."""

from __future__ import annotations

import json

import pytest

from extensions.openai.engines.protocol import Finish, ToolCallDelta
from extensions.openai.generation.events import Event
from extensions.openai.generation.tools.calls import CallFold, ToolCallWriter
from extensions.openai.generation.tools.plan import ToolPlan

INPUT = 'a "quoted"\n\\ line é'
WHOLE = json.dumps({"input": INPUT})


def custom_input(arguments: str, finish: Finish) -> str:
    writer, fold = ToolCallWriter(ToolPlan(custom=frozenset({"run"}))), CallFold()
    delta = ToolCallDelta(0, arguments, "call_1", "run")
    for part in writer.write(Event(0, tool_calls=(delta,), finish=finish)):
        fold.add(part)
    (call,) = fold.whole()["tool_calls"]
    assert call["type"] == "custom"
    return call["custom"]["input"]


def test_a_custom_call_gets_its_input_as_text() -> None:
    assert custom_input(WHOLE, "stop") == INPUT


@pytest.mark.parametrize("cut", range(len(WHOLE)))
def test_a_custom_call_that_is_cut_gets_the_beginning_of_its_input(cut: int) -> None:
    assert INPUT.startswith(custom_input(WHOLE[:cut], "length"))


@pytest.mark.parametrize("arguments", ["{}", "[1]", "null", '"text"', '{"inputs": 1}'])
def test_a_custom_call_in_another_form_keeps_what_the_model_wrote(arguments: str) -> None:
    assert custom_input(arguments, "stop") == arguments


def test_an_input_that_is_no_text_stays_json() -> None:
    assert custom_input('{"input": {"a": [true, null]}}', "stop") == '{"a":[true,null]}'


def test_an_input_that_the_model_wrote_as_it_is_is_kept() -> None:
    assert custom_input("print(1)", "stop") == "print(1)"
    assert custom_input('{"input":"print(', "length") == "print("
