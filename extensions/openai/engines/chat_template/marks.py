"""Conversations of marks: they show what a template does with each text of a conversation.

A mark stands for a text. Where it is missing in the prompt, the template has dropped the text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from ..protocol import Message, Tool, ToolCall
from .forms import arguments_of, has_text, kind_of_arguments

TOOL = Tool(
    "zqtoolqz",
    "zqdescriptionqz",
    {"type": "object", "properties": {"zqkeyqz": {"type": "string", "description": "zqfieldqz"}}},
)
"""A tool for trying whether a template shows tools."""


SAMPLE_CALLS = (
    ToolCall("abcDEF123", "find_places", '{"city": "Oslo", "limit": 3}'),
    ToolCall("ghiJKL456", "read_clock", '{"zone": "UTC"}'),
)
"""The calls of `call_sample` (the first one) and `two_calls_sample`."""


def mark(place: object) -> str:
    """A word that no template says by itself."""
    return f"zq{place}qz"


def marked(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation with a mark in the place of each text."""
    return tuple(_marked(message, at) for at, message in enumerate(messages))


def expected(messages: Sequence[Message]) -> list[str]:
    """The marks that a prompt for a conversation of marks must hold. What the assistant thought is not among
    them: templates leave out earlier thoughts because models were trained so."""
    found = []
    for message in messages:
        if message.content:
            found.append(message.content)
        for call in message.tool_calls:
            arguments = arguments_of(call.arguments)
            found.append(call.name)
            found += arguments.values() if isinstance(arguments, dict) else [arguments]
    return found


def _marked(message: Message, at: int) -> Message:
    calls = tuple(
        replace(call, name=mark(f"n{at}c{index}"), arguments=_arguments(call, f"a{at}c{index}"))
        for index, call in enumerate(message.tool_calls)
    )
    return replace(
        message,
        content=mark(f"m{at}") if has_text(message) else message.content and "",
        parts=(),
        tool_calls=calls,
        reasoning=mark(f"r{at}") if message.reasoning else None,
    )


def _arguments(call: ToolCall, place: str) -> str:
    kind = kind_of_arguments(call.arguments)
    if kind == "object":
        return json.dumps({"zqkeyqz": mark(place)})
    return "{}" if kind == "empty" else mark(place)
