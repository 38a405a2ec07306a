"""What is done with an answer that its client asks to store. Used by the endpoint `chat`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from ..errors import StoreUnavailable
from ..generation.chat.request import ChatCompletionRequest
from ..state.stored_chat import StoredChat

if TYPE_CHECKING:
    from .context import RequestContext

MAX_MEDIA_BYTES = 8_000_000
"""Of a picture, sound or file; a larger one is left out of what is stored, as the reference says."""
NOT_STORED: Mapping[str, bool] = {"store": False}
"""What an answer says that was to be stored and is not."""
SAMPLING = ("seed", "top_p", "temperature", "presence_penalty", "frequency_penalty")
"""What is told of a stored chat."""
MEDIA = {"image_url": ("image_url", "url"), "input_audio": ("input_audio", "data"),
         "file": ("file", "file_data")}  # fmt: skip
"""Where the parts of messages hold what is large."""


def storing(
    context: RequestContext, body: ChatCompletionRequest
) -> Callable[[Mapping[str, Any]], Mapping[str, bool] | None]:
    """What to do with the answer to `body` when it is complete: store it, and say so where that fails.

    What is known before not to work is named in the header of what has no effect.
    """
    store = context.services.store
    if not store.keeps or store.problem is not None:
        context.record.ignored.append("store")
    if not store.keeps:
        return lambda completion: NOT_STORED

    def keep(completion: Mapping[str, Any]) -> Mapping[str, bool] | None:
        try:
            store.chat_completions.add(
                context.record.caller.owner,
                _stored(context.record.id, completion, body),
                user=body.user,
                safety_identifier=body.safety_identifier,
            )
        except StoreUnavailable:
            # The client has its answer nevertheless.
            if "store" not in context.record.ignored:
                context.record.ignored.append("store")
            return NOT_STORED
        return None

    return keep


def _stored(
    request_id: str, completion: Mapping[str, Any], body: ChatCompletionRequest
) -> StoredChat:
    """The completion as the reference shows a stored one: with what was asked for beside it."""
    given = body.model_dump(
        mode="json",
        include={"messages", "tools", "tool_choice", "response_format"},
        exclude_unset=True,
    )
    whole = dict(completion) | {
        "request_id": request_id,
        "tool_choice": given.get("tool_choice"),
        **{name: getattr(body, name) for name in SAMPLING},
        "input_user": body.user,
        "tools": given.get("tools"),
        "response_format": given.get("response_format"),
    }
    whole.pop("metadata", None)  # it may change, and stands apart
    return StoredChat(
        completion["id"],
        completion["created"],
        completion["model"],
        body.metadata or {},
        orjson.dumps([_without_large_media(message) for message in given["messages"]]),
        orjson.dumps(whole),
    )


def _without_large_media(message: dict[str, Any]) -> dict[str, Any]:
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    return message | {"content": [part for part in parts if _media_bytes(part) <= MAX_MEDIA_BYTES]}


def _media_bytes(part: Mapping[str, Any]) -> int:
    """Bytes of a picture, sound or file that a part holds as base64; 0 for one that it only names."""
    if part["type"] not in MEDIA:
        return 0
    outer, inner = MEDIA[part["type"]]
    text = part[outer].get(inner) or ""
    if text.startswith(("http://", "https://")):
        return 0
    data = text[text.find(",") + 1 :]  # of a data: URL
    return len(data) * 3 // 4 - data[-2:].count("=")
