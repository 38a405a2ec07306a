"""Tools of providers that agents always send: their functions work, what would have to be run is left out."""

from __future__ import annotations

import re
from typing import Any

import pytest

from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.generation.tools.hosted_tools import HOSTED
from extensions.openai.schemas.validation import check
from tests.support.api import Api, as_messages

CHAT = "chat/completions"
HEADER = "x-openedai-ignored"
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def offered(*tools: Any) -> list[str]:
    body = check(ChatCompletionRequest, {"messages": as_messages("Hello"), "tools": list(tools)})
    return [tool.name for tool in body.tool_plan().shown]


@pytest.mark.parametrize(
    "tool",
    [
        *({"type": name} for name in HOSTED),
        {"type": "web_search", "external_web_access": False, "filters": {"allowed_domains": ["a.b"]}},
        {"type": "web_search_preview"},
        {"type": "web_search_preview_2025_03_11", "search_context_size": "low"},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        {"type": "computer_use_preview", "display_width": 1024, "environment": "browser"},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "mcp", "server_label": "x", "server_url": "https://a.b", "require_approval": "never"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("strict", [False, True])
def test_what_is_not_here_is_left_out_and_named(
    tiny: Api, tool: dict[str, Any], strict: bool
) -> None:
    api = Api(tiny.engine, strict_parameters=strict)
    body = {
        "model": "tiny",
        "messages": as_messages("Hello"),
        "max_tokens": 3,
        "tools": [FUNCTION, tool],
    }
    for stream in (False, True):
        answer = api.client.post(f"/v1/{CHAT}", json={**body, "stream": stream})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        assert answer.headers[HEADER] == f"tools[1].{tool['type']}"
    assert offered(FUNCTION, tool) == ["f"]


def test_only_what_is_not_here_is_an_answer_without_tools(tiny: Api) -> None:
    tools = [{"type": "web_search"}, {"type": "mcp", "server_label": "x"}]
    body = {"temperature": 0, "max_tokens": 8}
    assert (
        tiny.chat("Hello", tools=tools, **body)["choices"] == tiny.chat("Hello", **body)["choices"]
    )
    for choice in ("required", {"type": "function", "function": {"name": "web_search"}}):
        error = tiny.refused(CHAT, tools=tools, tool_choice=choice)
        assert (error["param"], error["code"]) == ("tool_choice", "unsupported_parameter")
    hosted = tiny.refused(CHAT, tools=[FUNCTION, *tools], tool_choice={"type": "web_search"})
    assert (hosted["param"], hosted["code"]) == ("tool_choice.type", "invalid_value")


def test_the_members_of_a_namespace_are_functions(tiny: Api) -> None:
    member = {
        "name": "spawn",
        "description": "x",
        "parameters": {"type": "object", "properties": {}},
    }
    space = {
        "type": "namespace",
        "name": "agents",
        "description": "Other agents.",
        "tools": [
            {"type": "function", **member},
            {"type": "function", "function": {**member, "name": "wait"}},
        ],
    }
    assert offered(FUNCTION, space) == ["f", "spawn", "wait"]
    whole = tiny.chat(
        "Hello",
        tools=[FUNCTION, space],
        tool_choice={"type": "function", "function": {"name": "wait"}},
    )
    (call,) = whole["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "wait"
    again = tiny.refused(CHAT, tools=[space, {"type": "function", **member}])
    assert (again["param"], again["code"]) == ("tools[1]", "invalid_value")
    for tools, param in (
        ([{**space, "tools": []}], "tools[0].tools"),
        ([{**space, "tools": [{"type": "web_search"}]}], "tools[0].tools[0].type"),
        ([{**space, "tools": [{"type": "function"}]}], "tools[0].tools[0].function"),
    ):
        assert tiny.refused(CHAT, tools=tools)["param"] == param


def test_the_flat_form_of_functions_and_custom_tools(tiny: Api) -> None:
    flat = {"type": "function", "name": "g", "description": "x", "strict": True,
            "parameters": {"type": "object", "properties": {"n": {"const": 4}}, "required": ["n"],
                           "additionalProperties": False}}  # fmt: skip
    grammar = {"type": "grammar", "syntax": "regex", "definition": "ab{1,5}"}
    custom = {"type": "custom", "name": "c", "format": grammar}
    assert offered(flat, custom, {"type": "custom", "name": "d", "format": {"type": "text"}}) == [
        "g",
        "c",
        "d",
    ]
    for tool, kind, output in ((flat, "function", '{"n":4}'), (custom, "custom", None)):
        choice = {"type": kind, kind: {"name": tool["name"]}}
        whole = tiny.chat("Hello", tools=[tool], tool_choice=choice)
        (call,) = whole["choices"][0]["message"]["tool_calls"]
        if output is None:
            assert re.fullmatch("ab{1,5}", call["custom"]["input"])
        else:
            assert call["function"]["arguments"].replace(" ", "") == output
    assert tiny.refused(CHAT, tools=[{**flat, "parameters": 5}])["param"] == "tools[0].parameters"


@pytest.mark.parametrize(
    ("tool", "param", "code"),
    [
        ({"type": "teleport"}, "tools[0].type", "invalid_value"),
        ({"type": "web_searches"}, "tools[0].type", "invalid_value"),
        ({"type": "web_search_everywhere"}, "tools[0].type", "invalid_value"),
        ({"type": 5}, "tools[0].type", "invalid_type"),
        ({}, "tools[0].type", "missing_required_parameter"),
        ("web_search", "tools[0]", "invalid_type"),
        (None, "tools[0]", "invalid_type"),
    ],
)
def test_what_is_no_tool_is_refused(tiny: Api, tool: Any, param: str, code: str) -> None:
    error = tiny.refused(CHAT, tools=[tool])
    assert (error["param"], error["code"]) == (param, code)
