"""Messages and tools as llama.cpp's chat templates take them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from .base import Media, Message, Tool


def message_of(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "role": message.role,
        "content": _content(message.parts) if message.parts else message.content,
    }
    if message.name is not None:
        plain["name"] = message.name
    if message.reasoning is not None:
        plain["reasoning_content"] = message.reasoning
    if message.tool_calls:
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    return plain


def _content(parts: Sequence[str | Media]) -> list[dict[str, Any]]:
    """The parts in their order. llama.cpp is never given an address: it would fetch from it."""
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, str):
            if content and content[-1]["type"] == "text":
                content[-1]["text"] += part  # between two texts llama.cpp would put a line end
            else:
                content.append({"type": "text", "text": part})
        elif part.kind == "image":
            url = f"data:image/{part.format};base64,{encoded(part)}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        else:
            sound = {"data": encoded(part), "format": part.format}
            content.append({"type": "input_audio", "input_audio": sound})
    return content


def without_data(message: Message) -> Message:
    """The message for a template, which needs to know only where media stand."""
    if not message.parts:
        return message
    parts = [replace(p, data=b"-") if isinstance(p, Media) else p for p in message.parts]
    return replace(message, parts=tuple(parts))


def encoded(media: Media) -> str:
    """The file as base64."""
    return b64encode(media.data).decode()


def _arguments(text: str) -> str:
    """Arguments that are JSON, as templates need them; others (cut off, say) as a JSON string."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return orjson.dumps(text).decode()
    return text


def tool_of(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}
