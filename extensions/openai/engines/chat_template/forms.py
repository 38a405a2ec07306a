"""How one template wants its variables: messages and tools as dictionaries, in the form that it reads."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import InvalidRequest
from ..protocol import Media, Message, Tool, ToolCall
from ..template_traits import CallId

Shape = tuple[object, ...]
"""All that a template's treatment of a conversation may depend on, but for the words."""

SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True, slots=True)
class Forms:
    """What differs between templates without any difference in meaning."""

    arguments: Literal["object", "text"] = "object"
    """Arguments of a call: an object, as in Hugging Face's examples, or JSON text."""
    call_id: CallId = "any"
    content: Literal["text", "parts"] = "text"
    no_content: Literal["empty", "null", "absent"] = "empty"
    """The content of a message that only calls tools."""
    reasoning: str = "reasoning_content"
    """The field for what the assistant thought."""
    described: bool = False
    """Whether each tool needs a description, even an empty one."""


def messages_of(
    messages: Sequence[Message], forms: Forms, media_mark: str = ""
) -> list[dict[str, Any]]:
    """The messages for a template. Raises InvalidRequest for a text that holds the mark of media."""
    ids = _ids(messages, forms.call_id)
    return [
        _message(message, forms, ids, media_mark, f"messages[{at}]")
        for at, message in enumerate(messages)
    ]


def tools_of(tools: Sequence[Tool], forms: Forms) -> list[dict[str, Any]] | None:
    """The tools for a template, as `apply_chat_template` makes them of functions."""
    return [_tool(tool, forms) for tool in tools] or None


def size_of(messages: Sequence[Message], tools: Sequence[Tool]) -> int:
    """About how many characters a conversation has."""
    size = sum(len(str(tool.parameters)) + len(tool.description or "") for tool in tools)
    for message in messages:
        size += len(message.content or "") + len(message.reasoning or "")
        size += sum(len(call.arguments) for call in message.tool_calls)
    return size


def shape_of(messages: Sequence[Message]) -> Shape:
    """The same for conversations that differ in words only."""
    ids: dict[str, int] = {}
    return tuple(
        (
            message.role,
            has_text(message),
            bool(message.reasoning),
            message.name is not None,
            tuple(
                (ids.setdefault(call.id, len(ids)), kind_of_arguments(call.arguments))
                for call in message.tool_calls
            ),
            None
            if message.tool_call_id is None
            else ids.setdefault(message.tool_call_id, len(ids)),
        )
        for message in messages
    )


def text_of(message: Message, media_mark: str) -> str:
    """What a message says, with marks where its media stand."""
    if not message.parts:
        return message.content or ""
    return "".join(part if isinstance(part, str) else media_mark for part in message.parts)


def arguments_of(text: str) -> Any:
    """Arguments as an object; what is none (it was cut, say) stays the text that it is."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def kind_of_arguments(arguments: str) -> str:
    """Whether a call's arguments are an object with something in it, an empty one, or another text."""
    value = arguments_of(arguments)
    if isinstance(value, dict):
        return "object" if value else "empty"
    return "text"


def short_id(identifier: str) -> str:
    """An id of nine letters and digits, always the same one for the same id."""
    if SHORT_ID.fullmatch(identifier):
        return identifier
    return hashlib.blake2b(identifier.encode(errors="replace"), digest_size=8).hexdigest()[:9]


def _ids(messages: Sequence[Message], form: CallId) -> dict[str, str]:
    """The ids of calls and results as the template wants them, by the client's."""
    calls = [call for message in messages for call in message.tool_calls]
    results = [m.tool_call_id for m in messages if m.tool_call_id is not None]
    given = dict.fromkeys([*(call.id for call in calls), *results])
    if form == "any":
        return {each: each for each in given}
    if form == "9 letters and digits":
        return {each: short_id(each) for each in given}
    named = {call.id: f"functions.{call.name}:{at}" for at, call in enumerate(calls)}
    return {each: named.get(each, each) for each in given}


def _message(
    message: Message, forms: Forms, ids: Mapping[str, str], media_mark: str, where: str
) -> dict[str, Any]:
    if any(isinstance(part, str) and media_mark in part for part in message.parts if media_mark):
        raise InvalidRequest(
            f"Invalid '{where}.content': the text '{media_mark}' cannot stand beside media.",
            param=f"{where}.content",
            code="invalid_value",
        )
    found: dict[str, Any] = {"role": message.role}
    text = text_of(message, media_mark)
    if text or not message.tool_calls or forms.no_content == "empty":
        found["content"] = text if forms.content == "text" else [{"type": "text", "text": text}]
    elif forms.no_content == "null":
        found["content"] = None
    if message.reasoning:
        found[forms.reasoning] = message.reasoning
    if message.name is not None:
        found["name"] = message.name
    if message.tool_calls:
        found["tool_calls"] = [_call(call, forms, ids) for call in message.tool_calls]
    if message.tool_call_id is not None:
        found["tool_call_id"] = ids[message.tool_call_id]
    return found


def _call(call: ToolCall, forms: Forms, ids: Mapping[str, str]) -> dict[str, Any]:
    arguments: Any = arguments_of(call.arguments)
    if forms.arguments == "text":
        arguments = call.arguments if arguments else "{}"
    return {
        "id": ids[call.id],
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _tool(tool: Tool, forms: Forms) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None or forms.described:
        function["description"] = tool.description or ""
    function["parameters"] = (
        tool.parameters if isinstance(tool.parameters, dict) else dict(tool.parameters)
    )
    return {"type": "function", "function": function}


def has_text(message: Message) -> bool:
    """Whether a message says anything, media included."""
    return bool((message.content or "").strip()) or any(isinstance(p, Media) for p in message.parts)
