"""What looks like a call and is none comes as text, whole; a bare call is read as one."""

from __future__ import annotations

import json

import pytest

from tests.families.choosing import families_that
from tests.families.conftest import Speak
from tests.families.served import Served
from tests.families.tools import TOOLS
from tests.support.families import Call, Family

OSLO: Call = ("get_weather", {"city": "Oslo"})
UNKNOWN: Call = ("delete_everything", {"x": 1})
ANN = '{"name": "Ann", "age": 7}'
TEXTS = {
    "json": ANN,
    "list": "[1, 2, 3]",
    "list of objects": f"[{ANN}, {ANN}]",
    "json of arguments": '{"city": "Oslo"}',
    "undeclared": json.dumps({"name": UNKNOWN[0], "arguments": UNKNOWN[1]}),
    "about": "To call it one writes `<tool_call>` and then JSON.",
    "about tags": "In XML one writes <function=f> and </function>, in Python f(a=1).",
    "brace": "{ is a brace, [ is a bracket.",
    "fence": "```json\n" + ANN + "\n```",
    "fence and more": '```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```\nI would.',
    "fence without end": '```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n',
    "fence of an undeclared": '```json\n{"name": "delete_everything", "arguments": {"x": 1}}\n```',
    "two objects": ANN + "\n" + ANN,
    "cut json": '{"name": "get_weather", "argu',
}
BARE = {
    "bare": '{"name": "get_weather", "arguments": {"city": "Oslo"}}',
    "bare parameters": '{"name": "get_weather", "parameters": {"city": "Oslo"}}',
    "bare lines": '\n{\n  "name": "get_weather",\n  "arguments": {\n    "city": "Oslo"\n  }\n}\n',
    "fenced": '```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```',
    "fenced lines": '\n```\n[{\n  "name": "get_weather",\n  "parameters": {"city": "Oslo"}\n}]\n```\n\n',
}


def scripts(family: Family) -> dict[str, str]:
    call = family.says("", OSLO)
    output = {"answer": family.says("The answer is 4.")}
    output |= {name: family.says(text) for name, text in (TEXTS | BARE).items()}
    output["broken"] = call.replace('"Oslo"', "Oslo")
    output["unknown"] = family.says("", UNKNOWN)
    if family.thought and not family.opens:
        written = family.calls([OSLO]).strip()
        thought = f"I could write {written} now." if family.name != "gptoss" else "I could call it."
        output["thought of a call"] = family.says("No, I do not.", thought=thought)
    if family.opens:
        output["call in a thought"] = f"I look.\n{family.calls([OSLO])}"
    return output


@pytest.fixture(scope="module")
def server(family: Family, speak: Speak) -> Served:
    return speak(family, scripts(family))


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_looks_like_a_call_is_text(server: Served, name: str) -> None:
    answer = server.ask(name, tools=TOOLS)
    assert (answer.content, answer.calls, answer.finish) == (TEXTS[name], [], "stop")


@pytest.mark.parametrize("name", TEXTS | BARE)
def test_without_tools_everything_is_text(server: Served, name: str) -> None:
    answer = server.ask(name)
    assert (answer.content.strip(), answer.calls) == ((TEXTS | BARE)[name].strip(), [])


@pytest.mark.parametrize("name", BARE)
def test_a_whole_answer_that_is_the_json_of_a_call_is_that_call(
    server: Served, family: Family, name: str
) -> None:
    answer = server.ask(name, tools=TOOLS)
    if family.name == "gptoss":  # the channel says that it is an answer
        assert (answer.content.strip(), answer.calls) == (BARE[name].strip(), [])
        return
    assert (answer.calls, answer.content.strip(), answer.finish) == ([OSLO], "", "tool_calls")


@pytest.mark.parametrize("name", BARE)
def test_but_not_where_the_client_wants_no_call(server: Served, name: str) -> None:
    answer = server.ask(name, tools=TOOLS, tool_choice="none")
    assert (answer.content.strip(), answer.calls) == (BARE[name].strip(), [])


@families_that(lambda family: '"Oslo"' in family.calls([OSLO]))
def test_a_call_whose_json_is_broken_is_text(server: Served, family: Family) -> None:
    answer = server.ask("broken", tools=TOOLS)
    if family.name == "gptoss":  # its arguments are streamed before it is known
        assert answer.calls == [("get_weather", '{"city": Oslo}')]
        return
    assert (answer.calls, answer.finish) == ([], "stop")
    assert '{"city": Oslo}' in answer.content and "get_weather" in answer.content


def test_a_call_of_an_undeclared_function_does_no_harm(server: Served) -> None:
    answer = server.ask("unknown", tools=TOOLS)
    if answer.calls:
        assert (answer.calls, answer.finish) == ([UNKNOWN], "tool_calls")
    else:
        assert "delete_everything" in answer.content and answer.finish == "stop"


@families_that(lambda family: family.thought and not family.opens)
def test_a_call_that_is_only_thought_of_is_none(server: Served, family: Family) -> None:
    answer = server.ask("thought of a call", tools=TOOLS)
    assert (answer.content, answer.calls, answer.finish) == ("No, I do not.", [], "stop")
    assert answer.reasoning.startswith("I could")


@families_that(lambda family: family.opens)
def test_a_call_in_a_thought_that_never_ends_is_one(server: Served, family: Family) -> None:
    answer = server.ask("call in a thought", tools=TOOLS)
    assert (answer.calls, answer.finish) == ([OSLO], "tool_calls")
    assert (answer.content, answer.reasoning.strip()) == ("", "I look.")
