"""What a client demands comes from every family: schemas, choices, patterns and calls, streamed and not.

The scripted model wants to say something else throughout.
"""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from tests.families.choosing import families_that
from tests.families.conftest import Speak
from tests.families.served import Answer, Served
from tests.families.tools import TIME, TOOLS, WEATHER, function
from tests.support.families import Call, Family

OSLO: Call = ("get_weather", {"city": "Oslo"})
TEXT = {"type": "string"}
UTC: Call = ("get_time", {"zone": "UTC"})
NUMBER: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 5}},
    "required": ["n"],
    "additionalProperties": False,
}
CLOSED = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}},
    "required": ["city"],
}
OPEN = function(
    "pick", {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
)
REPEATABLE: dict[str, Any] = {"temperature": 0, "max_tokens": 800}


def scripts(family: Family) -> dict[str, str]:
    return {
        "answer": family.says("The answer is 4."),
        "call": family.says("", OSLO),
        "thoughtcall": family.says("", OSLO, thought="Shall I look?"),
        "thought": family.says("The answer is 4.", thought="Let me see."),
        "json": family.says('{"n": 4}'),
    }


@pytest.fixture(scope="module")
def server(family: Family, speak: Speak) -> Served:
    return speak(family, scripts(family))


def schema(of: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": of, **more}}


def whole_text(answer: Answer) -> str:
    assert (answer.calls, answer.finish) == ([], "stop")
    assert "\ufffd" not in answer.content
    return answer.content


@pytest.mark.parametrize("script", ["answer", "thought", "call", "json"])
@pytest.mark.parametrize("strict", [None, True, False])
def test_an_answer_matches_its_schema(server: Served, script: str, strict: bool | None) -> None:
    more = {} if strict is None else {"strict": strict}
    answer = server.ask(script, response_format=schema(NUMBER, **more), **REPEATABLE)
    jsonschema.validate(json.loads(whole_text(answer)), NUMBER)


# Behind its empty thought GLM writes a line end, which this grammar does not take.
@families_that(lambda family: not family.always_thinks)
def test_any_json_object(server: Served) -> None:
    answer = server.ask("json", response_format={"type": "json_object"}, **REPEATABLE)
    assert json.loads(whole_text(answer)) == {"n": 4}


@pytest.mark.parametrize("field", ["guided_choice", "structured_outputs"])
def test_a_choice(server: Served, field: str) -> None:
    choices = ["yes", "no", "maybe so"]
    value = choices if field == "guided_choice" else {"choice": choices}
    assert whole_text(server.ask("answer", **{field: value}, **REPEATABLE)) in choices


def test_a_pattern(server: Served) -> None:
    pattern = "[ab]{3}(-c)?"
    answer = server.ask("answer", guided_regex=pattern, **REPEATABLE)
    assert re.fullmatch(pattern, whole_text(answer))


def test_a_grammar(server: Served) -> None:
    grammar = 'root ::= word ("," word)?\nword ::= "x" | "yy"\n'
    answer = server.ask("answer", grammar=grammar, **REPEATABLE)
    assert re.fullmatch("(x|yy)(,(x|yy))?", whole_text(answer))


def test_a_schema_on_completions(server: Served) -> None:
    for stream in (False, True):
        answer = server.post_as_it_is(
            *("completions",), prompt="Say.", guided_json=NUMBER, stream=stream, **REPEATABLE
        )
        assert answer.status_code == 200, answer.text
        assert "error" not in answer.text
        if not stream:
            jsonschema.validate(json.loads(answer.json()["choices"][0]["text"]), NUMBER)


@pytest.mark.parametrize("script", ["answer", "call", "thoughtcall"])
def test_some_call_is_demanded(server: Served, script: str) -> None:
    tools = [function("pick", NUMBER), function("choose", CLOSED)]
    answer = server.ask(script, tools=tools, tool_choice="required", **REPEATABLE)
    assert answer.finish == "tool_calls" and answer.content == ""
    assert answer.calls
    for name, arguments in answer.calls:
        jsonschema.validate(arguments, {"pick": NUMBER, "choose": CLOSED}[name])


BEGUN = [{"content": "Well,"}, {"content": None, "reasoning": "Shall I"}, {"content": None}]


@pytest.mark.parametrize("begun", BEGUN, ids=str)
def test_a_call_is_demanded_behind_an_answer_that_was_begun(server: Served, begun: Any) -> None:
    messages = [{"role": "user", "content": "Hi."}, {"role": "assistant", **begun}]
    tools = [function("pick", NUMBER), function("choose", CLOSED)]
    for choice in ("required", {"type": "function", "function": {"name": "pick"}}):
        more = {"messages": messages, "tool_choice": choice, "continue_final_message": True}
        answer = server.ask("answer", tools=tools, **more, **REPEATABLE)
        assert (answer.finish, answer.content) == ("tool_calls", "")
        assert answer.calls
        for name, arguments in answer.calls:
            assert name == "pick" or choice == "required"
            jsonschema.validate(arguments, {"pick": NUMBER, "choose": CLOSED}[name])


@pytest.mark.parametrize("script", ["answer", "call", "thoughtcall"])
def test_one_call_is_demanded_by_its_name(server: Served, script: str) -> None:
    choice = {"type": "function", "function": {"name": "pick"}}
    tools = [WEATHER, function("pick", NUMBER)]
    answer = server.ask(script, tools=tools, tool_choice=choice, **REPEATABLE)
    ((name, arguments),) = answer.calls
    assert (name, answer.content) == ("pick", "")
    jsonschema.validate(arguments, NUMBER)


def test_one_demanded_call_where_calls_may_not_be_parallel(server: Served) -> None:
    more = {"tool_choice": "required", "parallel_tool_calls": False}
    answer = server.ask("call", tools=TOOLS, **more, **REPEATABLE)
    assert len(answer.calls) == 1


def test_demanded_arguments_match_one_of_two_schemas(server: Served) -> None:
    """As coding agents send them: `to` is a known name, or one that is numbered."""
    to = {"oneOf": [{"enum": ["fork"], **TEXT}, {"pattern": "^agent-[0-9]{1,3}$", **TEXT}]}
    parameters = {"type": "object", "properties": {"to": to}, "required": ["to"]}
    answer = server.ask(
        "call", tools=[function("agent", parameters)], tool_choice="required", **REPEATABLE
    )
    assert answer.calls
    for _, arguments in answer.calls:
        jsonschema.validate(arguments, parameters)


def test_demanded_arguments_have_no_property_that_nobody_declared(server: Served) -> None:
    for seed in range(5):
        more = {"tool_choice": "required", "temperature": 2, "seed": seed, "max_tokens": 400}
        answer = server.whole("answer", tools=[OPEN], **more)
        assert answer.finish == "tool_calls"
        assert answer.calls
        for _, arguments in answer.calls:
            assert set(arguments) == {"n"} and arguments["n"] in (1, 2)


def test_a_strict_function_is_called_as_the_model_wants(server: Served) -> None:
    strict = function("get_weather", CLOSED | {"additionalProperties": False}, strict=True)
    for script in ("call", "thoughtcall"):
        answer = server.ask(script, tools=[strict, TIME], **REPEATABLE)
        assert (answer.calls, answer.content, answer.finish) == ([OSLO], "", "tool_calls")
    answer = server.ask("answer", tools=[strict, TIME], **REPEATABLE)
    assert (answer.content, answer.calls, answer.finish) == ("The answer is 4.", [], "stop")


# Arguments in JSON, and between tags.
@families_that(lambda family: family.name in ("qwen3", "qwen35"))
def test_a_strict_text_may_be_as_long_as_it_likes(server: Served) -> None:
    """As claude-code's `Workflow` has it, where a client makes it strict."""
    for high in (524_288, 524_288.0, 2**53 - 1):
        city = {"type": "string", "maxLength": high}
        parameters = {"type": "object", "properties": {"city": city}, "required": ["city"]}
        strict = function("get_weather", parameters | {"additionalProperties": False}, strict=True)
        assert server.whole("call", tools=[strict], **REPEATABLE).calls == [OSLO]


def test_the_arguments_of_a_strict_function_match_its_schema(server: Served) -> None:
    other = {"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"]}
    strict = function("get_weather", other | {"additionalProperties": False}, strict=True)
    answer = server.ask("call", tools=[strict], **REPEATABLE)
    assert answer.calls == [("get_weather", {"city": "Rome"})]


def test_a_schema_beside_tools(server: Served) -> None:
    answer = server.ask("answer", tools=TOOLS, response_format=schema(NUMBER), **REPEATABLE)
    if not answer.calls:
        jsonschema.validate(json.loads(whole_text(answer)), NUMBER)
