"""Tools for a model whose template shows none: described, called and answered in plain text.

The form is that of Hermes, which most models have seen:

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Oslo"}}
    </tool_call>

    <tool_response>
    12 degrees
    </tool_response>
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from ..protocol import Message, Tool, ToolCall
from .forms import arguments_of
from .joining import with_text_behind

CALL_OPENING, CALL_CLOSING = "<tool_call>\n", "\n</tool_call>"
RESULT_OPENING, RESULT_CLOSING = "<tool_response>\n", "\n</tool_response>"

_BEFORE_TOOLS = """\
You can call these functions. Each line between <tools> and </tools> describes one:
<tools>
"""
_BEHIND_TOOLS = """
</tools>
To call a function, write a JSON object with its name and its arguments, in this form:
<tool_call>
{"name": "function name", "arguments": {"argument name": "value"}}
</tool_call>
Write one such block for each call, and nothing behind the last one. The results come back between \
<tool_response> and </tool_response>. Call a function only where it helps; otherwise answer in plain text."""


def described(tools: Sequence[Tool]) -> Message:
    """The system message that describes tools."""
    lines = "\n".join(map(_description, tools))
    return Message("system", f"{_BEFORE_TOOLS}{lines}{_BEHIND_TOOLS}")


def history_as_text(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with earlier calls as text of the assistant, and results as messages of the user. Results
    in a row stand in one message."""
    found: list[Message] = []
    for message in messages:
        if message.role == "tool":
            result = _result(message)
            before = found[-1] if found else None
            if before is not None and before.role == "user" and before.tool_call_id is not None:
                found[-1] = with_text_behind(before, result, "\n")
            else:
                found.append(replace(result, tool_call_id=message.tool_call_id or ""))
        elif message.tool_calls:
            calls = "\n".join(map(call_as_text, message.tool_calls))
            plain = replace(message, tool_calls=())
            found.append(with_text_behind(plain, Message("assistant", calls), "\n"))
        else:
            found.append(message)
    return tuple(
        replace(message, tool_call_id=None) if message.role == "user" else message
        for message in found
    )


def call_as_text(call: ToolCall) -> str:
    """An earlier call. Arguments that are no JSON object are a string in it."""
    written = {"name": call.name, "arguments": arguments_of(call.arguments)}
    return f"{CALL_OPENING}{json.dumps(written, ensure_ascii=False)}{CALL_CLOSING}"


def _result(message: Message) -> Message:
    if not message.parts:
        text = f"{RESULT_OPENING}{message.content or ''}{RESULT_CLOSING}"
        return Message("user", text, message.name)
    parts = (RESULT_OPENING, *message.parts, RESULT_CLOSING)
    text = "".join(part for part in parts if isinstance(part, str))
    return Message("user", text, message.name, parts=parts)


def _description(tool: Tool) -> str:
    described = {"name": tool.name, "parameters": dict(tool.parameters)}
    if tool.description:
        described = {"name": tool.name, "description": tool.description} | described
    return json.dumps({"type": "function", "function": described}, ensure_ascii=False)
