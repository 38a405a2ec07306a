"""Schemas of tools that no client asked to enforce are advice to the model: none of them is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.families.choosing import families_that
from tests.families.conftest import Speak
from tests.families.schemas import every_schema
from tests.families.served import Served
from tests.families.tools import WEATHER
from tests.support.families import FAMILIES, Call, Family

OSLO: Call = ("get_weather", {"city": "Oslo"})
SCHEMAS = every_schema()
SOME = list(SCHEMAS.values())[::20]


@pytest.fixture(scope="module")
def server(family: Family, speak: Speak) -> Served:
    return speak(family, {"answer": family.says("No need."), "call": family.says("", OSLO)})


def other(schema: Any, **more: Any) -> Any:
    given = {"name": "other", "description": "Another one.", **more}
    return {
        "type": "function",
        "function": given | ({} if schema is None else {"parameters": schema}),
    }


# One of each kind: calls in JSON, in XML, told in words, and in channels.
@families_that(lambda family: family.name in ("qwen3", "qwen35", "gemma3", "gptoss"))
@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_tool_beside_one_with_any_schema_is_called(server: Served, schema: str) -> None:
    answer = server.whole("call", tools=[WEATHER, other(SCHEMAS[schema])])
    assert (answer.calls, answer.content, answer.finish) == ([OSLO], "", "tool_calls")


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("family", [FAMILIES["qwen35"]], ids=["qwen35"], indirect=True)
def test_nor_is_it_refused_where_it_is_said_not_to_be_strict_or_there_are_no_calls(
    server: Served, schema: str
) -> None:
    tools = [WEATHER, other(SCHEMAS[schema], strict=False)]
    assert server.whole("call", tools=tools).calls == [OSLO]
    none = server.whole("answer", tools=tools, tool_choice="none")
    assert (none.calls, none.content, none.finish) == ([], "No need.", "stop")


def test_many_of_them_at_once(server: Served) -> None:
    tools = [WEATHER, *(other(schema, name=f"f{at}") for at, schema in enumerate(SOME))]
    assert server.ask("call", tools=tools, max_tokens=200).calls == [OSLO]
    functions = [tool["function"] for tool in tools]
    whole = server.post("call", functions=functions)
    assert whole.status_code == 200, whole.text
    assert whole.json()["choices"][0]["message"]["function_call"]["name"] == "get_weather"


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_call_of_such_a_tool_comes_as_it_was_written(speak: Speak, schema: str) -> None:
    family = FAMILIES["qwen3"]
    call = ("other", {"q": "what it wrote"})
    served = speak(family, {"answer": "No need.", "other": family.says("", call)})
    assert served.whole("other", tools=[other(SCHEMAS[schema])]).calls == [call]
