"""Calls in each family's own format, as the model writes them by itself: read exactly, streamed and not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.families.choosing import families_that, thinking
from tests.families.conftest import Speak
from tests.families.served import Served
from tests.families.tools import TOOLS
from tests.support.families import Call, Family, in_tags

OSLO: Call = ("get_weather", {"city": "Oslo"})
UTC: Call = ("get_time", {"zone": "UTC"})
CALLS: dict[str, Call] = {
    "call": OSLO,
    "noarguments": ("list_files", {}),
    "nested": (
        "search",
        {
            "filter": {"tags": ["a", "b,c"], "depth": {"max": 3}},
            "exact": True,
            "weight": 1.5,
            "after": None,
        },
    ),
    "quotes": ("write_file", {"path": "a.txt", "content": 'She said "no" \\ and\n\n\tleft.\n'}),
    "unicode": ("write_file", {"path": "ü.txt", "content": "Grüße 😀 日本語 e\u0301"}),
    "json": ("write_file", {"path": "a.json", "content": '{"a": [1, {"b": "}"}]}'}),
    "digits": ("write_file", {"path": "007", "content": "true"}),
    "tags": ("write_file", {"path": "a.html", "content": "<b>bold</b> & <function> </think>"}),
}
TEXT, THOUGHT = "I will look.", "Shall I look?"


def scripts(family: Family) -> dict[str, str]:
    output = {name: family.says("", call) for name, call in CALLS.items()}
    output["textcall"] = family.says(TEXT, OSLO)
    if not family.knows_tools:
        output["owncall"] = family.says(in_tags([OSLO]))
    if family.several:
        output["twocalls"] = family.says("", OSLO, UTC)
    if family.thought:
        output["thoughtcall"] = family.says("", OSLO, thought=THOUGHT)
    return {"answer": family.says("The answer is 4."), **output}


@pytest.fixture(scope="module")
def server(family: Family, speak: Speak) -> Served:
    return speak(family, scripts(family))


@pytest.mark.parametrize("name", CALLS)
def test_one_call_comes_with_these_very_arguments(server: Served, name: str) -> None:
    answer = server.ask(name, tools=TOOLS)
    assert answer.calls == [CALLS[name]]
    assert (answer.content, answer.reasoning, answer.finish) == ("", "", "tool_calls")
    assert answer.message["content"] is None


@families_that(lambda family: family.preamble)
def test_a_text_before_a_call_is_the_content(server: Served, family: Family) -> None:
    answer = server.ask("textcall", tools=TOOLS)
    assert answer.calls == [OSLO]
    assert (answer.content.strip(), answer.finish) == (TEXT, "tool_calls")


@families_that(lambda family: family.several)
def test_two_calls_come_in_their_order(server: Served, family: Family) -> None:
    answer = server.ask("twocalls", tools=TOOLS)
    assert (answer.calls, answer.content, answer.finish) == ([OSLO, UTC], "", "tool_calls")


def test_one_call_at_most_where_the_client_wants_no_more(server: Served, family: Family) -> None:
    output = "twocalls" if family.several else "call"
    answer = server.ask(output, tools=TOOLS, parallel_tool_calls=False)
    assert (answer.calls, answer.content, answer.finish) == ([OSLO], "", "tool_calls")


@thinking
def test_a_thought_before_a_call_is_no_text(server: Served, family: Family) -> None:
    answer = server.ask("thoughtcall", tools=TOOLS)
    assert (answer.calls, answer.finish) == ([OSLO], "tool_calls")
    assert (answer.content, answer.reasoning.strip()) == ("", THOUGHT)


@families_that(lambda family: not family.knows_tools)
def test_this_server_s_own_format_is_read_where_the_template_knows_none(
    server: Served, family: Family
) -> None:
    answer = server.ask("owncall", tools=TOOLS)
    assert (answer.calls, answer.content, answer.finish) == ([OSLO], "", "tool_calls")


@pytest.mark.parametrize("choice", ["auto", "none", None])
def test_an_answer_without_a_call_is_text(server: Served, choice: Any) -> None:
    more = {} if choice is None else {"tool_choice": choice}
    answer = server.ask("answer", tools=TOOLS, **more)
    assert (answer.content, answer.calls, answer.finish) == ("The answer is 4.", [], "stop")
