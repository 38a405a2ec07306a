"""Items as they are stored and listed: each with an id and a status, contents of messages as parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from .items import (
    AnyItem,
    CompactionItem,
    HostedItem,
    InputItem,
    ItemReference,
    MessageItem,
    ReasoningItem,
)
from .output import new_id

PREFIXES: Mapping[str, str] = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
    "reasoning": "rs_",
}
_ITEMS: TypeAdapter[list[AnyItem]] = TypeAdapter(list[InputItem])


def to_store(items: Iterable[AnyItem]) -> list[dict[str, Any]]:
    """What is stored of the items of a request; not what a provider did, which no model here sees."""
    return [
        _stored(item)
        for item in items
        if not isinstance(item, (HostedItem, ItemReference, CompactionItem))
    ]


def from_store(items: object) -> list[AnyItem]:
    """Stored items, those of requests and those of responses, as a request has them."""
    return _ITEMS.validate_python(items)


def _stored(item: AnyItem) -> dict[str, Any]:
    stored: dict[str, Any] = item.model_dump(mode="json", exclude_none=True)
    stored["id"] = stored.get("id") or new_id(PREFIXES[stored["type"]])
    stored.setdefault("status", "completed")
    if isinstance(item, MessageItem):
        stored["content"] = _parts(stored["content"], item.role)
    elif isinstance(item, ReasoningItem):
        stored.setdefault("summary", [])
    elif isinstance(stored.get("output"), list):
        stored["output"] = _parts(stored["output"], "tool")
    return stored


def _parts(content: Any, role: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        content = [
            {"type": "output_text" if role == "assistant" else "input_text", "text": content}
        ]
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """A part with all that the reference requires."""
    if part["type"] == "output_text":
        return {"annotations": [], "logprobs": [], **part}
    if part["type"] == "input_image":
        return {"detail": "auto", **part}
    return part | {"type": "input_text"} if part["type"] == "text" else part
