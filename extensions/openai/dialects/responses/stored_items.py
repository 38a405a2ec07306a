"""Items as they are stored and listed: each with an id and a status, contents of messages as parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from .items import (
    AnyItem,
    CompactionItem,
    CompactionTrigger,
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
    "compaction": "cmp_",
}
_ITEMS: TypeAdapter[list[AnyItem]] = TypeAdapter(list[InputItem])


def to_store(items: Iterable[AnyItem], taken: Iterable[str | None] = ()) -> list[dict[str, Any]]:
    """What is stored of the items of a request; not what a provider did, which no model here sees.

    An item whose id is `taken` by one before it, as clients send what they were answered once more, gets an
    id of its own: pages of lists go on from an id.
    """
    ids = set(taken)
    stored = []
    for item in items:
        if not isinstance(item, (HostedItem, ItemReference, CompactionTrigger)):
            stored.append(_stored(item, ids))
            ids.add(stored[-1]["id"])
    return stored


def from_store(items: object) -> list[AnyItem]:
    """Stored items, those of requests and those of responses, as a request has them."""
    return _ITEMS.validate_python(items)


def _stored(item: AnyItem, taken: Collection[str | None]) -> dict[str, Any]:
    stored: dict[str, Any] = item.model_dump(mode="json", exclude_none=True)
    if not stored.get("id") or stored["id"] in taken:
        stored["id"] = new_id(PREFIXES[stored["type"]])
    if not isinstance(item, CompactionItem):
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
