"""Tools of a request for a response: which ones the model sees, and what is enforced."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.dialects.responses.request import ResponsesRequest
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.tools.plan import ToolPlan
from extensions.openai.schemas.validation import check

ANY = {"type": "object"}
FUNCTION = {"type": "function", "name": "f", "description": "Does f.", "parameters": ANY}
CUSTOM = {"type": "custom", "name": "patch", "description": "Patches."}
NAMESPACE = {
    "type": "namespace",
    "name": "team",
    "description": "The team.",
    "tools": [{"type": "function", "name": "spawn", "strict": False}],
}


def planned(*tools: Any, **body: Any) -> ToolPlan:
    return check(ResponsesRequest, {"input": "x", "tools": list(tools), **body}).tool_plan()


def test_functions_custom_tools_and_namespaces() -> None:
    plan = planned(FUNCTION, CUSTOM, NAMESPACE)
    shown = [(tool.name, tool.description) for tool in plan.shown]
    assert shown == [("f", "Does f."), ("patch", "Patches."), ("spawn", None)]
    assert plan.custom == {"patch"} and not plan.demanded and not plan.strict
    assert plan.shown[2].parameters == {"type": "object", "properties": {}}
    assert plan.places["spawn"] == "tools[2].tools[0].parameters"


def test_hosted_tools_are_left_out_and_named() -> None:
    tools: list[Any] = [{"type": "web_search", "external_web_access": False}, FUNCTION]
    request = check(ResponsesRequest, {"input": "x", "tools": tools})
    assert [tool.name for tool in request.tool_plan().shown] == ["f"]
    assert request.left_out == ["tools[0].web_search"]


@pytest.mark.parametrize(
    ("choice", "demanded", "most"),
    [
        ("auto", [], 8),
        ("required", ["f", "patch"], 8),
        ({"type": "function", "name": "f"}, ["f"], 1),
        ({"type": "custom", "name": "patch"}, ["patch"], 1),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}],
            },
            ["f"],
            8,
        ),
    ],
)
def test_what_is_to_be_called(choice: Any, demanded: list[str], most: int) -> None:
    plan = planned(FUNCTION, CUSTOM, tool_choice=choice)
    assert ([tool.name for tool in plan.demanded], plan.max_calls) == (demanded, most)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_what_is_not_allowed_is_not_shown_and_may_not_be_called(mode: str) -> None:
    allowed = [{"type": "custom", "name": "patch"}]
    choice = {"type": "allowed_tools", "mode": mode, "tools": allowed}
    plan = planned(FUNCTION, CUSTOM, NAMESPACE, tool_choice=choice)
    assert [tool.name for tool in plan.shown] == ["patch"]
    assert plan.hidden == {"f", "spawn"}


CREW = {**NAMESPACE, "name": "the crew", "tools": [{"type": "custom", "name": "spawn"}]}


def test_tools_of_the_same_name_are_told_apart_by_their_namespaces() -> None:
    alone = {"type": "function", "name": "spawn"}
    plan = planned(NAMESPACE, CREW, alone, FUNCTION)
    names = [tool.name for tool in plan.shown]
    assert names == ["team__spawn", "the_crew__spawn", "spawn", "f"]
    assert plan.custom == {"the_crew__spawn"}
    assert plan.places["the_crew__spawn"] == "tools[1].tools[0].format.definition"
    named = {"type": "custom", "name": "spawn", "namespace": "the crew"}
    plan = planned(NAMESPACE, CREW, tool_choice=named)
    assert [tool.name for tool in plan.demanded] == ["the_crew__spawn"]
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [named]}
    assert planned(NAMESPACE, CREW, tool_choice=allowed).hidden == {"team__spawn"}


def test_one_call_at_a_time_and_none() -> None:
    assert planned(FUNCTION, parallel_tool_calls=False).max_calls == 1
    assert planned(FUNCTION, tool_choice="none").shown == ()


def test_strict_functions_and_grammars_are_enforced() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a+/"}
    plan = planned({**FUNCTION, "strict": True}, {**CUSTOM, "format": grammar})
    assert plan.strict == {"f"} and set(plan.schemas) == {"f"}
    assert "start: /a+/" in plan.inputs["patch"]


@pytest.mark.parametrize(
    ("tools", "choice", "param"),
    [
        ([FUNCTION, FUNCTION], None, "tools[1]"),
        ([{"type": "function"}], None, "tools[0].name"),
        ([{"type": "function", "name": "a b"}], None, "tools[0].name"),
        ([{"type": "nonsense", "name": "x"}], None, "tools[0].type"),
        ([{**NAMESPACE, "tools": []}], None, "tools[0].tools"),
        ([NAMESPACE, NAMESPACE], None, "tools[1].tools[0]"),
        ([FUNCTION], {"type": "function", "name": "g"}, "tool_choice.name"),
        ([NAMESPACE, CREW], {"type": "function", "name": "spawn"}, "tool_choice.name"),
        ([FUNCTION], {"type": "web_search"}, "tool_choice.type"),
        ([FUNCTION], "always", "tool_choice"),
        ([], "required", "tool_choice"),
        ([{"type": "web_search"}], "required", "tool_choice"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tools: list[Any], choice: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        planned(*tools, tool_choice=choice)
    assert caught.value.param == param
