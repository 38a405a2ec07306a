"""Prompts of conversations that a template takes: those that plain Jinja makes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from extensions.openai.engines.chat_template import ChatTemplate
from extensions.openai.engines.protocol import ChatRequest, Message, Tool, ToolCall
from tests.engines.chat_template.families import FAMILIES, source_of

CALL = ToolCall("abcDEF123", "get_weather", '{"city": "Zürich", "days": 2}')
TOOLS = (
    Tool(
        "get_weather",
        "The weather of a city, in °C.",
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    ),
)
PLAIN = (
    Message("user", "What is <b> & </b>?"),
    Message("assistant", "A tag."),
    Message("user", "Oh?"),
)
WITH_SYSTEM = (Message("system", "Be terse.\n"), *PLAIN)
WITH_CALLS = (
    Message("system", "Be terse."),
    Message("user", "Weather in Zürich?"),
    Message("assistant", None, tool_calls=(CALL,)),
    Message("tool", "12 degrees", tool_call_id=CALL.id),
    Message("assistant", "12 degrees."),
)


def plain_jinja(family: str, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> str:
    """What Hugging Face's `apply_chat_template` makes of a conversation, in the form of its examples."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment.filters["tojson"] = tojson
    as_text = family in ("deepseek_r1",)
    given = []
    for message in messages:
        each: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.tool_calls:
            each["tool_calls"] = [
                {
                    "id": call.id if family != "kimi2" else f"functions.{call.name}:0",
                    "type": "function",
                    "function": {
                        "name": call.name,
                        "arguments": call.arguments if as_text else json.loads(call.arguments),
                    },
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id:
            each["tool_call_id"] = message.tool_call_id
            if family == "kimi2":
                each["tool_call_id"] = "functions.get_weather:0"
        given.append(each)
    functions = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in tools
    ]
    return environment.from_string(source_of(family)).render(
        messages=given,
        tools=functions or None,
        documents=None,
        add_generation_prompt=True,
        bos_token="<s>",
        eos_token="</s>",
    )


@pytest.mark.parametrize("messages", [PLAIN, WITH_SYSTEM], ids=["plain", "system"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_template_takes_goes_through_as_it_is(
    family: str, messages: tuple[Message, ...]
) -> None:
    template = ChatTemplate(source_of(family), bos="<s>", eos="</s>")
    prompt = template.render(ChatRequest(messages))
    assert prompt == plain_jinja(family, messages, ())


@pytest.mark.parametrize(
    "family", [f for f in FAMILIES if f not in ("commandr", "deepseek_r1", "gemma3", "phi4")]
)
@pytest.mark.parametrize("turns", [2, 3, 4, 5])
def test_calls_and_tools_go_through_as_they_are(family: str, turns: int) -> None:
    template = ChatTemplate(source_of(family), bos="<s>", eos="</s>")
    messages = WITH_CALLS[:turns]
    prompt = template.render(ChatRequest(messages, tools=TOOLS))
    assert prompt == plain_jinja(family, messages, TOOLS)


def test_earlier_calls_go_through_without_tools_where_they_are_shown() -> None:
    template = ChatTemplate(source_of("deepseek_r1"), bos="<s>", eos="</s>")
    assert template.render(ChatRequest(WITH_CALLS)) == plain_jinja("deepseek_r1", WITH_CALLS, ())
